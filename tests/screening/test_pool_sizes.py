"""Processes of a screen by cores, GPUs and memory: what is chosen, and that no choice can wait for ever."""

from itertools import product

import pytest

from comit_ray.chunks.graph import READ_CPUS, READ_MEMORY, WRITE_CPUS, WRITE_MEMORY, Node
from comit_ray.screening.pool_sizes import (
    LEAST_S,
    PREDICT_MEMORY,
    Pool,
    choose,
    image_seconds,
    room_for_readers,
)

GIB = 2**30
MANY = (1_000_000, 2_000)
"""Images and chunks of a large archive."""


def node(cpus: float, gpus: float = 0, gib: float | None = None) -> Node:
    """A machine with memory enough for every core, unless it is told."""
    return Node(cpus, gpus, (8 * cpus + 8 if gib is None else gib) * GIB)


HEAD = node(0, 0, 4)


@pytest.mark.parametrize(
    ("cpus", "predictors", "readers", "writers"),
    [(1, 1, 1, 1), (2, 2, 1, 1), (4, 4, 2, 1), (16, 16, 8, 4), (64, 64, 32, 16)],
)
def test_a_core_a_predictor(cpus: int, predictors: int, readers: int, writers: int) -> None:
    pool = choose([node(cpus)], False, *MANY)
    assert (pool.predictors, pool.at_most, pool.at_least, pool.threads) == (predictors, predictors, predictors, 1)
    assert (pool.readers, pool.writers) == (readers, writers)
    assert pool.memory_share == 1


@pytest.mark.parametrize(
    ("cpus", "gib", "predictors", "threads"),
    [(2, 5, 1, 2), (4, 8, 1, 4), (16, 16, 3, 5), (64, 180, 32, 2), (64, 2, 1, 64)],
)
def test_little_memory_makes_fewer_predictors_of_more_threads(
    cpus: int, gib: float, predictors: int, threads: int
) -> None:
    pool = choose([node(cpus, 0, gib)], False, *MANY)
    assert (pool.predictors, pool.threads) == (predictors, threads)


def test_memory_that_ray_does_not_tell_is_no_bound() -> None:
    pool = choose([Node(4, 0, 0)], False, *MANY)
    assert (pool.predictors, pool.memory_share) == (4, 1)


@pytest.mark.parametrize(("cpus", "gpus"), [*product([1, 2, 4, 16, 64], [1, 8])])
def test_a_gpu_a_predictor_and_the_cpus_to_the_others(cpus: int, gpus: int) -> None:
    pool = choose([node(cpus, gpus)], True, *MANY)
    assert (pool.predictors, pool.at_most, pool.threads, pool.predict_cpus) == (gpus, gpus, None, 0)
    assert pool.cpu_share * (READ_CPUS + WRITE_CPUS) <= cpus


def test_gpus_are_named_and_left_alone_without_the_option() -> None:
    """Their convolutions round otherwise: what computes is the user's to say."""
    pool = choose([node(4, 8)], False, *MANY)
    assert pool.predictors == 4
    assert pool.predict_cpus > 0
    assert "--gpu true would use the 8 GPUs" in pool.reason


@pytest.mark.parametrize(
    ("images", "chunks", "seconds", "predictors"),
    [
        (7, 5, 1.0, 1),
        (15, 5, 1.0, 1),
        (16, 5, 1.0, 2),
        (300, 3, image_seconds("comit_net", 0.125, 96), 1),
        (300, 3, image_seconds("comit_net", 1.0, 224), 3),
        (6_025, 12, image_seconds("comit_net", 0.25, 128), 12),
        (10_000, 3, 1.0, 3),
        (10_000, 40, 1.0, 16),
    ],
)
def test_no_more_predictors_than_there_is_work_for(images: int, chunks: int, seconds: float, predictors: int) -> None:
    """Each must have twice as much work as its start costs: 300 phantoms were slower with two than with one."""
    assert choose([node(16)], False, images, chunks, seconds).predictors == predictors


def test_the_reason_says_why_there_are_few() -> None:
    few = choose([node(2)], False, 300, 3, image_seconds("comit_net", 0.125, 96))
    assert "another needs 4 s to start, and all the work is 1 s" in few.reason
    assert "another needs" not in choose([node(2)], False, *MANY).reason


