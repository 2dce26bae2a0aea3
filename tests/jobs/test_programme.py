"""A programme of nights on an archive of phantoms that grows: after each night the tables are those of one screen."""

import shutil
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from comit_ray import cli
from comit_ray.command import screen_archive
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.manifest import manifest_build
from comit_ray.data.phantom import phantom_archive
from jobs import screen as screen_job
from tests.jobs.without_ray import without_ray  # noqa: F401  # a fixture
from tests.support import write_checkpoint

FIRST, A_NIGHT = 20, 4
FACTS = "status, reason, view, height, width, round(p_covid, 4), round(p_unhealthy, 4), covid_flag, unhealthy_flag"


def rows(output: Path, table: str = "predictions") -> dict[str, tuple]:
    """image_id -> what a screen says of it; fails where an image has two rows."""
    found = duckdb.sql(f"SELECT image_id, {FACTS} FROM '{output}/{table}/**/*.parquet'").fetchall()
    by_id = {row[0]: row[1:] for row in found}
    assert len(by_id) == len(found)
    return by_id


def queued(output: Path) -> list[str]:
    return [
        row[0] for row in duckdb.sql(f"SELECT image_id FROM '{output}/review_queue/*.parquet' ORDER BY rank").fetchall()
    ]


@pytest.mark.usefixtures("without_ray", "small_phantoms")
def test_nights_give_what_one_screen_of_all_gives(tmp_path: Path, monkeypatch, capsys) -> None:
    phantom_archive.write(str(tmp_path / "all"), FIRST + 4 * A_NIGHT, 0)
    files = sorted((path for path in (tmp_path / "all").rglob("*") if path.is_file()), key=lambda path: path.name)
    archive, output = tmp_path / "archive", tmp_path / "out"
    checkpoint = write_checkpoint(tmp_path / "checkpoint")

    def come(count: int) -> None:
        for path in [files.pop() for _ in range(min(count, len(files)))]:
            target = archive / path.relative_to(tmp_path / "all")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)

    def screen(day: int, into: Path) -> int:
        for module in (screen_archive, manifest_build):
            monkeypatch.setattr(module, "today", lambda: date(2026, 11, day))
        words = (
            "--archive",
            str(archive),
            "--checkpoint",
            checkpoint,
            "--output",
            str(into),
            "--max_failed_share",
            "1",
        )
        return screen_job.job(cli.parse(ScreenConfig, "", words))

    come(FIRST)
    assert screen(1, output) == 0
    first, first_queue = rows(output), queued(output)
    come(A_NIGHT)
    assert screen(2, output) == 0
    assert "update: " in capsys.readouterr().out
    second = rows(output)
    assert {name: second[name] for name in first} == first
    assert queued(output)[: len(first_queue)] == first_queue
    come(A_NIGHT)  # the night that is missed
    come(A_NIGHT)
    assert screen(4, output) == 0
    # Of the night that is killed a chunk is not committed, and the queue is that of before.
    came = set(rows(output)) - set(second)
    new = sorted((output / "predictions").glob("2026-11-04-*.parquet"))
    assert sum(pq.read_metadata(path).num_rows for path in new) == len(came)
    new[0].unlink()
    pictures = [one for one in sorted(first) if one.endswith(".png")]
    name, before = pictures[0], first[pictures[0]]
    shutil.copy(*(archive / one.removeprefix("files/") for one in (pictures[-1], name)))
    come(A_NIGHT)
    assert screen(5, output) == 0

    nights = rows(output)
    assert screen(6, tmp_path / "once") == 0
    once = rows(tmp_path / "once")
    assert nights.pop(name) == before  # the old version's row stays
    nights[name] = nights.pop(f"{name}@2")
    assert nights == once
    assert {row[0] for row in duckdb.sql(f"SELECT added_on::VARCHAR FROM '{output}/images/*.parquet'").fetchall()} == {
        "2026-11-01", "2026-11-02", "2026-11-04", "2026-11-05"
    }  # fmt: skip
    marked = duckdb.sql(f"SELECT superseded_by FROM '{output}/images/*.parquet' WHERE image_id = '{name}'").fetchall()
    assert marked == [(f"{name}@2",)]
    assert name not in queued(output)
    assert screen(7, output) == 0  # nothing new: nothing is done
    assert "screening" not in capsys.readouterr().out.rpartition("update")[2].partition("listed by an earlier run")[2]
