"""A driver asks the other nodes of its Ray, and one gives no answer; the rest is in tests/chunks/test_nodes.py."""

import time
from pathlib import Path
from typing import Any

import pytest

from comit_ray.chunks import nodes as shared_storage
from comit_ray.errors import ConfigError


@pytest.mark.slow
def test_a_node_that_gives_no_answer_is_not_taken_for_one_that_sees_all(
    monkeypatch: pytest.MonkeyPatch, ray_session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is one that was lost meanwhile: it is passed over."""
    gone = {"0" * 56: "10.0.0.7"}
    assert shared_storage._ask(["/a"], gone) == {}

    def nobody(waiting: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        time.sleep(0.2)
        return [], waiting

    monkeypatch.setattr(shared_storage, "WAIT_S", 0.5)
    monkeypatch.setattr("ray.wait", nobody)
    monkeypatch.setattr(shared_storage, "_other_nodes", lambda: gone)
    with pytest.raises(
        ConfigError, match=r"expected an answer from all nodes whether they see /a, but 10\.0\.0\.7 gave none in 0\.5 s"
    ):
        shared_storage._ask(["/a"], gone)
    assert "waiting for 1 node to check the paths /a" in capsys.readouterr().out
