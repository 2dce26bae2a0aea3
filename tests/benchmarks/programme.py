"""Seven nights of an archive of phantoms that grows: `python -m tests.benchmarks.programme [FIRST NIGHT SIZE [DIR]]`.

Night 3 is missed, in night 5 the driver is killed (SIGKILL) when some of its chunks are committed, before night 6 a
file changes, and in night 7 the images of one of the two devices (the one that gives PNG and JPEG) are brighter. After
each night the monitor says what it sees. In the end every row of every night is compared with those of one screen of
the archive as it is then, for the images that are there; and the rows that are lost or doubled are counted. The last
line compares all of them.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import duckdb
from PIL import Image

from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.data.phantom import phantom_archive
from comit_ray.evaluation.monitor import watch_charts, watch_counts
from comit_ray.prepare.run_manifest import make
from tests.support import write_checkpoint

FACTS = "status, reason, view, height, width, round(p_covid, 4), round(p_unhealthy, 4), covid_flag, unhealthy_flag"
MISSED, KILLED, CHANGED, DRIFTED, NIGHTS = 3, 5, 6, 7, 7
DEVICES = {".dcm": ("North", "Fixed 1")}
"""Ending -> site and device; all others are of `OTHER`."""
OTHER = ("South", "Mobile 2")
Rows = dict[str, tuple[object, ...]]


def rows(output: Path) -> tuple[Rows, int]:
    """image_id -> what a screen says of it, and how many rows are there twice."""
    found = duckdb.sql(f"SELECT image_id, {FACTS} FROM '{output}/predictions/**/*.parquet'").fetchall()
    by_id = {row[0]: row[1:] for row in found}
    return by_id, len(found) - len(by_id)


def update(archive: Path, manifest: Path, night: int, chunk_rows: int) -> None:
    """What a night adds to the manifest."""
    make(
        ManifestConfig(
            source="phantom",
            root=str(archive),
            output=str(manifest),
            update=True,
            added_on=date(2026, 11, night),
            chunk_rows=chunk_rows,
        )
    )


def screen(manifest: Path, checkpoint: str, output: Path, kill_after: int = 0) -> float:
    """Seconds of a screen in a process of its own, which is killed when so many new chunks are committed."""
    command = [sys.executable, "-m", "comit_ray.cli", "screen", "--manifest", str(manifest), "--checkpoint", checkpoint]
    began = time.monotonic()
    before = len(list((output / "predictions").glob("*.parquet"))) if kill_after else 0
    driver = subprocess.Popen([*command, "--output", str(output), "--max_failed_share", "1"], stdout=subprocess.DEVNULL)
    while kill_after and driver.poll() is None:
        if len(list((output / "predictions").glob("*.parquet"))) >= before + kill_after:
            os.kill(driver.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert driver.wait() == (-signal.SIGKILL if kill_after else 0)
    return time.monotonic() - began


def add(files: list[Path], source: Path, archive: Path, night: int) -> None:
    """Move files into the archive, with their lines of `labels.csv`: day, site and device are this night's."""
    names = {str(path.relative_to(source)) for path in files}
    for name in names:
        (archive / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source / name, archive / name)
    with (source / "labels.csv").open(newline="") as table:
        lines = list(csv.DictReader(table))
    with (archive / "labels.csv").open("a", newline="") as table:
        writer = csv.DictWriter(table, list(lines[0]))
        if table.tell() == 0:
            writer.writeheader()
        for line in lines:
            if line["file"] in names:
                site, device = DEVICES.get(Path(line["file"]).suffix, OTHER)
                writer.writerow(line | {"site": site, "device": device, "date": f"202611{night:02d}"})


def brighten(path: Path) -> None:
    """Make a PNG or JPEG brighter by a third of white; what is no image stays."""
    try:
        with Image.open(path) as image:
            grey = image.convert("L") if image.mode != "I;16" else image.point(lambda value: value / 256).convert("L")
            kind = image.format
    except OSError:
        return
    grey.point(lambda value: min(255, value + 85)).save(path, format=kind)


