"""Checks that every node of a cluster sees the paths that a job reads and writes.

A task that writes to a path of its own node alone would lose its work and report success. An image that one node does
not see becomes a failed row. So each node is asked whether it sees the inputs, the directories of the images, some of
the images, and a file that the driver has just written to the output. S3 paths need no check.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from comit_ray.chunks import ray_start
from comit_ray.chunks.plan import Plan
from comit_ray.chunks.run_record import submitted
from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import counted

WAIT_S, SAY_S = 900, 10
"""Seconds to wait for a node's answer (it may install the job's environment first), and until the wait is printed."""
PARTS, DIRECTORIES, FILES = 16, 64, 64
"""How many manifest parts, image directories and images are checked, each spread over the whole manifest."""
IMAGES = "manifest, where its images lie"


def check(inputs: Mapping[str, str], outputs: Mapping[str, str], images: Plan | pa.Table | None = None) -> None:
    """Refuses local paths that some node of the cluster does not see; does nothing on a single node or for S3.

    Nodes that an autoscaler starts later are not checked.

    Args:
        inputs: option name -> URI that tasks read.
        outputs: option name -> URI of a directory that tasks write to.
        images: plan or manifest rows whose images tasks read; only directories that the driver itself sees are checked.

    Raises:
        ConfigError: a node does not see a path, or gives no answer; the error names the option and the node.
        StorageError: an output cannot be written.
    """
    paths = _local(inputs)
    roots = _local(outputs)
    _refuse_unpacked(roots)
    others = _other_nodes()
    if not others:
        return
    directories, files = ([], []) if images is None else _places(images)
    paths |= {f"{IMAGES} ({number})": path for number, path in enumerate(directories)}
    marks = []
    try:
        for name, root in roots.items():
            paths[name] = storage.join(root, f".seen-{uuid.uuid4().hex}")
            storage.write_bytes(paths[name], b"")
            marks.append(paths[name])
        if paths or files:
            seen = _ask([*paths.values(), *files], others)
            refuse(paths, {node: found[: len(paths)] for node, found in seen.items()})
            refuse_differing(files, {node: found[len(paths) :] for node, found in seen.items()})
    finally:
        for mark in marks:
            storage.delete(mark)


def check_submitted(inputs: Mapping[str, str | None], outputs: Mapping[str, str]) -> None:
    """Checks the paths of a job that works in its driver, if it was submitted: the driver may run on any node.

    Args:
        inputs: option name -> URI that other jobs will read, such as an archive; None: the option was not given.
        outputs: option name -> URI of what the job writes.

    Raises:
        ConfigError: as for `check`.
        StorageError: as for `check`.
    """
    given = {name: uri for name, uri in inputs.items() if uri}
    if not submitted() or not (_local(given) or _local(outputs)):
        return
    ray_start.start(ray.LoggingConfig(log_level="ERROR"))
    check(given, outputs)


def refuse(paths: Mapping[str, str], seen: Mapping[str, Sequence[bool]]) -> None:
    """Raises an error for the first path that a node does not see.

    Args:
        paths: option name -> path.
        seen: address of a node -> whether it sees each path, in their order.

    Raises:
        ConfigError: a node does not see a path.
    """
    for node, found in seen.items():
        for (name, path), is_there in zip(paths.items(), found, strict=True):
            if not is_there:
                place = Path(path).parent if Path(path).name.startswith(".seen-") else path
                raise ConfigError(
                    f"--{name.partition(' (')[0]}: {place} is a path of this machine, but node {node} of the cluster "
                    "does not see it: give an s3:// URI, or a path on storage that all nodes share"
                )


def refuse_differing(files: Sequence[str], seen: Mapping[str, Sequence[bool]]) -> None:
    """Raises an error for the first image that some nodes see and others do not; the driver's node counts too.

    A mount point exists on every node, also where nothing is mounted. An image that no node sees is simply missing, and
    its row says so.

    Args:
        files: paths of images.
        seen: address of a node -> whether it sees each path, in their order.

    Raises:
        ConfigError: nodes differ.
    """
    for index, path in enumerate(files):
        answers = {"of the driver": os.path.exists(path)} | {node: found[index] for node, found in seen.items()}
        if any(answers.values()) and not all(answers.values()):
            blind = next(node for node, sees in answers.items() if not sees)
            raise ConfigError(
                f"--{IMAGES}: other nodes see the image {path}, but node {blind} does not. Mount its storage on every "
                "node, or give s3:// URIs"
            )


def _local(uris: Mapping[str, str]) -> dict[str, str]:
    paths = {name: storage.normalise(uri) for name, uri in uris.items()}
    return {name: path for name, path in paths.items() if not storage.is_remote(path)}


def _refuse_unpacked(roots: Mapping[str, str]) -> None:
    """Refuses outputs in a submitted job's working directory: Ray deletes it with the job, also on a single node."""
    unpacked = Path.cwd()
    if not submitted() or "working_dir_files" not in unpacked.parts:
        return
    for name, root in roots.items():
        if Path(root).is_relative_to(unpacked):
            raise ConfigError(
                f"--{name}: {root} lies in the working directory that Ray deletes at the end of this job: give an "
                "s3:// URI, or an absolute path on storage that all nodes share"
            )


