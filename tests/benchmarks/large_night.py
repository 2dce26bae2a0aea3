"""A night of 100 new images in an archive of a million: `python -m tests.benchmarks.large_night [ROWS [DIR]]`.

Writes a manifest and the finished chunks of a screen (not counted), then times in a process of its own what a night
does before and after its images: the update of the manifest, the plan, what is committed, the accounts, the copy of the
manifest's rows, and the queue. The archive's listing is made up, and the rows of the new images are written as a screen
leaves them: listing, reading and predicting are not in the figures.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import accounts, growth, plan, run_record
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.queue_config import QueueConfig
from comit_ray.data.manifest import manifest, manifest_growth
from comit_ray.data.sources.manifest_row import ManifestRow, place
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.prepare import run_manifest
from comit_ray.screening import results_folder
from comit_ray.screening.screen_tables import layout
from comit_ray.storage import storage
from comit_ray.storage.storage import FileEntry
from tests.benchmarks import planning
from tests.benchmarks.measure import measured

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.5})
NEW = 100


def listed(rows: int) -> Iterator[FileEntry]:
    """The archive as its storage would list it: what is known, and what is new."""
    for number in range(rows + NEW):
        yield FileEntry(f"{number // 1000:05d}/{number:08d}.dcm", 1, None, "1")


def adapter(files: SourceFiles, dataset: str, options: object) -> Iterator[ManifestRow]:
    """A row a file, which is not opened."""
    return (ManifestRow(**place(file), patient_id=f"{dataset}/{file.name}") for file in files.matching(r".+\.dcm"))


def night(rows: int, folder: Path) -> None:
    """The steps of one night, each timed."""
    uri, output, tables = str(folder / "manifest"), str(folder / "results"), layout(embeddings=False)
    question = {"model_id": "m", "operating_point": {"name": POINT.name, "thresholds": POINT.thresholds}}
    first = plan.make_plan(uri, "all")
    record = {"run_id": "r", "question": question | {"manifest": first.fingerprint}}
    storage.write_bytes(storage.join(output, run_record.FILE), json.dumps(record).encode())
    growth.open_run(output, question | {"manifest": first.fingerprint}, {}, "none", first)
    options = ManifestConfig(
        source="files", root="s3://archive", name="big", output=uri, update=True, added_on=date(2026, 11, 30)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "list_files", _listing(rows))
        for module in (run_manifest, manifest_growth):
            patch.setattr(module, "adapter", lambda name: adapter)
        with measured("manifest updated"):
            run_manifest.make(options)
    with measured("planned"):
        whole = plan.make_plan(uri, "all")
    with measured("the question compared"):
        growth.open_run(output, question | {"manifest": whole.fingerprint}, {}, "none", whole)
    with measured("what is committed found"):
        left = whole.without(accounts.committed(whole, output, tables))
    assert left.rows == NEW
    for part in left.parts:
        for chunk in part.chunks:
            ids = manifest.read_columns(part.uri, ["image_id"])["image_id"].to_pylist()
            planning.finish(folder / "results", chunk.chunk, ids)
    with measured("accounts"):
        assert accounts.settle(whole, output, tables).balanced
    with measured("rows of the manifest copied"):
        results_folder.write_images(output, whole, "all", manifest.read_marks(uri))
    with measured("queue"):
        results_folder.write_queue(output, uri, QueueConfig(), POINT)
    print(f"{whole.rows:,} rows in {len(whole.chunks):,} chunks, of them {left.rows:,} new")


def _listing(rows: int) -> Callable[..., Iterator[FileEntry]]:
    """What stands for `storage.list_files`."""
    real = storage.list_files

    def of(uri: str, suffix: str = "", *, passed_over: bool = False) -> Iterator[FileEntry]:
        return listed(rows) if uri.startswith("s3://archive") else real(uri, suffix, passed_over=passed_over)

    return of


if __name__ == "__main__":
    if sys.argv[1:2] == ["night"]:
        night(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
        with tempfile.TemporaryDirectory() as made:
            where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(made)
            planning.write(count, where, finished=1.0)
            subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.large_night", "night", str(count), str(where)], check=True
            )