def test_the_cost_of_an_image_grows_with_width_and_side_squared() -> None:
    assert image_seconds("comit_net", 1.0, 224) == 1.0
    assert image_seconds("comit_net", 0.5, 224) == 0.25
    assert image_seconds("comit_net", 1.0, 112) == 0.25
    assert image_seconds("resnet18", 1.0, 224) < image_seconds("unet", 1.0, 224)
    assert image_seconds("comit_net", 0.01, 32) == LEAST_S


CLUSTERS = {
    "one core": [node(1)],
    "two cores": [node(2)],
    "two cores, 2 GiB": [node(2, 0, 2)],
    "64 cores": [node(64)],
    "one core behind a head": [HEAD, node(1)],
    "one core and 3 GiB behind a head": [HEAD, node(1, 0, 3)],
    "four single cores": [HEAD, *[node(1)] * 4],
    "two of two": [HEAD, *[node(2)] * 2],
    "mixed": [node(2), node(16), node(4, 0, 6)],
    "ten of 64": [HEAD, *[node(64, 0, 180)] * 10],
}


@pytest.mark.parametrize("nodes", CLUSTERS.values(), ids=CLUSTERS)
def test_one_of_each_finds_room_on_a_node_however_predictors_lie(nodes: list[Node]) -> None:
    """Of the nodes some one has no more predictors than its part: there a reader and a writer must fit beside them."""
    pool = choose(nodes, False, *MANY)
    working = [node for node in nodes if node.cpus]
    for filled in _placements(pool, working):
        assert any(_room(pool, node, predictors) for node, predictors in zip(working, filled, strict=True))


def _placements(pool: Pool, nodes: list[Node]) -> list[list[int]]:
    """Predictors packed onto the nodes from the first and from the last, as many as CPUs and memory take."""
    found = []
    for order in (range(len(nodes)), reversed(range(len(nodes)))):
        left, filled = pool.predictors, [0] * len(nodes)
        for i in order:
            fit = nodes[i].cpus / pool.predict_cpus + 1e-9
            if pool.memory_share:
                fit = min(fit, nodes[i].memory / (PREDICT_MEMORY * pool.memory_share) + 1e-9)
            filled[i] = min(left, int(fit))
            left -= filled[i]
        assert sum(filled) >= 1, "no predictor finds room"
        found.append(filled)
    return found


def _room(pool: Pool, node: Node, predictors: int) -> bool:
    cpus = predictors * pool.predict_cpus + (READ_CPUS + WRITE_CPUS) * pool.cpu_share
    memory = (predictors * PREDICT_MEMORY + READ_MEMORY + WRITE_MEMORY) * pool.memory_share
    return cpus <= node.cpus + 1e-9 and memory <= node.memory + 1


@pytest.mark.parametrize("gpu", [False, True])
def test_a_cluster_that_may_grow_lets_the_pool_grow(gpu: bool) -> None:
    assert choose([HEAD], gpu, *MANY).at_most == 16
    assert choose([HEAD], gpu, *MANY).at_least == 1, "a lost node's predictors must not take the CPUs of the readers"
    assert choose([HEAD, *[node(16, 8)] * 2], gpu, *MANY).at_most == 64 * (1 if gpu else 2)
    assert choose([HEAD, node(2, 1)], gpu, 640, 5).at_most == 5, "there is no work for more"


def test_a_cluster_without_workers_yet_is_taken_for_one_of_two_cores() -> None:
    pool = choose([HEAD], False, *MANY)
    assert pool.predict_cpus + (READ_CPUS + WRITE_CPUS) * pool.cpu_share <= 2
    assert pool.memory_share == 1


def test_the_reason_is_one_line() -> None:
    pool = choose([node(2, 0, 16)], False, 6_025, 12)
    assert pool.reason == (
        "2 predictors of 1 thread, at most 1 reader and 1 writer: chosen for 6,025 images on 1 node (2 cores, 0 GPUs, "
        "16 GiB for tasks); --predictors N sets another number"
    )


def test_room_for_readers() -> None:
    assert room_for_readers(2, 1, gpu=False) == pytest.approx(1)
    assert room_for_readers(16, 1, gpu=True) == pytest.approx(31)