def _places(images: Plan | pa.Table) -> tuple[list[str], list[str]]:
    """Returns local directories that hold images and that the driver sees, and a sample of the images."""
    found: set[str] = set()
    files: list[str] = []
    for uris in _uris(images):
        local = pc.unique(pc.filter(uris, pc.invert(pc.match_substring_regex(uris, "^(s3|https?)://"))))
        found.update(pc.unique(pc.replace_substring_regex(local, "/[^/]*$", "")).to_pylist())
        files += local[:: max(1, len(local) // FILES)].to_pylist()[:FILES]
    seen = sorted(path for path in found if path and os.path.exists(path))
    return seen[:: max(1, len(seen) // DIRECTORIES)], files[:: max(1, len(files) // FILES)]


def _uris(images: Plan | pa.Table) -> Iterator[pa.ChunkedArray]:
    if isinstance(images, pa.Table):
        yield images["uri"]
        return
    for part in images.parts[:: max(1, len(images.parts) // PARTS)]:
        yield parquet.read_part(part.uri, ["uri"])["uri"]


def _other_nodes() -> dict[str, str]:
    """Returns node id -> address of all live nodes except the driver's own."""
    mine = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["NodeManagerAddress"] for node in nodes if node["Alive"] and node["NodeID"] != mine}


def _ask(paths: Sequence[str], nodes: Mapping[str, str]) -> dict[str, list[bool]]:
    """Returns a node's address -> whether it sees each path; nodes that are lost meanwhile are left out."""
    asked = {
        _sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(paths): node_id
        for node_id in nodes
    }
    found: dict[str, list[bool]] = {}
    began, waiting, told = time.monotonic(), list(asked), False
    while waiting and time.monotonic() - began < WAIT_S:
        ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=SAY_S)
        for answer in ready:
            try:
                found[nodes[asked[answer]]] = ray.get(answer)
            except RayError:
                if asked[answer] in _other_nodes():
                    raise
        alive = _other_nodes()
        waiting = [answer for answer in waiting if asked[answer] in alive]
        if waiting and not told:
            told = True
            print(f"waiting for {counted(len(waiting), 'node')} to check the paths {', '.join(paths)}", flush=True)
    if waiting:
        silent = ", ".join(nodes[asked[answer]] for answer in waiting)
        raise ConfigError(
            f"expected an answer from all nodes whether they see {', '.join(paths)}, but {silent} gave none in "
            f"{WAIT_S} s: give s3:// URIs, or check that node (it may be installing the job's environment)"
        )
    return found


@ray.remote(num_cpus=0, max_retries=0)
def _sees(paths: Sequence[str]) -> list[bool]:
    return [os.path.exists(path) for path in paths]
