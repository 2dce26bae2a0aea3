"""The reading room's figures: how soon the next radiograph is there, and how often intervals hold.

python -m tests.benchmarks.reading latency [IMAGES]
python -m tests.benchmarks.reading intervals [ARCHIVES]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from comit_ray.data.phantom import phantom_drawing
from comit_ray.data.phantom.phantom_drawing import PhantomKind
from comit_ray.reading import access, archive_estimates
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import PREDICTIONS
from tests.reading.browsers import chromium, keys, ready, until
from tests.reading.screens import PART, as_dicom, serving, write_queue, write_record
from tests.support import manifest_row, prediction_row

SIDE = 3000
LOOK = 2.0
"""Seconds that a reader looks at an image before judging it: a quick one."""


def write_large(root: Path, images: int) -> str:
    """Radiographs of 3,000 x 3,000 pixels of 12 bits, uncompressed DICOM; URI of their results."""
    whole = phantom_drawing.draw(1, PhantomKind.COVID, size=(SIDE, SIDE)).pixels_HW
    ids = [f"a/{number:03d}.dcm" for number in range(images)]
    for number, image_id in enumerate(ids):
        data = as_dicom(np.roll(whole, 7 * number, axis=0))
        storage.write_bytes(str(root / "images" / image_id.partition("/")[2]), data)
    manifest = [manifest_row(one, uri=str(root / "images" / one.partition("/")[2])) for one in ids]
    rows = [prediction_row(one, 0.9, lung_area=0.3, disease_area=0.1, disease_in_lung=0.3) for one in ids]
    for name, table, schema in (("results/predictions", rows, PREDICTIONS), ("manifest", manifest, MANIFEST)):
        parquet.write_table(str(root / name / PART), pa.Table.from_pylist(table, schema=schema))
    write_queue(str(root / "results"), str(root / "manifest"))
    write_record(str(root / "results"), str(root / "manifest"))
    return str(root / "results")


def latency(images: int) -> None:
    """From the key that saves a verdict to the next radiograph on the canvas, in headless Chromium."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        results = write_large(root, images)
        with serving(results) as (_, port), chromium(root / "profile") as browser:
            browser.get(f"http://127.0.0.1:{port}/enter#{access.invite(results, 'anna', 1)}")
            ready(browser)
            for place in range(images - 1):
                time.sleep(LOOK)
                keys(browser, "a", "\ue007")
                until(browser, f"reading.timings.length === {place + 1}")
            timings = browser.execute_script("return reading.timings")
            ready(browser)
    median, late, worst = np.percentile(timings, (50, 95, 100))
    print(f"{len(timings)} x {SIDE} x {SIDE} x 12 bits: median {median:.0f}, 95% {late:.0f}, worst {worst:.0f} ms")


def intervals(archives: int) -> None:
    """How often the archive's own figures lie in their 95% intervals."""
    for seed in range(3):
        shares = archive_estimates.simulate(archives, seed)
        print(
            f"seed {seed}, {archives:,} archives:", ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
        )


if __name__ == "__main__":
    what, *count = sys.argv[1:]
    {"latency": latency, "intervals": intervals}[what](
        int(count[0]) if count else {"latency": 25, "intervals": 1000}[what]
    )
