"""Two drivers that do the chunks of one output: whoever comes through, the rows are those of one that worked alone."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks.one_driver import SECONDS
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.conftest import REPOSITORY
from tests.support import manifest_row, mask_row, prediction_row, write_rows

CHUNKS = 6
TABLES = {"predictions": PREDICTIONS, "masks": MASKS}
DRIVER = """
import sys
from dataclasses import replace

import pyarrow.parquet as pq

from comit_ray.chunks import accounts, plan as planning
from comit_ray.chunks.one_driver import hold
from comit_ray.chunks.ownership import Owner
from comit_ray.screening.screen_tables import layout

manifest, made, output = sys.argv[1:]
owner, of = Owner("r", "m", "s"), layout(embeddings=False)
plan = planning.make_plan(manifest, "all")
with hold(output) as lease:
    owner = replace(owner, lease=lease)
    done = accounts.committed(plan, output, of, owner)
    for chunk in plan.chunks:
        if chunk.file in done:
            continue
        print("next", flush=True)
        sys.stdin.readline()
        tables = {name: pq.read_table(f"{made}/{chunk.chunk}/{name}.parquet") for name in ("predictions", "masks")}
        planning.commit(output, chunk.file, tables, of, owner)
    assert accounts.take(plan, output, of, owner).balanced
"""
ALL_LINES = "\n" * CHUNKS


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"{request.getfixturevalue('bucket')}/out"


Made = dict[str, list[dict[str, Any]]]


@pytest.fixture
def expected(tmp_path: Path) -> Made:
    """The rows of each table, as one driver would write them: two images a chunk, beside the manifest."""
    found: Made = {name: [] for name in TABLES}
    listed = [manifest_row(f"a/{number}", chunk=f"a-{number // 2:05d}") for number in range(2 * CHUNKS)]
    write_rows(tmp_path / "manifest", listed, MANIFEST)
    for number in range(CHUNKS):
        ids = [f"a/{2 * number}", f"a/{2 * number + 1}"]
        rows = {"predictions": [prediction_row(one, number / 10) for one in ids], "masks": [mask_row(i) for i in ids]}
        for name, some in rows.items():
            write_rows(tmp_path / "made" / f"a-{number:05d}", some, TABLES[name], name)
            found[name] += pa.Table.from_pylist(some, schema=TABLES[name]).to_pylist()
    return {name: sorted(some, key=lambda row: str(row["image_id"])) for name, some in found.items()}


def start(root: Path, output: str) -> "subprocess.Popen[str]":
    """A driver, which waits for a line before each of its chunks."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    words = [sys.executable, "-c", DRIVER, str(root / "manifest"), str(root / "made"), output]
    return subprocess.Popen(words, cwd=REPOSITORY, text=True, bufsize=1, **pipes)


def written(output: str) -> Made:
    """The rows of each table of an output."""
    found = {name: parquet.read_table(f"{output}/{name}").to_pylist() for name in TABLES}
    return {name: sorted(some, key=lambda row: str(row["image_id"])) for name, some in found.items()}


def test_a_driver_that_wakes_up_after_it_was_replaced_changes_no_row(tmp_path, expected, output, monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "2")
    stopped = start(tmp_path, output)
    assert stopped.stdin is not None
    assert stopped.stdout is not None
    for _ in range(3):
        assert stopped.stdout.readline() == "next\n"
        stopped.stdin.write("\n")
    assert stopped.stdout.readline() == "next\n"  # three chunks are there
    stopped.send_signal(signal.SIGSTOP)
    second = start(tmp_path, output)
    out, said = second.communicate(ALL_LINES, timeout=120)
    assert second.returncode == 0, said
    assert out.count("next") == CHUNKS - 3, "what was there is not done again"
    stopped.send_signal(signal.SIGCONT)
    out, said = stopped.communicate(ALL_LINES, timeout=120)
    assert stopped.returncode == 1
    assert "OvertakenError" in said
    assert out == ""
    assert len(expected["predictions"]) == 2 * CHUNKS
    assert written(output) == expected


def test_of_two_at_once_one_does_all_and_the_other_nothing(tmp_path, expected, output, monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "8")
    both = [start(tmp_path, output) for _ in range(2)]
    for driver in both:
        assert driver.stdin is not None
        driver.stdin.write("\n")  # for the first chunk alone: it holds the output until the other has looked
    refused = next(driver for driver in both if _ended(driver, both))
    out, said = refused.communicate(timeout=120)
    assert refused.returncode == 1
    assert "HeldError" in said
    assert out == ""
    [holder] = [driver for driver in both if driver is not refused]
    _, said = holder.communicate(ALL_LINES, timeout=120)
    assert holder.returncode == 0, said
    assert written(output) == expected


def _ended(driver: "subprocess.Popen[str]", both: "list[subprocess.Popen[str]]") -> bool:
    """Whether it is the one that ends by itself, once one of both has."""
    while all(one.poll() is None for one in both):
        try:
            driver.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return driver.poll() is not None
