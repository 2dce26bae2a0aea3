"""Two drivers that do the chunks of one output: whoever comes through, the rows are those of one that worked alone."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from comit_ray.chunks.one_driver import SECONDS
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.chunks.driver import drive
from tests.support import manifest_row, mask_row, prediction_row, write_rows

CHUNKS = 6
TABLES = {"predictions": PREDICTIONS, "masks": MASKS}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.chunks.driver", "comit_ray.storage.s3", "boto3"])


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


class Driver:
    """A driver in a process of its own, which waits for a word before each of its chunks."""

    def __init__(self, root: Path, output: str) -> None:
        self._told, its = PROCESSES.Pipe()
        places = (str(root / "manifest"), str(root / "made"), output)
        self.process = PROCESSES.Process(target=drive, args=((its, self._told), dict(os.environ), *places))
        self.process.start()
        its.close()

    def said(self) -> str:
        """The next that it says: `next`, or its error; nothing once it has ended."""
        assert self._told.poll(120), "it neither works nor ends"
        try:
            return str(self._told.recv())
        except EOFError:
            return ""

    def go(self) -> None:
        self._told.send("go")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def finish(self) -> list[str]:
        """All that it says until it ends, told to go on whenever it asks."""
        heard = []
        while word := self.said():
            heard.append(word)
            if word == "next":
                self.go()
        self.process.join(120)
        return heard


@pytest.fixture
def start(tmp_path: Path, output: str) -> Iterator[Callable[[], Driver]]:
    """Starts a driver of the output; none is left after the test."""
    started: list[Driver] = []

    def one() -> Driver:
        started.append(Driver(tmp_path, output))
        return started[-1]

    yield one
    for driver in started:
        driver.kill()


def written(output: str) -> Made:
    """The rows of each table of an output."""
    found = {name: parquet.read_table(f"{output}/{name}").to_pylist() for name in TABLES}
    return {name: sorted(some, key=lambda row: str(row["image_id"])) for name, some in found.items()}


def test_a_driver_that_wakes_up_after_it_was_replaced_changes_no_row(start, expected, output, monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "2")
    stopped = start()
    for _ in range(3):
        assert stopped.said() == "next"
        stopped.go()
    assert stopped.said() == "next"  # three chunks are there
    assert stopped.process.pid is not None
    os.kill(stopped.process.pid, signal.SIGSTOP)
    second = start()
    said = second.finish()
    assert second.process.exitcode == 0, said
    assert said == ["next"] * (CHUNKS - 3), "what was there is not done again"
    os.kill(stopped.process.pid, signal.SIGCONT)
    stopped.go()
    [said] = stopped.finish()
    assert stopped.process.exitcode == 1
    assert "OvertakenError" in said
    assert len(expected["predictions"]) == 2 * CHUNKS
    assert written(output) == expected


def test_of_two_at_once_one_does_all_and_the_other_nothing(start, expected, output, monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "8")
    both = [start() for _ in range(2)]
    first = [driver.said() for driver in both]  # whoever holds the output waits, until the other has looked
    assert first.count("next") == 1, first
    holder, refused = both if first[0] == "next" else reversed(both)
    [error] = [word for word in first if word != "next"]
    assert "HeldError" in error
    assert refused.finish() == []
    assert refused.process.exitcode == 1
    holder.go()
    said = holder.finish()
    assert holder.process.exitcode == 0, said
    assert said == ["next"] * (CHUNKS - 1)
    assert written(output) == expected
