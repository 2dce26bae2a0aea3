"""Turns the measured stage times into a forecast: the bottleneck, and the hours for N images on a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comit_ray.benchmark.stages import Stage
from comit_ray.chunks.plan import BARE, DECODE, FETCH, GRAPH, MEASURE, PREDICT, WRITE

STAGES = (FETCH, DECODE, PREDICT, MEASURE, WRITE)
TASKS_EACH = 4
"""Reading tasks of the small screen for every process, so that all have begun before the further images come."""


@dataclass(frozen=True)
class EndToEnd:
    """Two whole screens of the same archive, a small and a large one.

    Args:
        images: of the large one.
        seconds: of the large one.
        fewer: images of the small one.
        fewer_seconds: of the small one.
        took: seconds of each stage of the large one, summed over its processes, and of its graph, by the clock.
        fewer_took: of the small one.
    """

    images: int
    seconds: float
    fewer: int
    fewer_seconds: float
    took: Mapping[str, float]
    fewer_took: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Images a second once it runs: what the further images took. All of them, where these took no time."""
        return 1 / self._each(self.seconds, self.fewer_seconds)

    def each(self, stage: str) -> float:
        """Seconds that a stage, or the graph, took for an image, once it runs and beside all others."""
        return self._each(self.took.get(stage, 0.0), self.fewer_took.get(stage, 0.0))

    def _each(self, all_of_it: float, fewer: float) -> float:
        if self.seconds > self.fewer_seconds:
            return (all_of_it - fewer) / (self.images - self.fewer)
        return all_of_it / self.images

    @property
    def startup(self) -> float:
        """Seconds before and after the images."""
        return max(0.0, self.seconds - self.images / self.rate)


@dataclass(frozen=True)
class Throughput:
    """What was measured, on which cluster.

    Args:
        stages: each alone.
        sampled: images of the archive that these were given, also those that ended before the last of them.
        whole: end to end.
        cpus: of the cluster.
        predictors: actors that ran.
        gpu: whether each has a GPU, and then no CPU.
        row_bytes: of the tables, an image.
    """

    stages: Sequence[Stage]
    sampled: int
    whole: EndToEnd
    cpus: float
    predictors: int
    gpu: bool
    row_bytes: float

    def seconds(self, name: str) -> float:
        """Of one core, or one predictor, for an image of this archive in a stage, be it 0 for those that end before."""
        return sum(stage.seconds for stage in self.stages if stage.name == name) / self.sampled

    @property
    def bounds(self) -> dict[str, float]:
        """Images a second that each part of the cluster could do if it did nothing else.

        Without GPUs the CPUs do all stages; with them the predictors are apart.
        """
        busy = sum(self.seconds(name) for name in self._on_cpus)
        predict = self.seconds(PREDICT)
        found = {f"CPUs ({', '.join(self._on_cpus)})": self.cpus / busy if busy else float("inf")}
        found["predictors"] = self.predictors / predict if predict else float("inf")
        return found

    @property
    def bottleneck(self) -> str:
        """The part that bounds the cluster, and the stage that takes most of it."""
        part, _ = min(self.bounds.items(), key=lambda item: item[1])
        if part == "predictors":
            return f"{part}: more of them, or faster ones"
        return f"{part}, of which {max(self._on_cpus, key=self.seconds)} takes most"

    @property
    def of_the_bare_model(self) -> float | None:
        """End-to-end throughput over that of the bare model loop of all predictors; None where it was not measured."""
        bare = self.seconds(BARE)
        return self.whole.rate * bare / self.predictors if bare else None

    @property
    def predictors_time(self) -> dict[str, float]:
        """What the predictors' time went to, as shares of 1; less than 0: faster in the screen than alone."""
        rate, predict, graph = self.whole.rate, self.whole.each(PREDICT), self.predictors * self.whole.each(GRAPH)
        parts = {
            "the network": self.seconds(BARE),
            "rows and tables": self.seconds(PREDICT) - self.seconds(BARE),
            "slower than alone": predict - self.seconds(PREDICT),
            "waiting for images": graph - predict,
            "before and after the graph": self.predictors / rate - graph,
        }
        return {name: seconds * rate / self.predictors for name, seconds in parts.items()}

    @property
    def cpus_time(self) -> dict[str, float]:
        """Share of the CPUs' time, while the graph ran, of every stage that they do; waiting for a core is in it."""
        return {name: self.whole.each(name) / (self.cpus * self.whole.each(GRAPH)) for name in self._on_cpus}

    @property
    def _on_cpus(self) -> list[str]:
        return [name for name in STAGES if not (self.gpu and name == PREDICT)]

    def hours(self, images: int) -> float:
        """For so many images, on this cluster."""
        return (self.whole.startup + images / self.whole.rate) / 3600


