"""Local paths on a cluster of several nodes: which are refused, and what the user is told."""

from pathlib import Path

import pyarrow as pa
import pytest

from comit_ray.chunks import nodes as shared_storage
from comit_ray.chunks import plan, run_record
from comit_ray.chunks.nodes import check, check_submitted, refuse
from comit_ray.errors import ConfigError
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row, write_rows


def test_what_every_node_sees_is_taken() -> None:
    refuse({"manifest": "/a", "output": "/b/.seen-1"}, {"10.0.0.5": [True, True], "10.0.0.6": [True, True]})
    refuse({"manifest": "/a"}, {})


def test_what_a_node_does_not_see_is_refused_by_option_path_and_node() -> None:
    paths = {"manifest": "/shared/m", "output": "/home/me/out/.seen-abc"}
    with pytest.raises(ConfigError) as error:
        refuse(paths, {"10.0.0.5": [True, True], "10.0.0.6": [True, False]})
    assert str(error.value) == (
        "--output: /home/me/out is a path of this machine, but node 10.0.0.6 of the cluster does not see it: give an "
        "s3:// URI, or a path on storage that all nodes share"
    )


def test_nodes_are_asked_for_local_paths_alone_and_no_mark_is_left(tmp_path, monkeypatch) -> None:
    asked: list[list[str]] = []

    def answer(paths: list[str], nodes: dict[str, str]) -> dict[str, list[bool]]:
        asked.append(paths)
        return {address: [True] * (len(paths) - 1) + [False] for address in nodes.values()}

    monkeypatch.setattr(shared_storage, "_other_nodes", lambda: {"id": "10.0.0.5"})
    monkeypatch.setattr(shared_storage, "_ask", answer)
    with pytest.raises(ConfigError, match=f"--output: {tmp_path} is a path of this machine"):
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


@pytest.mark.parametrize("as_plan", [True, False])
def test_nodes_are_asked_for_the_directories_of_images_that_the_driver_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_plan: bool
) -> None:
    """Else each image of one that a node does not see would be a failed row, and the job would say that all is well."""
    (tmp_path / "nih").mkdir()
    uris = [str(tmp_path / "nih" / "1.png"), str(tmp_path / "nih" / "2.png"), "s3://a/3.png", "/nowhere/4.png"]
    rows = [manifest_row(f"a/{number}", uri=uri) for number, uri in enumerate(uris)]
    manifest = write_rows(tmp_path / "manifest", rows, MANIFEST)
    images = plan.make_plan(manifest, "all") if as_plan else pa.Table.from_pylist(rows, schema=MANIFEST)
    asked: list[str] = []

    def answer(paths: list[str], nodes: dict[str, str]) -> dict[str, list[bool]]:
        asked.extend(paths)
        return {address: [False] * len(paths) for address in nodes.values()}

    monkeypatch.setattr(shared_storage, "_other_nodes", lambda: {"id": "10.0.0.5"})
    monkeypatch.setattr(shared_storage, "_ask", answer)
    with pytest.raises(
        ConfigError, match=f"--manifest, where its images lie: {tmp_path}/nih is a path of this machine"
    ):
        check({}, {}, images)
    assert asked == [str(tmp_path / "nih"), uris[0], uris[1], uris[3]]


@pytest.mark.parametrize("blind", ["another node", "the driver"])
def test_a_mount_point_without_its_share_is_refused(tmp_path: Path, monkeypatch, blind: str) -> None:
    """The directory is on both nodes, the images on one: 59 of 99 were once said to be missing."""
    (tmp_path / "share").mkdir()
    image, absent = tmp_path / "share" / "1.png", tmp_path / "share" / "2.png"
    rows = [manifest_row(f"a/{number}", uri=str(uri)) for number, uri in enumerate((image, absent))]
    driver_sees = blind == "another node"
    if driver_sees:
        image.write_bytes(b"")

    def answer(paths: list[str], nodes: dict[str, str]) -> dict[str, list[bool]]:
        sees = [path == str(tmp_path / "share") or (path == str(image) and not driver_sees) for path in paths]
        return dict.fromkeys(nodes.values(), sees)

    monkeypatch.setattr(shared_storage, "_other_nodes", lambda: {"id": "10.0.0.5"})
    monkeypatch.setattr(shared_storage, "_ask", answer)
    node = "10.0.0.5" if driver_sees else "of the driver"
    with pytest.raises(ConfigError, match=rf"other nodes see the image {image}, but node {node} does not"):
        check({}, {}, pa.Table.from_pylist(rows, schema=MANIFEST))
    monkeypatch.setattr(shared_storage, "_ask", lambda paths, nodes: {"10.0.0.5": [Path(p).exists() for p in paths]})
    check({}, {}, pa.Table.from_pylist(rows, schema=MANIFEST))  # an image that nobody sees is missing: its row says so


def test_what_a_submitted_job_writes_below_its_working_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one node too: Ray deletes the directory that it unpacked."""
    unpacked = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    monkeypatch.setattr(shared_storage, "_other_nodes", dict)
    check({}, {"output": "tables"})
    monkeypatch.setenv(run_record._SUBMITTED, "{}")
    with pytest.raises(ConfigError, match=r"--output: .*/tables lies in the working directory that Ray deletes"):
        check({}, {"output": "tables"})
    check({}, {"output": str(tmp_path / "out")})
    check({}, {"output": "s3://a/out"})


def test_a_job_in_its_driver_is_asked_if_it_was_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr(shared_storage, "check", lambda *given: asked.append(given))
    check_submitted({"root": str(tmp_path)}, {"output": str(tmp_path)})
    monkeypatch.setenv(run_record._SUBMITTED, "{}")
    check_submitted({"root": "s3://a", "listing": None}, {"output": "s3://a/out"})
    assert not asked
    check_submitted({"root": "s3://a", "listing": None}, {"output": str(tmp_path)})
    assert asked == [({"root": "s3://a"}, {"output": str(tmp_path)})]
