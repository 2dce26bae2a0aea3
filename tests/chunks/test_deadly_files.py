"""Files that kill or stall their decoder, and chunks that end their process: each a row with its reason, and an end."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.chunks.reading import read_part
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images import decoder_processes, load
from comit_ray.data.images.load import Place
from comit_ray.errors import AGAIN, FAILURES, DecodeError, Reason
from comit_ray.prepare import prepare_pipeline
from comit_ray.prepare.fingerprints import fingerprint_tables
from comit_ray.prepare.frames import frame_tables
from comit_ray.screening.fetch import fail_fetched, fail_row, fetch_row, frames_of, to_table
from comit_ray.screening.review_reasons import WORTH_A_LOOK
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables.manifest_schema import MANIFEST
from tests.conftest import REPOSITORY
from tests.data import deadly
from tests.support import fetched, manifest_row

FRAME, LIMITS, SHORT = FrameConfig(size=64), DecodeLimits(), DecodeLimits(max_seconds=0.1)
WIDTHS = [60, 61, 64, 62, 65, 66]
EXPECTED = [None, "crashed_decoder", None, "crashed_decoder", None, None]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """Of PNG files, three of which end or stall the process that decodes them."""
    root = tmp_path_factory.mktemp("deadly")
    deadly.customise(root)
    for width in (*WIDTHS, 63):
        (root / f"{width}.png").write_bytes(deadly.deadly_png(width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{root}:{REPOSITORY}")
        decoder_processes._pool.close()  # the next host has other decoders
        yield [manifest_row(f"a/{w}", uri=str(root / f"{w}.png"), chunk=f"a-{n // 4}") for n, w in enumerate(WIDTHS)]
        decoder_processes._pool.close()


def read(rows: list[dict[str, Any]], limits: DecodeLimits = LIMITS, **options: Any) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    names = table["chunk"].unique().to_pylist()
    reading = partial(fetch_row, frame=FRAME, limits=limits)
    return [row for _, found in read_part(table, names, reading, fail_row, 2, 10**6, **options) for row in found]


def test_each_is_a_row_that_names_it_and_the_others_are_read(rows: list[dict[str, Any]]) -> None:
    """One file ended its process for ever, and was never named."""
    found = read(rows)
    assert [row.get("reason") for row in found] == EXPECTED
    assert [row["image_id"] for row in found] == [row["image_id"] for row in rows]
    assert found[1]["detail"] == "expected pixels, the decoder's process ended with SIGABRT, twice"
    assert found[3]["detail"] == "expected pixels, the decoder's process ended with SIGSEGV, twice"


def test_a_file_that_never_ends_is_a_row_too(rows: list[dict[str, Any]]) -> None:
    [found] = read([rows[0] | {"image_id": "a/63", "uri": rows[0]["uri"].replace("60.png", "63.png")}], SHORT)
    assert (found["image_id"], found["reason"]) == ("a/63", "timed_out")
    assert found["detail"] == "expected decoding to take at most 0.1 s, nothing came in 2 s, twice"


def test_jobs_that_train_have_the_same_rows(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(
        [row | {"split": "train", "unhealthy": 1, "covid": 1, "other": 0} for row in rows[:3]], schema=MANIFEST
    )
    with FileReader(10**6) as reader:
        reasons = [prepare_pipeline.prepare_row(row, reader, LIMITS, "png").get("reason") for row in table.to_pylist()]
    assert reasons == EXPECTED[:3]
    hashes = pa.concat_tables(fingerprint_tables(table, LIMITS))["fingerprint"].to_pylist()
    assert [value is None for value in hashes] == [False, True, False]
    frames = pa.concat_tables(frame_tables(table, FRAME, LIMITS, ["covid"]))
    assert [(text or "").partition(":")[0] for text in frames["failed"].to_pylist()] == ["", "crashed_decoder", ""]


class OtherBytes(FileReader):
    """Gives a deadly file once, and what the test says from then on."""

    def __init__(self, then: bytes) -> None:
        super().__init__(10**6)
        self.then, self.reads = then, 0

    def read(self, ref: FileRef, at_most: int | None = None) -> bytes:
        self.reads += 1
        return b"abort" if self.reads == 1 else self.then


def test_a_file_is_fetched_again_for_its_second_try(cxr: Path) -> None:
    """Bytes that changed on the way may have killed the decoder: such an image is not lost."""
    reader = OtherBytes(sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[0].read_bytes())
    assert load._apart(Place(FileRef("x.png")), reader, LIMITS, deadly.decode_or_die).height > 0
    reader = OtherBytes(b"exit")
    with pytest.raises(DecodeError, match="exit status 3, twice"):
        load._apart(Place(FileRef("x.png")), reader, LIMITS, deadly.decode_or_die)
    assert reader.reads == 2
    reader = OtherBytes(b"never read")
    with pytest.raises(DecodeError, match="SIGABRT, twice"):
        load._apart(Place(FileRef("x.tar.gz", "x.png")), reader, LIMITS, deadly.decode_or_die)
    assert reader.reads == 1, "a member of a tar.gz passes by once"


def test_without_processes_nothing_is_forked(cxr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_processes, "run", lambda *_: pytest.fail("another process was asked"))
    file = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[0]
    with FileReader(10**6) as reader:
        limits = DecodeLimits(processes=False)
        assert load.load_radiograph(Place(FileRef(str(file))), reader, limits).height > 0


def test_limits_of_time_and_memory_make_no_other_question() -> None:
    assert DecodeLimits().question() == SHORT.question() == DecodeLimits(processes=False, max_memory=1).question()
    assert DecodeLimits().question() != DecodeLimits(max_pixels=10**6).question()


def test_a_fault_of_this_program_costs_a_row_that_tells_no_value(rows: list[dict[str, Any]]) -> None:
    def reading(row: dict[str, Any], reader: FileReader) -> dict[str, Any]:
        if row["image_id"] == "a/61":
            raise KeyError("a patient's name")
        return {"image_id": row["image_id"]}

    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    found = [row for _, part in read_part(table, ["a-0"], reading, fail_row, 2, 10**6) for row in part]
    assert [row.get("reason") for row in found] == [None, "program_failed", None, None]
    assert "KeyError in test_deadly_files.py, line" in found[1]["detail"]
    assert "patient" not in found[1]["detail"]


def test_a_chunk_that_ends_every_process_fails_and_the_next_one_is_read(rows: list[dict[str, Any]]) -> None:
    sound = [rows[0], rows[2] | {"excluded": "lateral"}, rows[4]]
    deaths = {"a-0": 3, "a-1": 2}
    found = read(sound, begun=deaths.__getitem__)
    assert [row.get("reason") for row in found] == ["program_failed", "lateral", None]
    assert found[0]["detail"] == "expected to read the image, but the process that read its chunk died 3 times"


def test_such_rows_are_read_again_and_shown_to_a_person() -> None:
    assert Reason.PROGRAM_FAILED in AGAIN
    for reason in (Reason.CRASHED_DECODER, Reason.TIMED_OUT, Reason.PROGRAM_FAILED):
        assert reason in FAILURES
        assert reason in WORTH_A_LOOK


def test_a_chunk_that_the_model_fails_on_has_no_frames() -> None:
    table = fetched(None, np.full((64, 64), 7, np.uint8))
    failed = fail_fetched(table, DecodeError(Reason.PROGRAM_FAILED, "expected scores"))
    assert failed["reason"].to_pylist() == ["truncated", "program_failed"]
    assert failed.schema.equals(table.schema)
    assert len(frames_of(failed)) == 0
    assert to_table([], FRAME).schema.equals(failed.schema)