def lines(found: Throughput, numbers: Sequence[int], cost_per_hour: float | None) -> list[str]:
    """The benchmark for a person."""
    unit = "predictor" if found.gpu else "core"
    said = [f"{'stage':<46}{'images':>8}{'ms each':>10}{'a second':>10}{'MB/s':>8}"]
    for stage in found.stages:
        each = stage.seconds / stage.images
        speed = f"{stage.size / stage.seconds / 1e6:.1f}" if stage.size and stage.seconds else "-"
        name = f"{stage.name} {stage.kind}".strip()
        said.append(f"{name:<46}{stage.images:>8,}{1000 * each:>10.2f}{1 / each:>10.1f}{speed:>8}")
    whole = found.whole
    screens = f"{whole.images:,} images in {whole.seconds:.1f} s, {whole.fewer:,} in {whole.fewer_seconds:.1f} s"
    cluster = f"{found.cpus:g} CPUs and {found.predictors} predictors"
    said += [
        f"stages alone: one core each; predict and the bare model: one {unit}",
        f"end to end: {whole.rate:.1f} images/s on {cluster}, and {whole.startup:.0f} s to begin and end ({screens})",
        *(f"bound of the {part}: {bound:.1f} images/s" for part, bound in found.bounds.items()),
        f"bottleneck: {found.bottleneck}",
        f"tables: {found.row_bytes:,.0f} bytes an image",
    ]
    ratio = found.of_the_bare_model
    if ratio is not None:
        said += [
            f"end to end over the bare model loop: {ratio:.2f}",
            f"a predictor's time: {_shares(found.predictors_time)}",
            f"the CPUs' time, by the stages' clocks: {_shares(found.cpus_time)} (waiting is in it)",
        ]
    for number in numbers:
        hours = found.hours(number)
        cost = "" if cost_per_hour is None else f", cost {hours * cost_per_hour:,.2f}"
        size = number * found.row_bytes / 1e9
        said.append(f"{number:,} images: {hours:,.2f} hours on this cluster{cost}, {size:,.2f} GB of tables")
    return said


def other_cluster(before: float, after: float) -> str | None:
    """What a person should know where the cluster has grown, or lost a node, while it was measured.

    Args:
        before: CPUs.
        after: CPUs.
    """
    if before == after:
        return None
    return (
        f"the cluster had {before:g} CPUs when it was warm and {after:g} at the end: these figures are of neither; "
        "keep its size (an autoscaler: as many nodes at least as at most), and measure again"
    )


def fewer_predictors(asked: int, ran: int) -> str | None:
    """What a person should know where there was no room, or no work, for some of the predictors."""
    if ran >= asked:
        return None
    return f"of {asked} predictors {ran} ran, and figures are of these: there was no room, or no work, for more"


def too_few(fewer: int, chunk_rows: int, readers: float) -> str | None:
    """What a person should know where the start of processes is much of what was measured; None where it is not.

    Args:
        fewer: images of the small screen.
        chunk_rows: images of a chunk, and here of a reading task.
        readers: reading tasks, each a process, that find room beside the predictors.
    """
    wanted = int(TASKS_EACH * readers) * chunk_rows
    if fewer >= wanted:
        return None
    return (
        f"few images: there is room for {readers:.0f} reading processes, and the small screen has "
        f"{fewer / chunk_rows:.1f} chunks, so their start counts as reading; --images {4 * wanted} or more tells the "
        "rate of a long screen"
    )


def _shares(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in parts.items())
