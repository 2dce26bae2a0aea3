"""Frames on disk are those in memory: the same images in the same order, and the same bytes."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.errors import StorageError
from comit_ray.prepare import frames_on_disk, other_pictures
from comit_ray.prepare.frames import FRAMES, FrameStore
from comit_ray.prepare.frames_on_disk import MappedFiles, mapped, rows_a_file, write_frames
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Split, Task
from comit_ray.training.batches import collate, items, shuffled
from tests.benchmarks.frames import made_up

SIZE = 16


def write(folder: str, count: int = 200, rows: int = 32) -> tuple[list[pa.Table], MappedFiles, pa.Table]:
    """Frames in memory, the same in files, and what the driver is told of them."""
    blocks = [made_up(start, min(rows, count - start), SIZE) for start in range(0, count, rows)]
    told = pa.concat_tables([told for block in blocks for told in write_frames(block, folder)])
    return blocks, MappedFiles(folder, tuple(sorted(told["file"].unique().to_pylist()))), told


def same(one: FrameStore, other: FrameStore) -> None:
    assert len(one) == len(other) > 0
    for name in ("image_ids", "datasets", "patients", "views"):
        assert getattr(one, name) == getattr(other, name)
    for label, values in one.labels.items():
        np.testing.assert_array_equal(values, other.labels[label])
    everything = shuffled(items(np.ones(len(one), np.int64)), seed=0, epoch=3)
    for chosen in np.array_split(everything, 5):
        mine, theirs = collate(one, chosen), collate(other, chosen)
        for name in ("frames_BHW", "masks_BMHW", "unhealthy_B", "covid_B", "other_B", "index_B"):
            assert getattr(mine, name).equal(getattr(theirs, name)), name
    for task in (Task.LUNG, Task.DISEASE):
        np.testing.assert_array_equal(one.annotated(task), other.annotated(task))


@pytest.mark.parametrize("copied", [False, True])
def test_order_and_bytes_are_those_of_frames_in_memory(copied: bool, tmp_path: Path) -> None:
    folder = str(tmp_path / "frames")
    blocks, files, told = write(folder)
    if copied:
        files = MappedFiles(folder, files.names, str(tmp_path / "node"))
        mapped(files)
        frames_on_disk.remove(folder)  # what is read is the copy
    found = mapped(files)
    for split in (Split.TRAIN, Split.VAL):
        same(FrameStore(blocks, split, SIZE), FrameStore(found, split, SIZE))
    np.testing.assert_equal(
        other_pictures.examples(sorted(blocks, key=first), SIZE),
        other_pictures.examples(sorted(found, key=first), SIZE),
    )
    assert told.num_rows == 200
    assert told.column_names == [*frames_on_disk.ACCOUNT_COLUMNS, "file"]


def first(block: pa.Table) -> str:
    return str(block["image_id"][0])


def test_the_pixels_are_not_in_memory_but_in_the_map(tmp_path: Path) -> None:
    _, files, _ = write(str(tmp_path / "frames"), count=64)
    before = pa.total_allocated_bytes()
    store = FrameStore(mapped(files), Split.TRAIN, SIZE)
    frames = [store.pixels_HW(index) for index in range(len(store))]
    assert pa.total_allocated_bytes() - before < sum(frame.nbytes for frame in frames)
    addresses = [frame.ctypes.data for frame in frames]
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    spans = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in maps]
    assert all(any(low <= address < high for low, high in spans) for address in addresses)
    with pytest.raises(ValueError, match="read-only"):
        frames[0][0, 0] = 1


def test_a_store_without_frames_is_empty(tmp_path: Path) -> None:
    assert len(FrameStore([], Split.TRAIN, SIZE)) == 0
    left = made_up(0, 8, SIZE).set_column(5, FRAMES.field("left_out"), pa.array(["split: test"] * 8))
    assert len(FrameStore([left], Split.TRAIN, SIZE)) == 0


def test_the_name_says_the_bytes_and_a_copy_is_compared_with_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "frames")
    _, files, _ = write(folder, count=64)
    for name in files.names:
        content = (tmp_path / "frames" / name).read_bytes()
        assert name == f"frames-{hashlib.sha256(content).hexdigest()}.arrow"
    damaged = tmp_path / "frames" / files.names[0]
    flipped = bytearray(damaged.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    damaged.write_bytes(bytes(flipped))
    with pytest.raises(StorageError, match="is damaged: its SHA-256 differs"):
        mapped(MappedFiles(folder, files.names, str(tmp_path / "node")))


def test_a_node_without_the_files_says_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot map the frames in"):
        mapped(MappedFiles(str(tmp_path / "frames"), ("frames-0.arrow",)))


def test_files_in_s3_are_copied_to_the_node_and_the_copy_can_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MappedFiles("s3://bucket/run/frames", ("a",)).copy is not None
    assert MappedFiles(str(tmp_path), ("a",)).copy is None
    _, files, _ = write(str(tmp_path / "frames"), count=64)
    there = MappedFiles(files.folder, files.names, str(tmp_path / "node"))
    store = FrameStore(mapped(there), Split.TRAIN, SIZE)
    before = store.pixels_HW(0).copy()
    there.remove_copy()
    assert list((tmp_path / "node").iterdir()) == []
    np.testing.assert_array_equal(store.pixels_HW(0), before)
    frames_on_disk.remove(files.folder)
    frames_on_disk.remove(str(tmp_path / "never"))
    assert not list(storage.list_files(files.folder, ".arrow"))


def test_a_file_has_about_64_mb() -> None:
    assert rows_a_file(128) == 4096
    assert rows_a_file(4096) == 64
