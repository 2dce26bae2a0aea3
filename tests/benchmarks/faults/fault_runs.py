"""Screens under faults: what was lost, doubled or wrong, and what a rerun heals. The goal: 0 wrong, all healed.

    python -m tests.benchmarks.faults.fault_runs not_found cut flip_get flip_put refused_put stopped_s3 two_s3
    python -m tests.benchmarks.faults.fault_runs away deadly kill zombie stopped two

Real radiographs of `../shared/cxr` (or COMIT_TEST_DATA), loose and in archives, are screened by a small untrained model
in small chunks: once without a fault, then under each fault, and once more without it. Prints one JSON line a fault.

    lost     rows of the manifest without a row in the predictions after the rerun
    doubled  rows of the predictions that are there twice
    wrong    rows whose status, reason or scores differ from the sound run's after the rerun
    scored_wrongly  the same right after the run with the fault, of rows that say ok: a wrong score that looks right
    hurt     rows that differ after the run with the fault
    healed   of these, how many are as in the sound run after the rerun
"""

import argparse
import contextlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from comit_ray import cli
from comit_ray.chunks.one_driver import SECONDS
from comit_ray.command import jobs
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.errors import StorageError
from comit_ray.storage import s3, storage
from comit_ray.tables import parquet
from tests.benchmarks.faults.fault_proxy import Faults, proxy
from tests.conftest import REPOSITORY
from tests.data import deadly
from tests.support import write_checkpoint

CHUNK_ROWS = 8
LIMIT_S = 420.0
"""For one screen; one that takes longer is ended, and the benchmark with it."""
SHORT_S = 0.5
"""Of CPU time that a file may take, in an archive with one that never ends: ten seconds by the clock, twice."""
SHARE = 0.1
"""Of requests that meet a fault."""
Rows = dict[str, tuple[Any, ...]]


