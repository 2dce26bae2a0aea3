"""A manifest read part by part gives what `read` gives, and refuses what `read` refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.data.manifest import manifest, manifest_scan
from comit_ray.data.manifest.manifest_scan import scan
from comit_ray.errors import ManifestError, NotFoundError
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row


def rows(count: int = 40) -> list[dict[str, Any]]:
    """Ten chunks of four; two images a patient, the second without a split where the first is excluded."""
    found = []
    for number in range(count):
        excluded = number % 10 == 1
        found.append(
            manifest_row(
                f"a/{number:03d}", chunk=f"a-{number // 4:05d}", patient_id=f"p{number // 2}",
                split=None if excluded else ("train", "val", "test")[number // 2 % 3],
                excluded="lateral" if excluded else None,
            )
        )  # fmt: skip
    return found


def written(root: Path, found: list[dict[str, Any]]) -> str:
    manifest.write(str(root / "manifest"), pa.Table.from_pylist(found, schema=MANIFEST), 8)
    return str(root / "manifest")


def test_the_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    uri = written(tmp_path, rows())
    parts = list(scan(uri, ["image_id", "split"]))
    assert [part for part, _ in parts] == manifest.part_uris(uri)
    assert len(parts) == 5
    assert pa.concat_tables([part for _, part in parts]).equals(manifest.read(uri).select(["image_id", "split"]))


def test_a_sound_manifest_is_never_read_as_a_whole(tmp_path: Path, monkeypatch) -> None:
    uri = written(tmp_path, rows())
    monkeypatch.setattr(manifest, "read", lambda _: pytest.fail("the whole was read"))
    assert sum(part.num_rows for _, part in scan(uri, ["image_id"])) == 40


@pytest.mark.parametrize(
    ("at", "changes", "message"),
    [
        (39, {"image_id": "a/000"}, "a/000 is there twice"),
        (39, {"patient_id": "p0"}, "1 patients with 3 images lie in more than one split"),
        (39, {"chunk": "a-00000"}, "expected the rows of chunk a-00000 one after the other"),
        (20, {"view": "sideways"}, "unknown view 'sideways'"),
        (20, {"covid": 2}, "expected 1, 0 or null in covid, got 2"),
    ],
)
def test_what_read_refuses_is_refused(tmp_path: Path, at: int, changes: dict[str, Any], message: str) -> None:
    found = rows()
    found[at] |= changes
    uri = written(tmp_path, found)
    for reader in (manifest.read, lambda where: list(scan(where, ["image_id"]))):
        with pytest.raises(ManifestError, match=message):
            reader(uri)


def test_look_alikes_in_two_splits_are_refused(tmp_path: Path) -> None:
    found = rows()
    for at in (0, 39):
        found[at]["split_group"] = "g"
    with pytest.raises(ManifestError, match="1 groups of look-alikes with 2 images"):
        list(scan(written(tmp_path, found), ["image_id"]))


def test_equal_hashes_are_no_proof(tmp_path: Path, monkeypatch) -> None:
    """A suspicion costs a reading of the whole, which then is sound."""
    uri = written(tmp_path, rows())
    monkeypatch.setattr(manifest_scan, "_hashes", lambda column: np.zeros(len(column), np.int64))
    assert sum(part.num_rows for _, part in scan(uri, ["image_id"])) == 40


@pytest.mark.parametrize("change", ["lost", "foreign"])
def test_parts_that_are_not_those_of_one_manifest_are_refused(tmp_path: Path, change: str) -> None:
    uri = written(tmp_path, rows())
    part = Path(manifest.part_uris(uri)[2])
    if change == "lost":
        part.unlink()
    else:
        other = written(tmp_path / "other", rows(39))
        part.write_bytes(Path(manifest.part_uris(other)[2]).read_bytes())
    with pytest.raises(ManifestError, match="are not those of one whole manifest"):
        list(scan(uri, ["image_id"]))


def test_no_manifest_and_another_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(scan(str(tmp_path / "nowhere"), ["image_id"]))
    parquet.write_table(str(tmp_path / "other" / "part-00000.parquet"), pa.table({"a": [1]}))
    with pytest.raises(ManifestError, match="expected a manifest, the columns"):
        list(scan(str(tmp_path / "other"), ["image_id"]))
