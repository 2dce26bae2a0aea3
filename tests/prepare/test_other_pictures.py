from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import to_frame
from comit_ray.prepare import other_pictures, prepared
from comit_ray.prepare.frames import COLUMNS, FrameStore, frame_tables
from comit_ray.prepare.prepare_pipeline import MANIFEST_COLUMNS, prepare_row, to_table
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.vocabulary import Split
from tests.support import manifest_row

LIMITS, FRAME, TASKS = DecodeLimits(), FrameConfig(size=32), ("covid",)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Two frontals, a lateral, a CT slice, a duplicate, a broken lateral, and a lateral of another source."""
    random = np.random.default_rng(0)
    found = []
    for name, excluded in (
        *(("a/f1", None), ("a/f2", None), ("a/lateral", "lateral"), ("a/ct", "wrong_modality")),
        *(("a/twice", "duplicate"), ("a/broken", "lateral"), ("b/lateral", "lateral")),
    ):
        path = tmp_path / f"{name.replace('/', '_')}.png"
        Image.fromarray(random.integers(0, 255, (60, 50), np.uint8)).save(path)
        if name == "a/broken":
            path.write_bytes(path.read_bytes()[:50])
        split = None if excluded else "train"
        found.append(manifest_row(name, uri=str(path), excluded=excluded, split=split, covid=0, other=1, unhealthy=1))
    return found


def framed(rows: list[dict[str, Any]], share: float, sources: tuple[str, ...] = ()) -> pa.Table:
    table = pa.Table.from_pylist(rows, schema=MANIFEST).select(list(COLUMNS))
    return pa.concat_tables(frame_tables(table, FRAME, LIMITS, TASKS, sources=sources, others=share))


def prepared_frames(rows: list[dict[str, Any]], share: float, directory: Path, sources: tuple[str, ...]) -> pa.Table:
    """The same by way of a training table."""
    complete = pa.Table.from_pylist(rows, schema=MANIFEST).select(MANIFEST_COLUMNS).to_pylist()
    with FileReader(LIMITS.max_bytes) as reader:
        table = to_table([prepare_row(row, reader, LIMITS, "png", share) for row in complete])
    parquet.write_table(str(directory / "part.parquet"), table)
    tables = prepared.frame_tables(str(directory / "part.parquet"), FRAME, TASKS, "pixels", sources)
    return pa.concat_tables(tables)


@pytest.mark.parametrize("way", ["manifest", "prepared"])
def test_what_a_source_excludes_as_another_picture_is_an_example_and_never_trained_on(rows, way, tmp_path) -> None:
    table = framed(rows, 1.0, ("b",)) if way == "manifest" else prepared_frames(rows, 1.0, tmp_path, ("b",))
    found = other_pictures.examples([table], FRAME.size)
    assert list(zip(found["kinds"], found["patients"], strict=True)) == [
        *(("lateral", "a/lateral"), ("wrong_modality", "a/ct")),
        *(("frontal", name) for name in sorted(("a/f1", "a/f2"), key=lambda one: found["patients"].index(one))),
    ], "no duplicate, nothing broken, nothing of a source that is left out"
    assert found["frontal_N"].tolist() == [False, False, True, True]
    lateral = next(row for row in rows if row["image_id"] == "a/lateral")
    expected = to_frame(np.asarray(Image.open(lateral["uri"])), FRAME)
    np.testing.assert_array_equal(found["frames_NHW"][0], expected)
    assert FrameStore([table], Split.TRAIN, FRAME.size).image_ids == ["a/f1", "a/f2"]
    by_id = {row["image_id"]: row for row in table.to_pylist()}
    assert by_id["a/broken"]["left_out"] == "excluded: lateral"
    assert not any(row["failed"] for row in by_id.values()), "an example that cannot be read fails no training"


def test_of_many_a_share_is_read_the_same_everywhere(rows, monkeypatch) -> None:
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    assert other_pictures.share_of(table) == 1
    monkeypatch.setattr(other_pictures, "MOST", 1)
    assert other_pictures.share_of(table) == pytest.approx(1 / 4)
    assert other_pictures.examples([framed(rows, 0.0)], FRAME.size)["kinds"] == ("frontal", "frontal")


def test_of_no_image_there_is_no_example() -> None:
    assert len(other_pictures.examples([], 32)["frames_NHW"]) == 0