class Field:
    """An archive, its model, and where the screens of it go.

    Attributes:
        root: a directory of this machine.
        place: where archive and results are, the directory or a bucket.
        seconds: of CPU time that a file may take.
    """

    def __init__(self, root: Path, images: int, with_deadly: bool, with_other: bool, bucket: str | None) -> None:
        self.root, self.place = root, bucket or str(root)
        self.seconds = SHORT_S if with_deadly else 30.0
        source = Path(os.environ.get("COMIT_TEST_DATA") or REPOSITORY.parent / "shared" / "cxr")
        folder = root / "archive" / "images"
        folder.mkdir(parents=True)
        for image in sorted((source / "nih_chestxray14" / "images").glob("*.png"))[:images]:
            shutil.copy(image, folder)
        if with_deadly:
            for width in deadly.SIZES:
                (folder / f"deadly_{width}.png").write_bytes(deadly.deadly_png(width))
        self.packed(folder, "gztar", ".tar.gz", images // 4)
        self.packed(folder, "zip", ".zip", images // 4)
        if bucket:
            for path in (root / "archive").rglob("*"):
                if path.is_file():
                    storage.write_bytes(f"{bucket}/archive/{path.relative_to(root / 'archive')}", path.read_bytes())
        self.manifest = f"{root}/manifest"
        asked = ManifestConfig(
            source="files", root=f"{self.place}/archive", output=self.manifest, chunk_rows=CHUNK_ROWS
        )
        assert jobs.manifest(asked) == 0
        self.checkpoint = write_checkpoint(root / "checkpoint")
        self.other = write_checkpoint(root / "other", seed=1)
        self.screen("sound")
        self.sound = self.rows("sound")[0]
        self.other_sound: Rows = {}
        if with_other:
            self.screen("other_sound", self.other)
            self.other_sound = self.rows("other_sound")[0]

    @staticmethod
    def packed(folder: Path, form: str, ending: str, count: int) -> None:
        """Move some images into an archive beside them."""
        some = sorted(folder.glob("0*.png"))[-count:]
        staged = folder.parent / "staged"
        staged.mkdir()
        for image in some:
            image.rename(staged / image.name)
        shutil.make_archive(str(folder.parent / "packed"), form, staged)
        shutil.move(str(folder.parent / f"packed{ending}"), folder / f"packed{ending}")
        shutil.rmtree(staged)

    def options(self, name: str, checkpoint: str | None = None) -> list[str]:
        """Of one screen."""
        asked: dict[str, Any] = {
            "manifest": self.manifest,
            "checkpoint": checkpoint or self.checkpoint,
            "max_failed_share": 1,
        }
        asked |= {"output": f"{self.place}/results_{name}", "predictors": 1, "decode.max_seconds": self.seconds}
        return [word for key, value in asked.items() for word in (f"--{key}", str(value))]

    def screen(self, name: str, checkpoint: str | None = None) -> tuple[int, float]:
        """Exit status and seconds of a screen in this process."""
        config = cli.parse(ScreenConfig, "", self.options(name, checkpoint))
        began = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            status = jobs.screen(config)
        return status, time.monotonic() - began

    def rows(self, name: str) -> tuple[Rows, int]:
        """Image -> what the predictions say of it; and how many rows there are too many."""
        table = parquet.read_table(f"{self.place}/results_{name}/predictions")
        columns = ["status", "reason", "p_covid", "p_unhealthy", "model_id", "lung_area"]
        values = zip(*(table[column].to_pylist() for column in columns), strict=True)
        found = dict(zip(table["image_id"].to_pylist(), values, strict=True))
        return found, len(table) - len(found)

    def committed(self, name: str) -> int:
        """Chunks that are there."""
        try:
            return sum(1 for _ in storage.list_files(f"{self.place}/results_{name}/predictions", ".parquet"))
        except StorageError:  # not there yet, or away
            return 0

    def wait_for(self, name: str, chunks: int) -> None:
        """Until so many chunks are there."""
        until = time.monotonic() + LIMIT_S
        while self.committed(name) < chunks:
            assert time.monotonic() < until, f"{name}: no {chunks} chunks in {LIMIT_S} s"
            time.sleep(0.02)


def differing(found: Rows, sound: Rows) -> set[str]:
    """Images whose rows differ, or are not there."""
    return {image for image in sound if found.get(image) != sound[image]}


Ended = tuple[int, float, int]
"""Exit status of a screen, its seconds, and how often its fault was done."""


def by_proxy(faults: Faults, **shares: float) -> Callable[[Field, str], Ended]:
    """A screen while the store is faulty."""

    def run(field: Field, name: str) -> Ended:
        before = faults.count
        for kind, share in shares.items():
            setattr(faults, kind, share)
        try:
            status, seconds = field.screen(name)
        finally:
            for kind in shares:
                setattr(faults, kind, 0.0)
        return status, seconds, faults.count - before

    return run


def away(field: Field, name: str) -> Ended:
    """The share with the images is unmounted after two chunks, and comes back ten seconds later."""
    archive = field.root / "archive"

    def unmount() -> None:
        field.wait_for(name, 2)
        archive.rename(field.root / "elsewhere")
        archive.mkdir()
        time.sleep(10)
        archive.rmdir()
        (field.root / "elsewhere").rename(archive)

    thread = threading.Thread(target=unmount)
    thread.start()
    status, seconds = field.screen(name)
    thread.join()
    return status, seconds, 1


def files_that_kill(field: Field, name: str) -> Ended:
    """Three files crash or stall every decoder: rows of their own, and no other row is hurt."""
    status, seconds = field.screen(name)
    return status, seconds, len(deadly.SIZES)


def start_driver(field: Field, name: str) -> subprocess.Popen[bytes]:
    """A screen in a process of its own, with a Ray of its own."""
    command = [sys.executable, str(REPOSITORY / "jobs" / "screen.py"), *field.options(name)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def driver(field: Field, name: str) -> subprocess.Popen[bytes]:
    """Such a screen, two chunks into its work."""
    process = start_driver(field, name)
    field.wait_for(name, 2)
    assert process.poll() is None, "the screen ended before its fault"
    return process


def kill(field: Field, name: str) -> Ended:
    """The driver is killed."""
    began = time.monotonic()
    process = driver(field, name)
    process.kill()
    return process.wait(), time.monotonic() - began, 1


def zombie(field: Field, name: str) -> Ended:
    """The driver is stopped, its output removed and screened with another model; then it goes on to its end."""
    began = time.monotonic()
    process = driver(field, name)
    process.send_signal(signal.SIGSTOP)
    shutil.rmtree(f"{field.place}/results_{name}")
    field.screen(name, field.other)
    process.send_signal(signal.SIGCONT)
    return process.wait(LIMIT_S), time.monotonic() - began, 1


LEASE_S = 8.0
"""After which a driver without a sign of life counts as dead, in these runs."""


def stopped(field: Field, name: str) -> Ended:
    """The driver is stopped, a second one takes its place and comes to its end, and the first one wakes up."""
    began = time.monotonic()
    process = driver(field, name)
    process.send_signal(signal.SIGSTOP)
    field.screen(name)
    process.send_signal(signal.SIGCONT)
    return process.wait(LIMIT_S), time.monotonic() - began, 1


def two(field: Field, name: str) -> Ended:
    """Two drivers begin at the same moment; the statuses are added: one comes to its end, the other is refused."""
    began = time.monotonic()
    both = [start_driver(field, name) for _ in range(2)]
    return sum(process.wait(LIMIT_S) for process in both), time.monotonic() - began, 1


def figures(fault: str, field: Field, run: Callable[[Field, str], Ended]) -> dict[str, Any]:
    """Of a screen with the fault, and of a rerun without it."""
    sound, checkpoint = (field.other_sound, field.other) if fault == "zombie" else (field.sound, field.checkpoint)
    status, seconds, done = run(field, fault)
    before, _ = field.rows(fault)
    hurt = differing(before, sound)
    again, more_seconds = field.screen(fault, checkpoint)
    after, doubled = field.rows(fault)
    wrong = differing(after, sound)
    for image in sorted(wrong)[:5]:
        print(
            f"{fault}: {image} was {before.get(image)}, is {after.get(image)}, expected {sound[image]}", file=sys.stderr
        )
    named = sorted(f"{row[1]}" for image, row in after.items() if "deadly" in image and row[0] != "ok")
    return {
        "fault": fault,
        "images": len(sound),
        "faults_done": done,
        "status": status,
        "seconds": round(seconds, 1),
        "hurt": len(hurt),
        "scored_wrongly": sum(1 for image in hurt if before.get(image, (None,))[0] == "ok"),
        "rerun_status": again,
        "rerun_seconds": round(more_seconds, 1),
        "healed": len(hurt - wrong),
        "lost": len(set(sound) - set(after)),
        "doubled": doubled,
        "wrong": len(wrong),
    } | ({"deadly_files": named} if named else {})


def start_ray() -> Callable[[], None]:
    """A Ray of two cores, and how to end it. It gives itself 30 s, which a busy machine may not: five tries."""
    import ray

    for left in range(4, -1, -1):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            break
        except Exception as error:  # a bare one; only that of a slow start is tried again
            ray.shutdown()
            if not left or "timed out during startup" not in str(error):
                raise
    return ray.shutdown


def main() -> None:
    """Run the faults that are asked for."""
    faults = Faults(seed=0)
    by_store: dict[str, Callable[[Field, str], Ended]] = {
        "not_found": by_proxy(faults, not_found=SHARE),
        "cut": by_proxy(faults, cut=SHARE),
        "flip_get": by_proxy(faults, flip_get=SHARE),
        "flip_put": by_proxy(faults, flip_put=SHARE),
        "refused_put": by_proxy(faults, refuse_put=SHARE),
        "stopped_s3": stopped,
        "two_s3": two,
    }
    of_disk: dict[str, Callable[[Field, str], Ended]] = {
        "away": away,
        "deadly": files_that_kill,
        "kill": kill,
        "zombie": zombie,
        "stopped": stopped,
        "two": two,
    }
    every = {**by_store, **of_disk}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="+", choices=sorted(every))
    parser.add_argument("--images", type=int, default=96)
    asked = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"more than {LIMIT_S:g} s for one fault"))
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as held:
        root = Path(directory)
        (root / "site").mkdir()
        deadly.customise(root / "site")
        os.environ |= {"PYTHONPATH": f"{root / 'site'}:{REPOSITORY}", SECONDS: str(LEASE_S)}
        if set(asked.faults) & set(by_store):
            server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
            server.start()
            held.callback(server.stop)
            url = held.enter_context(proxy("http://{}:{}".format(*server.get_host_and_port()), faults))
            os.environ |= {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
            os.environ |= {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
            s3.forget()
            boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="faults")
        held.callback(start_ray())
        for bucket, some in (("s3://faults", by_store), (None, of_disk)):
            if not set(asked.faults) & set(some):
                continue
            with contextlib.redirect_stdout(io.StringIO()):
                place = root / ("store" if bucket else "disk")
                field = Field(place, asked.images, "deadly" in asked.faults, "zombie" in asked.faults, bucket)
            for fault in [fault for fault in asked.faults if fault in some]:
                signal.alarm(int(LIMIT_S))
                print(json.dumps(figures(fault, field, every[fault])), flush=True)
                signal.alarm(0)


if __name__ == "__main__":
    main()
