"""A driver that does the chunks of an output one by one, each when it is told to.

In a module of its own, which a process imports before it is told of any driver: a driver is then a fork of it, and does
not import for two seconds.
"""

import os
import sys
from dataclasses import replace
from multiprocessing.connection import Connection

import pyarrow.parquet as pq

from comit_ray.chunks import accounts
from comit_ray.chunks import plan as planning
from comit_ray.chunks.one_driver import hold
from comit_ray.chunks.ownership import Owner
from comit_ray.errors import HeldError, OvertakenError
from comit_ray.screening.screen_tables import layout


def drive(ends: tuple[Connection, Connection], environment: dict[str, str], *places: str) -> None:
    """Does the chunks that are not there yet. It sends `next` before each and waits for an answer.

    That another driver has the output is the last that it sends, and its exit status is 1.

    Args:
        ends: the driver's end of the pipe, and the other one, which it closes.
        environment: variables of the process, of its storage above all.
        places: URI of the manifest, directory of the tables of each chunk, and URI of the output.
    """
    os.environ.clear()
    os.environ.update(environment)
    told, others = ends
    others.close()
    try:
        _drive(told, *places)
    except (HeldError, OvertakenError) as error:
        told.send(repr(error))
        sys.exit(1)


def _drive(told: Connection, manifest: str, made: str, output: str) -> None:
    owner, of = Owner("r", "m", "s"), layout(embeddings=False)
    plan = planning.make_plan(manifest, "all")
    with hold(output) as lease:
        owner = replace(owner, lease=lease)
        done = accounts.committed(plan, output, of, owner)
        for chunk in plan.chunks:
            if chunk.file in done:
                continue
            told.send("next")
            told.recv()
            tables = {name: pq.read_table(f"{made}/{chunk.chunk}/{name}.parquet") for name in ("predictions", "masks")}
            planning.commit(output, chunk.file, tables, of, owner)
        assert accounts.take(plan, output, of, owner).balanced
