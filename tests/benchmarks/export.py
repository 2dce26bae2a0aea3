"""Results exported to a real Orthanc on this machine: objects a second, and memory as they go out.

    python -m tests.benchmarks.export 2000 seg,sr

One process, chunks of 100 results of radiographs of 400 x 360 pixels, as `jobs/export.py` has them in one worker.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
from pydicom.uid import UID

from comit_ray.chunks import run_record
from comit_ray.config.export_config import ExportConfig
from comit_ray.dicom.destination import Pace
from comit_ray.dicom.export import export_unit
from comit_ray.dicom.run_export import exporting
from comit_ray.dicom.selection import units
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.dicom.orthanc import PASSWORD, USER, Orthanc
from tests.dicom.support import masks, prediction, radiograph, read
from tests.support import manifest_row, write_rows

CHUNK = 100


def write(root: Path, count: int) -> tuple[str, str]:
    """So many radiographs and a screen of them; URIs of results and manifest."""
    results = root / "results"
    point = {"operating_point": {"name": "p", "thresholds": {"covid": 0.41}}}
    run_record.open_run(str(results), point, {}, "predictions")
    made, drawn = read(radiograph(size=(400, 360))), masks(400, 360)
    (root / "files").mkdir()
    for first in range(0, count, CHUNK):
        ids = [f"w/{number}.dcm" for number in range(first, min(first + CHUNK, count))]
        for number, name in enumerate(ids, start=first):
            made.SOPInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.77.{number}")
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
            made.SeriesInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.78.{number}")
            made.StudyInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.79.{number // 2}")
            made.save_as(root / "files" / name[2:], enforce_file_format=True)
        part = f"part-{first:08d}"
        rows = [manifest_row(one, uri=str(root / "files" / one[2:]), chunk=part) for one in ids]
        write_rows(root / "manifest", rows, MANIFEST, part)
        write_rows(results / "predictions", [prediction(one, 400, 360) for one in ids], PREDICTIONS, part)
        write_rows(results / "masks", [drawn | {"image_id": one} for one in ids], MASKS, part)
    return str(results), str(root / "manifest")


def main(count: int, formats: str) -> None:
    """Export them, and say after every fourth chunk how it goes."""
    os.environ |= {"COMIT_DICOMWEB_USER": USER, "COMIT_DICOMWEB_PASSWORD": PASSWORD}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        server = Orthanc(root / "orthanc")
        server.start()
        try:
            results, manifest = write(root, count)
            config = ExportConfig(
                results=results, manifest=manifest, dicomweb=server.root, select="all", format=formats
            )
            export, process, stored = exporting(config), psutil.Process(), 0
            began, worked = time.monotonic(), time.process_time()
            for number, unit in enumerate(units(config), start=1):
                stored += export_unit(export, unit, {}, Pace(None)).stored
                if number % 4 == 0:
                    wall, cpu = time.monotonic() - began, time.process_time() - worked
                    resident = process.memory_info().rss / 2**20
                    speed = f"{stored / wall:.1f}/s, {stored / cpu:.1f} a CPU second"
                    print(f"{stored:,} objects, {speed}, {resident:.0f} MiB", flush=True)
            print(f"the server holds {server.count():,} objects")
        finally:
            server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
