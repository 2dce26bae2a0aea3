"""Writes docs/modules.md, the map of all modules and of the reading room's scripts, from their first lines.

`python docs/module_map.py` writes it; `tests/test_module_map.py` fails when it is stale.
"""

import ast
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "modules.md"
HEAD = """# The map of the code

Every module with its first line. `python docs/module_map.py` writes this page; do not edit it.
"""


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring, or of a script, without its full stop.

    Raises:
        ValueError: the module has no docstring.
    """
    source = path.read_text()
    script = path.suffix == ".js"
    text = source.partition("\n")[0].removeprefix("// ") if script else ast.get_docstring(ast.parse(source))
    if not text:
        raise ValueError(f"{path}: expected a docstring that says what the module is for, got none")
    return text.splitlines()[0].rstrip(".")


def page() -> str:
    """Return the text of the page: a section per package, a line per module."""
    packages: dict[str, list[Path]] = defaultdict(list)
    for root in ("comit_ray", "jobs"):
        for path in sorted((REPOSITORY / root).rglob("*.*")):
            if path.suffix in (".py", ".js") and path.name != "__init__.py":
                packages[path.parent.relative_to(REPOSITORY).as_posix()].append(path)
    parts = [HEAD]
    for package in sorted(packages):
        lines = [f"- `{path.name}`: {first_line(path)}" for path in packages[package]]
        parts.append("\n".join([f"## {package}/", "", *lines, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.relative_to(REPOSITORY))
