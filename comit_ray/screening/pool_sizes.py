"""Chooses how many processes a screen starts, and their size, from cores, GPUs and memory.

`choose` is arithmetic on numbers without Ray, so that it can be tested for machines that are not at hand. Reservations
are shares of a core. Together, the processes may reserve less than the cores that they can use, because predictors wait
for images while others read, and the other way round. The smallest node decides: what fits it fits the cluster.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from comit_ray.chunks.graph import READ_CPUS, READ_MEMORY, WRITE_CPUS, WRITE_MEMORY, Node
from comit_ray.tables.vocabulary import counted

PREDICT_CPUS = 1.0
PREDICT_MEMORY = 3 * 2**30  # COMiT-Net at full width, 224 px, 32 images per pass, on a CPU: 2.7 GiB
START_S = 4.0
"""CPU seconds that a predictor needs before its first image: a process, its imports, and the checkpoint."""
WORTH_IT = 2
"""Work that each predictor must have, in multiples of its start-up time. One more predictor on a busy machine halves
the work W and costs one start-up S: below W = 2 S this is a loss. With 2 S of work for each of the two, W / 2 - S is
a gain of S."""
FULL_SIZE_S = {"comit_net": 1.0, "segnet": 0.65, "unet": 0.75, "mask_rcnn": 1.3}
"""CPU seconds per image on one core at width 1 and 224 px: COMiT-Net's as measured, others from their FLOP."""
CLASSIFIER_S = 0.2
"""The same for the largest network without masks (VGG19)."""
LEAST_S = 0.002
"""The least CPU seconds per image, which rows and tables alone take."""
PARTS = 128
"""Shares are rounded down to whole numbers of these parts, so that they also fit in Ray's arithmetic."""
GROWTH, LEAST_GROWN = 4, 16
"""Largest number of predictors on a cluster that may grow: `GROWTH` times the first ones, at least `LEAST_GROWN`."""
UNKNOWN = Node(2.0, 0.0, 0.0)
"""Assumed for a cluster that has no node for work yet; its autoscaler starts some on demand."""


@dataclass(frozen=True)
class Pool:
    """The processes of a screen.

    Attributes:
        predictors: actors that are started at the beginning.
        at_most: largest number of actors later.
        threads: threads of each predictor; None: Ray and the backend choose.
        readers: largest number of reading tasks; None: as many as have room.
        writers: largest number of writing tasks; None: as many as have room.
        predict_cpus: CPUs that a predictor reserves.
        cpu_share: factor for `READ_CPUS` and `WRITE_CPUS`.
        memory_share: factor for the reserved memory.
        reason: one line that explains the choice; empty if the user chose.
        at_least: smallest number of actors later. On several nodes it is 1: one may be lost, and its predictors must
            not take the CPUs of the readers. On one node Ray Data must not end predictors that wait for the first
            images, because they would load the model again.
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
    at_least: int = 1


def predict_cpus(gpu: bool) -> float:
    """Returns the CPUs that a predictor reserves; 0 with a GPU.

    Nodes with GPUs can then offer Ray no CPU (cluster/base/raycluster.yaml), so that no decoding, which reserves some,
    is ever placed there.
    """
    return 0.0 if gpu else PREDICT_CPUS


def room_for_readers(cpus: float, predictors: int, gpu: bool) -> float:
    """Returns how many reading tasks (processes) have room beside the predictors and one writing task.

    Args:
        cpus: CPUs of the cluster.
        predictors: number of predictor actors.
        gpu: whether each predictor has a GPU.
    """
    held = predictors * predict_cpus(gpu) + WRITE_CPUS
    share = min(1.0, cpus / (held + READ_CPUS))  # as on one machine; a cluster needs a reader too
    return (cpus - held * share) / (READ_CPUS * share)


def image_seconds(name: str, width: float, size: int) -> float:
    """Estimates the CPU seconds of a network per image; the cost grows with the squares of width and frame side.

    The estimate only decides when another predictor pays, so half or twice the true value does no harm.

    Args:
        name: name of the network (`comit_ray.models.registry`).
        width: factor of its channels.
        size: side of the frame in pixels.
    """
    return max(LEAST_S, FULL_SIZE_S.get(name, CLASSIFIER_S) * width**2 * (size / 224) ** 2)


def choose(
    nodes: Sequence[Node], gpu: bool, images: int, chunks: int, image_s: float = FULL_SIZE_S["comit_net"]
) -> Pool:
    """Chooses the processes for a cluster of the given nodes.

    On CPUs, each predictor has one thread, and each core one predictor, as far as the memory allows; otherwise there
    are fewer predictors with more threads. Beside them, half as many processes read as there are cores, and a quarter
    write. With GPUs, each GPU has one predictor, and reading and writing use the CPUs.

    Args:
        nodes: nodes of the cluster, at least one; 0 bytes of memory means unknown.
        gpu: whether predictors run on GPUs.
        images: number of images to screen.
        chunks: number of their chunks; one process predicts a chunk.
        image_s: CPU seconds per image (`image_seconds`).
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
        # The tightest node decides: a reading and a writing task must have room beside its predictors.
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
    at_least = 1 if several else predictors
    pool = Pool(predictors, at_most, threads, readers, writers, held, share, memory, at_least=at_least)
    small = useful < chunks and predictors == useful and not gpu and sum(node.cpus for node in working) > predictors
    why = f"; another needs {START_S:.0f} s to start, and all the work is {images * image_s:.0f} s" if small else ""
    return Pool(**{**vars(pool), "reason": _reason(pool, nodes, gpu, images, why)})


