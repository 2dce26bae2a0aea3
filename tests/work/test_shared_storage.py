"""Local paths on a cluster of several nodes: which are refused, and what the user is told."""

import pytest

from comit_ray.errors import ConfigError
from comit_ray.work import shared_storage
from comit_ray.work.shared_storage import check, refuse


def test_what_every_node_sees_is_taken() -> None:
    refuse({"manifest": "/a", "output": "/b/.seen-1"}, {"10.0.0.5": [True, True], "10.0.0.6": [True, True]})
    refuse({"manifest": "/a"}, {})


def test_what_a_node_does_not_see_is_refused_by_option_path_and_node() -> None:
    paths = {"manifest": "/shared/m", "output": "/home/me/out/.seen-abc"}
    with pytest.raises(ConfigError) as error:
        refuse(paths, {"10.0.0.5": [True, True], "10.0.0.6": [True, False]})
    assert str(error.value) == (
        "--output /home/me/out is a path of this machine, and node 10.0.0.6 of the cluster does not see it: give an "
        "s3:// URI, or a path on storage that all nodes share"
    )


def test_nodes_are_asked_for_local_paths_alone_and_no_mark_is_left(tmp_path, monkeypatch) -> None:
    asked: list[list[str]] = []

    def answer(paths: list[str], nodes: dict[str, str]) -> dict[str, list[bool]]:
        asked.append(paths)
        return {address: [True] * (len(paths) - 1) + [False] for address in nodes.values()}

    monkeypatch.setattr(shared_storage, "_other_nodes", lambda: {"id": "10.0.0.5"})
    monkeypatch.setattr(shared_storage, "_ask", answer)
    with pytest.raises(ConfigError, match=f"--output {tmp_path} is a path of this machine"):
        check({"manifest": "s3://a/m", "checkpoint": "/c"}, {"output": str(tmp_path)})
    assert asked[0][0] == "/c"
    assert asked[0][1].startswith(f"{tmp_path}/.seen-")
    assert list(tmp_path.iterdir()) == []
    check({"manifest": "s3://a/m"}, {"output": "s3://a/out"})
    assert len(asked) == 1, "of S3 nobody is asked"


def test_one_node_is_not_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shared_storage, "_other_nodes", dict)
    monkeypatch.setattr(shared_storage, "_ask", lambda *_: pytest.fail("asked"))
    check({"manifest": "/nowhere"}, {"output": str(tmp_path)})
