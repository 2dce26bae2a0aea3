import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.load import Place, load_frame
from comit_ray.data.masks.mask_images import IGNORE, lung_rectangles
from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.errors import ManifestError
from comit_ray.prepare import frames
from comit_ray.prepare.frames import FrameStore, frame_tables, left_out, slices
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.storage.tar_stream import TarStream
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.vocabulary import Split, Task
from tests.data import archives

TASKS = ("lung", "disease", "health", "covid")
FRAME = FrameConfig(size=64)


def row(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(frames.COLUMNS)
    return values | {"image_id": "x/a.png", "uri": "/nowhere", "split": "train", "unhealthy": 1} | changes


def manifest(*rows: dict[str, Any]) -> pa.Table:
    schema = pa.schema([pa.field(name, MANIFEST.field(name).type) for name in frames.COLUMNS])
    return pa.Table.from_pylist(list(rows), schema=schema)


@pytest.fixture
def radiograph(tmp_path: Path) -> str:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 80), dtype=np.uint8)).save(path)
    return str(path)


def frame_rows(table: pa.Table, tasks: tuple[str, ...] = TASKS, **options: Any) -> pa.Table:
    return pa.concat_tables(frame_tables(table, FRAME, DecodeLimits(), tasks, **options))


def framed(*rows: dict[str, Any], tasks: tuple[str, ...] = TASKS) -> list[dict[str, Any]]:
    return list(frame_rows(manifest(*rows), tasks).to_pylist())


@pytest.mark.parametrize(
    ("changes", "tasks", "reason"),
    [
        ({}, TASKS, None),
        ({"excluded": "lateral", "split": None}, TASKS, "excluded: lateral"),
        ({"excluded": "duplicate", "view": "lateral"}, TASKS, "excluded: duplicate"),
        ({"view": "lateral"}, TASKS, "excluded: lateral"),
        ({"view": "frontal"}, TASKS, None),
        ({"split": "test"}, TASKS, "split: test"),
        ({"split": None}, TASKS, "split: none"),
        ({}, ("lung", "covid"), "no label or mask for the model's tasks"),
        ({"covid": 1}, ("covid",), "no label or mask for the model's tasks"),  # one switch for covid and other
        ({"covid": 1, "other": 0}, ("covid",), None),
        ({"lung_mask": "m.png"}, ("lung",), None),
        ({"lung_mask": "m.png", "unhealthy": None}, ("disease",), "no label or mask for the model's tasks"),
    ],
)
def test_what_training_does_not_want(changes, tasks, reason) -> None:
    assert left_out(row(**changes), tasks) == reason


def test_a_source_is_left_out_of_training_and_validation() -> None:
    assert left_out(row(dataset="nih"), TASKS, ("siim", "nih")) == "source: nih"
    assert left_out(row(dataset="nih"), TASKS, ("siim",)) is None
    assert left_out(row(dataset="nih", split="test"), TASKS, ("nih",)) == "split: test", "tested on all the same"
    (found,) = frame_rows(manifest(row(dataset="nih")), sources=("nih",)).to_pylist()
    assert (found["left_out"], found["pixels"]) == ("source: nih", None)