def watched(output: Path) -> list[str]:
    """What the monitor says of the last night, by the day of the radiograph."""
    config = MonitorConfig(results=str(output), of="acquired")
    found = watch_charts.watch(watch_counts.count(config), config)
    return [f"{alarm.kind} {alarm.group}: {alarm.signal}" for alarm in found.alarms]


def files_of(manifest: Path) -> set[str]:
    """image_ids of the manifest."""
    return {row[0] for row in duckdb.sql(f"SELECT image_id FROM '{manifest}/*.parquet'").fetchall()}


def night_of(night: int, share: int, folder: Path) -> None:
    """What happens until a night, and in it: files come or change, the manifest is brought up to date, a screen."""
    archive, manifest, output, done = (folder / name for name in ("archive", "manifest", "out", "nights"))
    if not (done / f"{night}.begun").exists():
        source = folder / "all"
        files = sorted((path for path in (source / "images").rglob("*") if path.is_file()), key=lambda path: path.name)
        new = files[:share] if night < NIGHTS else files
        for path in new:
            if night == DRIFTED and path.suffix not in DEVICES:
                brighten(path)
        add(new, source, archive, night)
        if night == CHANGED:
            images = sorted(archive.rglob("*.png"))
            shutil.copy(images[-1], images[0])
            (done / "changed").write_text(f"phantom/{images[0].relative_to(archive)}")
        (done / f"{night}.begun").touch()
    if night == MISSED:
        print(f"night {night}: missed")
        return
    began = time.monotonic()
    update(archive, manifest, night, chunk_rows=16)
    listed = time.monotonic() - began
    seconds = screen(manifest, str(folder / "checkpoint"), output, kill_after=1 if night == KILLED else 0)
    found, doubled = rows(output)
    how = "killed" if night == KILLED else "whole"
    print(f"night {night}: {how}, manifest {listed:.1f} s, screen {seconds:.1f} s, {len(found):,} rows")
    print(f"night {night}: alarms: {'; '.join(watched(output)) or 'none'}", flush=True)
    said = {"rows": found, "doubled": doubled, "asked": sorted(files_of(manifest))}
    (done / f"{night}.json").write_text(json.dumps(said))


def run(first: int, a_night: int, folder: Path) -> None:
    """All nights, and the screen that they are compared with; of a folder where some are done, the others."""
    done = folder / "nights"
    if not done.exists():
        phantom_archive.write(str(folder / "all"), first + (NIGHTS - 1) * a_night, 0)
        write_checkpoint(folder / "checkpoint")
        done.mkdir()
    for night in range(1, NIGHTS + 1):
        if not (done / f"{night}.json").exists():
            night_of(night, first if night == 1 else a_night, folder)
    changed = (done / "changed").read_text()
    update(folder / "archive", folder / "manifest of all", 30, chunk_rows=16)
    screen(folder / "manifest of all", str(folder / "checkpoint"), folder / "once")
    once = {name: list(facts) for name, facts in rows(folder / "once")[0].items()}
    found, newest = {}, {}
    for path in sorted(done.glob("*.json")):
        night, said = int(path.stem), json.loads(path.read_text())
        found = said["rows"]
        there = {name.removesuffix("@2"): name for name in sorted(found)}  # of two versions the newer one
        newest = {name: found[full] for name, full in there.items() if night >= CHANGED or name != changed}
        other = sum(newest[name] != once[name] for name in newest)
        lost = f"{'left for the next' if night == KILLED else 'lost'} {len(set(said['asked']) - found.keys()):,}"
        print(f"night {night}: {lost}, doubled {said['doubled']:,}, other than in one screen {other:,}")
    print(
        f"at the end {len(newest):,} images and {len(found) - len(newest):,} earlier versions; equal: {newest == once}"
    )


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:3]] or [300, 40]
    with tempfile.TemporaryDirectory() as made:
        run(sizes[0], sizes[1], Path(sys.argv[3]) if len(sys.argv) > 3 else Path(made))
