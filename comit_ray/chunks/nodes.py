"""Checks that every node of a cluster sees the paths that a job reads and writes.

A task that writes to a path that only its own node has would be lost work that looks like success, and an image that
one node does not see a failed row. So each node is asked whether it sees the inputs, the directories of the images,
some of the images, and a file that the driver has just put beside the output. S3 needs no asking.
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

WAIT_S, SAY_S = 900, 10
"""For a node's answer, which may have to install the job's environment first; and until a person is told of it."""
PARTS, DIRECTORIES, FILES = 16, 64, 64
"""Parts of a manifest that are looked at; directories of its images, and images, that are asked for, spread over all.
"""
IMAGES = "manifest, where its images lie"


def check(inputs: Mapping[str, str], outputs: Mapping[str, str], images: Plan | pa.Table | None = None) -> None:
    """Refuse local paths that some node of the cluster does not see; nothing to do on one node, or on S3.

    Nodes that an autoscaler starts later are not asked.

    Args:
        inputs: option -> URI that tasks read.
        outputs: option -> URI of a directory that tasks write to.
        images: whose directories tasks read, a plan's or those of manifest rows; of those that the driver sees itself.

    Raises:
        ConfigError: naming the option and a node, or a node that gave no answer.
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
    """The same for a job that works in its driver, if it was submitted to a cluster: its driver is on any node.

    Args:
        inputs: option -> URI that other jobs will read, as an archive's; None: it was not given.
        outputs: option -> URI of what it writes.

    Raises:
        ConfigError: as `check`.
        StorageError: as `check`.
    """
    given = {name: uri for name, uri in inputs.items() if uri}
    if not submitted() or not (_local(given) or _local(outputs)):
        return
    ray_start.start(ray.LoggingConfig(log_level="ERROR"))
    check(given, outputs)


def refuse(paths: Mapping[str, str], seen: Mapping[str, Sequence[bool]]) -> None:
    """Raise for the first path that a node does not see.

    Args:
        paths: option -> path.
        seen: node's address -> whether it sees each of them, in their order.
    """
    for node, found in seen.items():
        for (name, path), is_there in zip(paths.items(), found, strict=True):
            if not is_there:
                place = Path(path).parent if Path(path).name.startswith(".seen-") else path
                raise ConfigError(
                    f"--{name.partition(' (')[0]}: {place} is a path of this machine, and node {node} of the cluster "
                    "does not see it: give an s3:// URI, or a path on storage that all nodes share"
                )


def refuse_differing(files: Sequence[str], seen: Mapping[str, Sequence[bool]]) -> None:
    """Raise for the first image that some nodes see, this one among them, and others do not.

    A mount point is on every node, also where nothing is mounted. An image that no node sees is missing: its row says
    so.

    Args:
        files: paths of images.
        seen: node's address -> whether it sees each of them, in their order.

    Raises:
        ConfigError: nodes differ.
    """
    for index, path in enumerate(files):
        answers = {"of the driver": os.path.exists(path)} | {node: found[index] for node, found in seen.items()}
        if any(answers.values()) and not all(answers.values()):
            blind = next(node for node, sees in answers.items() if not sees)
            raise ConfigError(
                f"--{IMAGES}: other nodes see the image {path}, and node {blind} does not: is its storage mounted "
                "there? Mount it on every node, or give s3:// URIs"
            )


def _local(uris: Mapping[str, str]) -> dict[str, str]:
    paths = {name: storage.normalise(uri) for name, uri in uris.items()}
    return {name: path for name, path in paths.items() if not storage.is_remote(path)}


def _refuse_unpacked(roots: Mapping[str, str]) -> None:
    """What a submitted job writes below its working directory is deleted with it, also on a cluster of one node."""
    unpacked = Path.cwd()
    if not submitted() or "working_dir_files" not in unpacked.parts:
        return
    for name, root in roots.items():
        if Path(root).is_relative_to(unpacked):
            raise ConfigError(
                f"--{name}: {root} lies in the directory that Ray unpacked for this job, and is deleted with it: give "
                "an s3:// URI, or a whole path on storage that all nodes share"
            )


def _places(images: Plan | pa.Table) -> tuple[list[str], list[str]]:
    """Directories of this machine in which images lie, as far as the driver sees them, and a sample of the images."""
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
    """Node id -> address of the nodes that are alive, but for the driver's own."""
    mine = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["NodeManagerAddress"] for node in nodes if node["Alive"] and node["NodeID"] != mine}


def _ask(paths: Sequence[str], nodes: Mapping[str, str]) -> dict[str, list[bool]]:
    """Node's address -> whether it sees each path. A node that is lost meanwhile reads and writes nothing."""
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
            print(f"{len(waiting)} nodes have not said yet whether they see {', '.join(paths)}: waiting", flush=True)
    if waiting:
        silent = ", ".join(nodes[asked[answer]] for answer in waiting)
        raise ConfigError(
            f"whether all nodes see {', '.join(paths)} is not known, for {silent} gave no answer in {WAIT_S} s: give "
            "s3:// URIs, or look what the node is doing (it may be installing the job's environment)"
        )
    return found


@ray.remote(num_cpus=0, max_retries=0)
def _sees(paths: Sequence[str]) -> list[bool]:
    return [os.path.exists(path) for path in paths]
