"""docs/modules.md is what docs/module_map.py makes of today's docstrings."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "module_map.py"


def test_the_map_of_modules_is_not_stale() -> None:
    spec = importlib.util.spec_from_file_location("module_map", SCRIPT)
    assert spec is not None
    module_map = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module_map)
    assert module_map.PAGE.read_text() == module_map.page(), "run: python docs/module_map.py"
