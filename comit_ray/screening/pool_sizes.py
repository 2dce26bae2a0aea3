"""Chooses how many processes a screen starts, and their size, from cores, GPUs and memory.

The choice is arithmetic on numbers (`choose`), without Ray, so that it can be tested for machines that nobody here has.
Reservations are shares: together the processes may reserve less than the cores they can use, for while predictors wait
for images others read, and the other way round. What fits the smallest node fits the cluster.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from comit_ray.chunks.graph import READ_CPUS, READ_MEMORY, WRITE_CPUS, WRITE_MEMORY, Node

PREDICT_CPUS = 1.0
PREDICT_MEMORY = 3 * 2**30  # COMiT-Net at full width, 224 px, 32 images a pass, on a CPU: 2.7 GiB
START_S = 4.0
"""CPU seconds that a predictor costs before its first image: a process, its imports, the checkpoint."""
WORTH_IT = 2
"""Starts whose time every predictor must have as work. With one more on a busy machine, work W is halved and a start S
is paid: below W = 2 S that is a loss. At 2 S of work for each of the two, W / 2 - S is a gain of S."""
FULL_SIZE_S = {"comit_net": 1.0, "segnet": 0.65, "unet": 0.75, "mask_rcnn": 1.3}
"""CPU seconds of an image on one core at width 1 and 224 px: COMiT-Net's as measured, others by their FLOP."""
CLASSIFIER_S = 0.2
"""The same of a network without masks, at most (VGG19)."""
LEAST_S = 0.002
"""Of any image: rows and tables alone take it."""
PARTS = 128
"""Shares are whole numbers of these parts, rounded down: what fits must fit in Ray's arithmetic too."""
GROWTH, LEAST_GROWN = 4, 16
"""Of several nodes, which may become more: predictors at most, as a multiple of the first ones, or this many."""
UNKNOWN = Node(2.0, 0.0, 0.0)
"""Taken for a cluster without a node for work yet: its autoscaler starts some when it is asked."""


@dataclass(frozen=True)
class Pool:
    """The processes of a screen.

    Attributes:
        predictors: actors that are started at the beginning.
        at_most: actors that there may be later.
        threads: of each predictor; None: as Ray and the backend choose.
        readers: reading tasks at most; None: as many as find room.
        writers: writing tasks at most; None: as many as find room.
        predict_cpus: CPUs that a predictor reserves.
        cpu_share: what `READ_CPUS` and `WRITE_CPUS` are multiplied by.
        memory_share: what the reserved memory is multiplied by.
        reason: one line for a person; empty: the user chose.
    """

    predictors: int
    at_most: int
    threads: int | None
    readers: int | None
    writers: int | None
    predict_cpus: float
    cpu_share: float
    memory_share: float
    reason: str = ""


def predict_cpus(gpu: bool) -> float:
    """CPUs that a predictor reserves: with a GPU none.

    Nodes with GPUs can then offer Ray no CPU (cluster/base/raycluster.yaml), so that no decoding, which wants some, is
    ever placed there.
    """
    return 0.0 if gpu else PREDICT_CPUS


def room_for_readers(cpus: float, predictors: int, gpu: bool) -> float:
    """Reading tasks, each a process, that find room beside the predictors and one writing task.

    Args:
        cpus: of the cluster.
        predictors: actors.
        gpu: whether each has a GPU.
    """
    held = predictors * predict_cpus(gpu) + WRITE_CPUS
    share = min(1.0, cpus / (held + READ_CPUS))  # as of a single machine; of several, one reader is the least too
    return (cpus - held * share) / (READ_CPUS * share)


def image_seconds(name: str, width: float, size: int) -> float:
    """About how many CPU seconds a network takes for an image: its cost grows with width and side squared.

    It decides when another predictor pays, and nothing else, so half or twice of it does no harm.

    Args:
        name: of the network (`comit_ray.models.registry`).
        width: multiplies its channels.
        size: of the frame, in pixels.
    """
    return max(LEAST_S, FULL_SIZE_S.get(name, CLASSIFIER_S) * width**2 * (size / 224) ** 2)