def test_every_row_keeps_its_place_whatever_becomes_of_it(radiograph, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(Path(radiograph).read_bytes()[:500])
    broken_mask = {"uri": radiograph, "lung_mask": str(tmp_path / "no_mask.png")}
    rows = framed(
        row(uri=radiograph, covid=1),
        row(image_id="x/cut.png", uri=str(tmp_path / "cut.png")),
        row(image_id="x/gone.png"),
        row(image_id="x/test.png", split="test"),
        row(image_id="x/mask.png", **broken_mask),
    )
    assert [r["image_id"] for r in rows] == ["x/a.png", "x/cut.png", "x/gone.png", "x/test.png", "x/mask.png"]
    assert [r["pixels"] is not None for r in rows] == [True, False, False, False, False]
    assert [r["left_out"] for r in rows] == [None, None, None, "split: test", None]
    codes = [r["failed"] and r["failed"].split(":")[0] for r in rows]
    assert codes == [None, "truncated", "storage_absent", None, "mask"]


def test_a_malformed_mask_reference_costs_its_row_and_no_other(radiograph) -> None:
    bad = '{"polygon": []}'
    broken, whole, unasked = framed(
        row(uri=radiograph, disease_mask=bad),
        row(image_id="x/b.png", uri=radiograph),
        row(image_id="x/test.png", uri=radiograph, split="test", disease_mask=bad),
    )
    assert broken["failed"].startswith("mask: expected a mask reference")
    assert whole["pixels"] is not None
    assert (unasked["failed"], unasked["left_out"]) == (None, "split: test")


def test_only_files_of_rows_that_are_read_are_announced(radiograph, monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[str] = []

    class Noting(FileReader):
        def __init__(self, max_bytes: int, wanted: Any = ()) -> None:
            refs = list(wanted)
            announced.extend(map(str, refs))
            super().__init__(max_bytes, refs)

    monkeypatch.setattr(frames, "FileReader", Noting)
    unread = {"uri": "/a.tgz", "member": "a.png", "lung_mask": '{"uri": "/a.tgz", "member": "m.png"}'}
    framed(
        row(uri=radiograph),
        row(image_id="x/lateral", view="lateral", **unread),
        row(image_id="x/excluded", excluded="duplicate", **unread),
        row(image_id="x/test", split="test", **unread),
    )
    assert announced == [radiograph]


def test_pixels_are_those_of_screening_and_masks_come_with_them(radiograph) -> None:
    box = boxes_reference([(0, 0, 40, 100)], 100, 80)
    table = frame_rows(manifest(row(uri=radiograph, lung_mask=box)))
    store = FrameStore([table], Split.TRAIN, FRAME.size)
    with FileReader(10**9) as reader:
        screened = load_frame(Place(FileRef(radiograph)), reader, FRAME, DecodeLimits()).pixels_HW
    assert np.array_equal(store.pixels_HW(0), screened)
    mask = store.mask_HW(0, Task.LUNG)
    assert mask is not None
    assert (mask[:, :32] == 1).all()
    assert (mask[:, 32:] == 0).all()
    assert store.mask_HW(0, Task.DISEASE) is None


def test_masks_of_absent_heads_are_not_read(radiograph) -> None:
    [only] = framed(row(uri=radiograph, lung_mask="/no/such/mask.png"), tasks=("health",))
    assert only["failed"] is None
    assert only["lung_mask"] is None


def test_dicom_whose_header_excludes_it_is_left_out_whatever_the_manifest_says(cxr) -> None:
    images = cxr / "dicom"
    rows = framed(*[row(image_id=f"d/{p.name}", uri=str(p)) for p in sorted(images.glob("*.dcm"))])
    by_name = {r["image_id"].removeprefix("d/"): r for r in rows}
    assert by_name["RG3_J2KI.dcm"]["left_out"] == "excluded: not_a_chest"
    assert by_name["RG1_J2KI.dcm"]["pixels"] is not None


def blocks() -> list[pa.Table]:
    """Three blocks in a muddled order, one of them with a left out row and a val row."""

    def made(name: str, value: int, split: str = "train", **more: Any) -> dict[str, Any]:
        return {"image_id": name, "dataset": f"from-{name}", "split": split, "pixels": bytes([value]) * 64 * 64} | more

    first = [made("c", 3, covid=1), made("v", 9, split="val")]
    second = [made("a", 1, unhealthy=0, other=1), {"image_id": "gone", "split": "train", "failed": "missing: no file"}]
    return [pa.Table.from_pylist(rows, schema=frames.FRAMES) for rows in (first, second, [made("b", 2)])]


def test_the_store_is_ordered_by_image_id_whatever_the_blocks() -> None:
    for given in (blocks(), blocks()[::-1], [pa.concat_tables(blocks())]):
        store = FrameStore(given, Split.TRAIN, 64)
        assert store.image_ids == ["a", "b", "c"]
        assert store.datasets == ["from-a", "from-b", "from-c"]
        assert [int(store.pixels_HW(i)[0, 0]) for i in range(3)] == [1, 2, 3]
        assert store.labels["covid"].tolist() == [-1, -1, 1]
        assert store.labels["unhealthy"].tolist() == [0, -1, -1]
        assert store.labels["other"].tolist() == [1, -1, -1]
    assert FrameStore(blocks(), Split.VAL, 64).image_ids == ["v"]


def test_the_stores_pixels_are_arrows_own() -> None:
    table = pa.concat_tables(blocks()).combine_chunks()
    store = FrameStore([table], Split.TRAIN, 64)
    pixels = store.pixels_HW(0)
    data = table["pixels"].chunk(0).buffers()[2]
    assert data.address <= pixels.__array_interface__["data"][0] < data.address + data.size
    assert not pixels.flags.writeable


def test_a_slice_of_a_table_is_read_from_its_own_start() -> None:
    store = FrameStore([pa.concat_tables(blocks()).combine_chunks().slice(2)], Split.TRAIN, 64)
    assert store.image_ids == ["a", "b"]
    assert [int(store.pixels_HW(i)[0, 0]) for i in range(2)] == [1, 2]


def test_an_unknown_mask_value_survives(radiograph, tmp_path: Path) -> None:
    grey = np.zeros((100, 80), dtype=np.uint8)
    grey[:50], grey[50:75] = 255, 127
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    (tmp_path / "mask.png").write_bytes(buffer.getvalue())
    table = frame_rows(manifest(row(uri=radiograph, disease_mask=str(tmp_path / "mask.png"))))
    mask = FrameStore([table], Split.TRAIN, 64).mask_HW(0, Task.DISEASE)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1, IGNORE}


def test_lungs_are_drawn_or_the_papers_two_rectangles(cxr) -> None:
    masks = sorted((cxr / "covid_chestxray" / "annotations" / "lung_masks").glob("*.png"))
    images = {path.stem: path for path in (cxr / "covid_chestxray" / "images").iterdir()}
    real = next(mask for mask in masks if np.asarray(Image.open(mask)).any())
    rows = manifest(row(uri=str(images[real.stem]), lung_mask=str(real)))
    drawn, boxes = (
        FrameStore([frame_rows(rows, lungs=lungs)], Split.TRAIN, 64).mask_HW(0, Task.LUNG)
        for lungs in ("pixels", "boxes")
    )
    assert drawn is not None
    assert boxes is not None
    assert np.array_equal(boxes, lung_rectangles(drawn))
    assert not np.array_equal(boxes, drawn)


def test_members_of_an_archive_and_their_masks_are_read_in_one_pass(radiograph, tmp_path: Path, monkeypatch) -> None:
    pixels = Path(radiograph).read_bytes()
    mask = io.BytesIO()
    Image.fromarray(np.full((100, 80), 255, np.uint8)).save(mask, "PNG")
    files = {f"masks/{i}.png": mask.getvalue() for i in range(70)} | {f"images/{i}.png": pixels for i in range(70)}
    uri = archives.write(tmp_path / "a.tgz", files)
    rows = manifest(
        *(
            row(
                image_id=f"x/{i:02d}",
                uri=uri,
                member=f"images/{i}.png",
                lung_mask=FileRef(uri, f"masks/{i}.png").to_text(),
            )
            for i in range(70)
        )
    )
    passes: list[str] = []
    real = TarStream._rewind

    def counted(self: TarStream, algorithm: str) -> None:
        passes.append(self.uri)
        real(self, algorithm)

    monkeypatch.setattr(TarStream, "_rewind", counted)
    [cut] = slices(rows, 16)
    table = frame_rows(cut)
    assert table["failed"].null_count == 70
    assert table["lung_mask"].null_count == 0
    assert passes == [uri]


def test_an_archive_that_is_not_what_it_should_be_is_not_learned_from(radiograph, tmp_path: Path) -> None:
    uri = archives.write(tmp_path / "a.tgz", {"a.png": Path(radiograph).read_bytes()})
    with pytest.raises(ManifestError, match=r"a\.tgz: the archive's sha1 is not the one"):
        frame_rows(manifest(row(uri=uri, member="a.png", checksum="sha1:" + "0" * 40)))


def test_loose_rows_are_sliced_anywhere_and_an_archive_nowhere() -> None:
    loose = [row(image_id=f"x/{i}", uri=f"/{i}.png") for i in range(5)]
    packed = [row(image_id=f"x/t{i}", uri="/a.tgz", member=str(i)) for i in range(5)]
    zipped = [row(image_id=f"x/z{i}", uri="/a.zip", member=str(i)) for i in range(3)]
    assert [len(cut) for cut in slices(manifest(*loose, *packed, *zipped), 2)] == [2, 2, 6, 2, 1]
