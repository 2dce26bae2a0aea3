"""A path of this machine on a cluster of several: does every node see what is read, and what is written?

A task that writes to a path that only its own node has would be lost work that looks like success. So each node is
asked whether it sees the inputs, and a file that the driver has just put beside the output. S3 needs no asking.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from comit_ray import storage
from comit_ray.errors import ConfigError

WAIT_S = 60
"""For a node's answer; one that gives none in time is not asked again."""


def check(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Refuse local paths that some node of the cluster does not see; nothing to do on one node, or on S3.

    Nodes that an autoscaler starts later are not asked.

    Args:
        inputs: option -> URI that tasks read.
        outputs: option -> URI of a directory that tasks write to.

    Raises:
        ConfigError: naming the option and a node.
        StorageError: an output cannot be written.
    """
    others = _other_nodes()
    paths = {name: storage.normalise(uri) for name, uri in inputs.items()}
    paths = {name: path for name, path in paths.items() if not storage.is_s3(path)}
    if not others:
        return
    marks = []
    try:
        for name, uri in outputs.items():
            root = storage.normalise(uri)
            if not storage.is_s3(root):
                paths[name] = storage.join(root, f".seen-{uuid.uuid4().hex}")
                storage.write_bytes(paths[name], b"")
                marks.append(paths[name])
        if paths:
            refuse(paths, _ask(list(paths.values()), others))
    finally:
        for mark in marks:
            storage.delete(mark)


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
                    f"--{name} {place} is a path of this machine, and node {node} of the cluster does not see it: give "
                    "an s3:// URI, or a path on storage that all nodes share"
                )


def _other_nodes() -> dict[str, str]:
    """Node id -> address of the nodes that are alive, but for the driver's own."""
    mine = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["NodeManagerAddress"] for node in nodes if node["Alive"] and node["NodeID"] != mine}


def _ask(paths: Sequence[str], nodes: Mapping[str, str]) -> dict[str, list[bool]]:
    asked = {
        _sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(paths): address
        for node_id, address in nodes.items()
    }
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=WAIT_S)
    return {asked[answer]: ray.get(answer) for answer in ready}


@ray.remote(num_cpus=0, max_retries=0)
def _sees(paths: Sequence[str]) -> list[bool]:
    return [os.path.exists(path) for path in paths]
