"""A whole screen against its bare network.

`python -m tests.benchmarks.screen_over_network MANIFEST CHECKPOINT OUTPUT`

The bare network predicts frames that lie in memory, in one process a core with one thread each, before and after every
screen. The screen runs as its own command: start, reading, decoding, masks, tables and queue are in its time. Prints
images a second of both, and the median and the spread of their ratio over the runs. Run it on a machine that does
nothing else. Options:

    --backend B      of both (torch-fused)
    --precision P    of both (float32)
    --runs N         screens (5)
    --images N       of the manifest's PNG and JPEG files, repeated where there are fewer (6,000)
    --seconds S      of every measurement of the bare network (60)
    --screen ...     options of the screen, the last on the line (`--screen --masks none`)
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comit_ray.inference.model import load_model
from tests.benchmarks.plain_script import Radiographs
from tests.benchmarks.screen_against_script import prepare, screened, spread

BATCHES = 4
"""Batches of different frames that a process of the bare network has in memory."""


def predict(uri: str, backend: str, precision: str, files: str, seconds: float) -> float:
    """Images a second of the bare network in this process, with one thread."""
    with load_model(uri, backend, threads=1, precision=precision) as model:
        radiographs = Radiographs(Path(files).read_text().splitlines(), model.frame.size)
        count = BATCHES * model.batch_size
        frames_BHW = np.stack([radiographs[index % len(radiographs)] for index in range(count)])
        batches = np.split(frames_BHW, BATCHES)
        model.predict(batches[0])  # the first pass is slower than all others
        print("ready", flush=True)
        sys.stdin.readline()
        done, began = 0, time.monotonic()
        while time.monotonic() - began < seconds:
            model.predict(batches[done // model.batch_size % BATCHES])
            done += model.batch_size
        return done / (time.monotonic() - began)


def side_by_side(arguments: Sequence[str]) -> float:
    """Images a second of the bare network in one process a core, which begin together."""
    command = [sys.executable, "-m", "tests.benchmarks.screen_over_network", "--alone", *arguments]
    several = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        for _ in range(os.cpu_count() or 1)
    ]
    for one in several:
        assert one.stdout is not None
        if one.stdout.readline() != "ready\n":
            raise SystemExit("the bare network did not start")
    for one in several:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    return sum(float(one.communicate()[0]) for one in several)


def main(asked: argparse.Namespace) -> None:
    """Compare and print."""
    files = prepare(asked.manifest, asked.output, asked.images)
    alone = [asked.checkpoint, asked.backend, asked.precision, str(files), str(asked.seconds)]
    options = ["--backend", asked.backend, "--precision", asked.precision, *asked.screen]
    bare = [side_by_side(alone)]
    rates, ratios = [], []
    for _ in range(asked.runs):
        took = screened(asked.output, asked.checkpoint, options)
        bare.append(side_by_side(alone))
        rates.append(asked.images / took.seconds)
        ratios.append(rates[-1] / np.mean(bare[-2:]))
        print(f"screen {rates[-1]:.2f}, network {bare[-2]:.2f} and {bare[-1]:.2f} images/s", flush=True)
    print(f"{asked.images:,} images, {asked.runs} runs, {asked.backend} {asked.precision}, start and end included")
    print(f"screen: {spread(rates)} images/s; bare network: {spread(bare)} images/s")
    print(f"screen over bare network: {spread(ratios)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        of, backend, precision, files, seconds = sys.argv[2:]
        print(predict(of, backend, precision, files, float(seconds)))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("checkpoint")
    parser.add_argument("output", type=Path)
    parser.add_argument("--backend", default="torch-fused")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--images", type=int, default=6_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--screen", nargs=argparse.REMAINDER, default=[])
    main(parser.parse_args())