def choose(
    nodes: Sequence[Node], gpu: bool, images: int, chunks: int, image_s: float = FULL_SIZE_S["comit_net"]
) -> Pool:
    """The processes for a cluster of these nodes.

    On CPUs a predictor has one thread, and each core one, as far as the memory reaches; where it does not there are
    fewer predictors, with more threads. Beside them half as many processes read as there are cores, and a quarter
    write. With GPUs there is a predictor for each, and reading and writing take the CPUs.

    Args:
        nodes: of the cluster, at least one; 0 bytes of memory: unknown.
        gpu: whether predictors run on GPUs.
        images: that are to be screened.
        chunks: that they come in; a chunk is predicted by one process.
        image_s: CPU seconds of an image (`image_seconds`).
    """
    work = images * image_s / (WORTH_IT * START_S)
    useful = max(1, min(chunks, int(work)))
    working = [node for node in nodes if node.cpus > 0] or [UNKNOWN]
    several = len(nodes) > 1 or working[0] is UNKNOWN
    if gpu:
        there = sum(int(node.gpus) for node in nodes)
        predictors, threads, readers, writers = min(useful, max(1, there)), None, None, None
        held, share = 0.0, 1.0 if several else min(1.0, working[0].cpus / (READ_CPUS + WRITE_CPUS))
        least = READ_MEMORY + predictors * PREDICT_MEMORY + WRITE_MEMORY
        memory = 1.0 if several else _part(working[0].memory, least)
    else:
        threads = min(_threads(node) for node in working)
        each = [min(int(node.cpus) // threads, _fitting(node)) for node in working]
        readers, writers = sum(map(_readers, working)), sum(map(_writers, working))
        predictors = min(useful, max(1, sum(each)))
        # Of several nodes the tightest decides: a reading and a writing task must find room beside its predictors.
        wanted = [max(1, n) * threads * PREDICT_CPUS + _beside(node) for n, node in zip(each, working, strict=True)]
        if not several:
            wanted = [predictors * threads * PREDICT_CPUS + _beside(working[0])]
        share = min(1.0, *(node.cpus / cpus for node, cpus in zip(working, wanted, strict=True)))
        share = math.floor(share * PARTS) / PARTS
        held = threads * PREDICT_CPUS * share
        if several:
            memory = max(_part(node.memory, READ_MEMORY + PREDICT_MEMORY + WRITE_MEMORY) for node in working)
        else:
            memory = _part(working[0].memory, _memory_beside(working[0]) + predictors * PREDICT_MEMORY)
    at_most = min(useful, max(GROWTH * predictors, LEAST_GROWN)) if several else predictors
    pool = Pool(predictors, at_most, threads, readers, writers, held, share, memory)
    small = useful < chunks and predictors == useful and not gpu and sum(node.cpus for node in working) > predictors
    why = f"; another would take {START_S:.0f} s to start, for {images * image_s:.0f} s of work in all" if small else ""
    return Pool(**{**vars(pool), "reason": _reason(pool, nodes, gpu, images, why)})


def _readers(node: Node) -> int:
    return max(1, int(min(node.cpus / 2, _memory(node) / 4 / READ_MEMORY)))


def _writers(node: Node) -> int:
    return max(1, int(min(node.cpus / 4, _memory(node) / 8 / WRITE_MEMORY)))


def _memory(node: Node) -> float:
    return node.memory or math.inf


def _beside(node: Node) -> float:
    """CPUs of the readers and writers of a node, before they are divided."""
    return _readers(node) * READ_CPUS + _writers(node) * WRITE_CPUS


def _memory_beside(node: Node) -> float:
    return _readers(node) * READ_MEMORY + _writers(node) * WRITE_MEMORY


def _fitting(node: Node) -> int:
    """Predictors that the node's memory holds, beside its readers and writers; at most one a core."""
    fitting = (_memory(node) - _memory_beside(node)) / PREDICT_MEMORY
    return int(min(max(0.0, fitting), node.cpus))


def _threads(node: Node) -> int:
    """The fewest threads with which predictors that fit the memory use every core."""
    cores = max(1, int(node.cpus))
    fitting = max(1, _fitting(node))
    return cores // next(n for n in (cores // threads for threads in range(1, cores + 1)) if n <= fitting)


def _part(there: float, wanted: float) -> float:
    return min(1.0, there / wanted) if there else 1.0


def _reason(pool: Pool, nodes: Sequence[Node], gpu: bool, images: int, why: str) -> str:
    cores, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    memory = sum(node.memory for node in nodes) / 2**30
    threads = f" of {_counted(pool.threads, 'thread')}" if pool.threads else " on a GPU each"
    grown = f" (up to {pool.at_most} if the cluster grows)" if pool.at_most > pool.predictors else ""
    beside = ""
    if pool.readers and pool.writers:
        beside = f", at most {_counted(pool.readers, 'reader')} and {_counted(pool.writers, 'writer')}"
    where = f"{_counted(round(cores), 'core')}, {_counted(round(gpus), 'GPU')}, {memory:.0f} GiB for tasks"
    unused = f"; --gpu true would use the {_counted(round(gpus), 'GPU')}" if gpus and not gpu else ""
    return (
        f"{_counted(pool.predictors, 'predictor')}{threads}{grown}{beside}: chosen for {images:,} images on "
        f"{_counted(len(nodes), 'node')} ({where}){why}{unused}; --predictors N sets another number"
    )


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