def _readers(node: Node) -> int:
    return max(1, int(min(node.cpus / 2, _memory(node) / 4 / READ_MEMORY)))


def _writers(node: Node) -> int:
    return max(1, int(min(node.cpus / 4, _memory(node) / 8 / WRITE_MEMORY)))


def _memory(node: Node) -> float:
    return node.memory or math.inf


def _beside(node: Node) -> float:
    """Returns the CPUs of a node's readers and writers, before they are scaled."""
    return _readers(node) * READ_CPUS + _writers(node) * WRITE_CPUS


def _memory_beside(node: Node) -> float:
    return _readers(node) * READ_MEMORY + _writers(node) * WRITE_MEMORY


def _fitting(node: Node) -> int:
    """Returns how many predictors fit the node's memory beside its readers and writers; at most one per core."""
    fitting = (_memory(node) - _memory_beside(node)) / PREDICT_MEMORY
    return int(min(max(0.0, fitting), node.cpus))


def _threads(node: Node) -> int:
    """Returns the fewest threads with which the predictors that fit the memory use every core."""
    cores = max(1, int(node.cpus))
    fitting = max(1, _fitting(node))
    return cores // next(n for n in (cores // threads for threads in range(1, cores + 1)) if n <= fitting)


def _part(there: float, wanted: float) -> float:
    return min(1.0, there / wanted) if there else 1.0


def _reason(pool: Pool, nodes: Sequence[Node], gpu: bool, images: int, why: str) -> str:
    cores, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    memory = sum(node.memory for node in nodes) / 2**30
    threads = f" of {counted(pool.threads, 'thread')}" if pool.threads else " on a GPU each"
    grown = f" (up to {pool.at_most} if the cluster grows)" if pool.at_most > pool.predictors else ""
    beside = ""
    if pool.readers and pool.writers:
        beside = f", at most {counted(pool.readers, 'reader')} and {counted(pool.writers, 'writer')}"
    where = f"{counted(round(cores), 'core')}, {counted(round(gpus), 'GPU')}, {memory:.0f} GiB for tasks"
    unused = f"; --gpu true would use the {counted(round(gpus), 'GPU')}" if gpus and not gpu else ""
    return (
        f"{counted(pool.predictors, 'predictor')}{threads}{grown}{beside}: chosen for {counted(images, 'image')} on "
        f"{counted(len(nodes), 'node')} ({where}){why}{unused}; --predictors N sets another number"
    )
