"""Two drivers that do the chunks of one output: whoever comes through, the rows are those of one that worked alone."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comit_ray.chunks.one_driver import SECONDS
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from tests.conftest import REPOSITORY
from tests.support import manifest_row, write_rows

CHUNKS = 6
DRIVER = """
import sys
import zlib
from dataclasses import replace

import pyarrow as pa

from comit_ray.chunks import accounts, plan as planning
from comit_ray.chunks.one_driver import hold
from comit_ray.chunks.ownership import Owner
from comit_ray.screening.screen_tables import layout
from comit_ray.tables import parquet
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.support import mask_row, prediction_row

manifest, output = sys.argv[1:]
owner, of = Owner("r", "m", "s"), layout(embeddings=False)
plan = planning.make_plan(manifest, "all")
ids = {}
for row in parquet.read_table(manifest).to_pylist():
    ids.setdefault(row["chunk"], []).append(row["image_id"])
with hold(output) as lease:
    owner = replace(owner, lease=lease)
    done = accounts.committed(plan, output, of, owner)
    for chunk in plan.chunks:
        if chunk.file in done:
            continue
        print("next", flush=True)
        sys.stdin.readline()
        rows = [prediction_row(one, zlib.crc32(one.encode()) / 2**32) for one in ids[chunk.name]]
        tables = {
            "predictions": pa.Table.from_pylist(rows, schema=PREDICTIONS),
            "masks": pa.Table.from_pylist([mask_row(one) for one in ids[chunk.name]], schema=MASKS),
        }
        planning.commit(output, chunk.file, tables, of, owner)
    assert accounts.take(plan, output, of, owner).balanced
"""
ALL_LINES = "\n" * CHUNKS


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"{request.getfixturevalue('bucket')}/out"


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """Two images a chunk."""
    rows = [manifest_row(f"a/{number}", chunk=f"a-{number // 2:05d}") for number in range(2 * CHUNKS)]
    return write_rows(tmp_path / "manifest", rows, MANIFEST)


def start(manifest: str, output: str) -> "subprocess.Popen[str]":
    """A driver, which waits for a line before each of its chunks."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, manifest, output], cwd=REPOSITORY, text=True, bufsize=1, **pipes
    )


def rows(output: str, table: str) -> list[dict[str, Any]]:
    """Of a table, but for the moment of each."""
    found = parquet.read_table(f"{output}/{table}").to_pylist()
    return sorted(({**row, "screened_at": None} for row in found), key=lambda row: row["image_id"])


def alone(manifest: str, output: str) -> dict[str, list[dict[str, Any]]]:
    """What one driver writes."""
    driver = start(manifest, f"{output}-alone")
    _, said = driver.communicate(ALL_LINES, timeout=120)
    assert driver.returncode == 0, said
    return {table: rows(f"{output}-alone", table) for table in ("predictions", "masks")}


def test_a_driver_that_wakes_up_after_it_was_replaced_changes_no_row(manifest: str, output: str, monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "2")
    stopped = start(manifest, output)
    assert stopped.stdin is not None
    assert stopped.stdout is not None
    for _ in range(3):
        assert stopped.stdout.readline() == "next\n"
        stopped.stdin.write("\n")
    assert stopped.stdout.readline() == "next\n"  # three chunks are there
    stopped.send_signal(signal.SIGSTOP)
    second = start(manifest, output)
    out, said = second.communicate(ALL_LINES, timeout=120)
    assert second.returncode == 0, said
    assert out.count("next") == CHUNKS - 3, "what was there is not done again"
    stopped.send_signal(signal.SIGCONT)
    out, said = stopped.communicate(ALL_LINES, timeout=120)
    assert stopped.returncode == 1
    assert "OvertakenError" in said
    assert out == ""
    expected = alone(manifest, output)
    assert len(expected["predictions"]) == 2 * CHUNKS
    assert {table: rows(output, table) for table in expected} == expected


def test_of_two_at_once_one_does_all_and_the_other_nothing(manifest: str, output: str, monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "8")
    both = [start(manifest, output) for _ in range(2)]
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
    expected = alone(manifest, output)
    assert {table: rows(output, table) for table in expected} == expected


def _ended(driver: "subprocess.Popen[str]", both: "list[subprocess.Popen[str]]") -> bool:
    """Whether it is the one that ends by itself, once one of both has."""
    while all(one.poll() is None for one in both):
        try:
            driver.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return driver.poll() is not None
