import re
import time

import pytest

from comit_ray.chunks import progress
from comit_ray.chunks.plan import ChunkPlan, PartPlan, Plan

PLAN = Plan((PartPlan("part", (ChunkPlan("a", "a.parquet", 16), ChunkPlan("b", "b.parquet", 4))),), "fingerprint")


@pytest.mark.parametrize(
    ("rows", "asked", "seconds", "text"),
    [
        (0, 20, 10, "screened 0 of 20 images, 0.0 a second, none done yet"),
        (16, 20, 8, "screened 16 of 20 images, 2.0 a second, about 2 s left"),
        (1_000, 10_000_000, 10, "screened 1,000 of 10,000,000 images, 100.0 a second, about 27.8 h left"),
        (100, 20_100, 10, "screened 100 of 20,100 images, 10.0 a second, about 33 min left"),
    ],
)
def test_a_line_says_what_is_done_and_what_is_left(rows, asked, seconds, text):
    assert progress.line("screened", rows, asked, seconds) == text


def test_committed_files_of_the_plan_are_counted_and_no_others(tmp_path):
    table = tmp_path / "predictions"
    assert progress.committed_rows(PLAN, str(table)) == 0
    table.mkdir()
    for name in ("b.parquet", "other.parquet", ".a.parquet.tmp"):
        (table / name).touch()
    assert progress.committed_rows(PLAN, str(table)) == 4


def test_lines_are_printed_while_the_block_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "OFTEN_S", 0.02)
    with progress.lines("screened", PLAN, str(tmp_path)):
        deadline = time.monotonic() + 60
        said = ""
        while "screened 16 of 20 images" not in said:
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
            said += capsys.readouterr().out
            if said:  # after the count of what there was before
                (tmp_path / "a.parquet").touch()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ screened 0 of 20 images, 0\.0 a second, none done yet\n", said)


def test_a_silent_job_prints_none(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "OFTEN_S", 0.001)
    with progress.lines("screened", PLAN, str(tmp_path), silent=True):
        time.sleep(0.05)
    assert capsys.readouterr().out == ""


def test_a_terminal_has_a_bar_that_ends_with_what_is_committed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "DRAW_S", 0.02)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with progress.lines("screened", PLAN, str(tmp_path)):
        deadline = time.monotonic() + 60
        said = ""
        while "0/20" not in said:  # what there was before is counted
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
            said += capsys.readouterr().out
        for name in ("a.parquet", "b.parquet"):
            (tmp_path / name).touch()
    said += capsys.readouterr().out
    assert "screened" in said
    assert "20/20" in said
    assert " a second, about 0 s left" in said
