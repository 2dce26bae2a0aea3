"""Turns the measured stage times into a forecast: the bottleneck, and the hours for N images on a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comit_ray.benchmark.stages import Stage
from comit_ray.chunks.plan import BARE, DECODE, FETCH, GRAPH, MEASURE, PREDICT, WRITE

STAGES = (FETCH, DECODE, PREDICT, MEASURE, WRITE)
TASKS_EACH = 4
"""Reading tasks per process in the small screen, so that all have begun before the additional images come."""


@dataclass(frozen=True)
class EndToEnd:
    """Two complete screens of the same archive, a small and a large one.

    Args:
        images: number of images in the large screen.
        seconds: duration of the large screen.
        fewer: number of images in the small screen.
        fewer_seconds: duration of the small screen.
        took: seconds of each stage of the large screen, summed over its processes, and wall time of its graph.
        fewer_took: the same for the small screen.
    """

    images: int
    seconds: float
    fewer: int
    fewer_seconds: float
    took: Mapping[str, float]
    fewer_took: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Images per second after the start, from the additional images of the large screen.

        If those took no time, all images count.
        """
        return 1 / self._each(self.seconds, self.fewer_seconds)

    def each(self, stage: str) -> float:
        """Returns the seconds per image of a stage, or of the graph, after the start and beside all other stages."""
        return self._each(self.took.get(stage, 0.0), self.fewer_took.get(stage, 0.0))

    def _each(self, all_of_it: float, fewer: float) -> float:
        if self.seconds > self.fewer_seconds:
            return (all_of_it - fewer) / (self.images - self.fewer)
        return all_of_it / self.images

    @property
    def startup(self) -> float:
        """Seconds before the first image and after the last."""
        return max(0.0, self.seconds - self.images / self.rate)


@dataclass(frozen=True)
class Throughput:
    """Measurements of a screen on one cluster.

    Args:
        stages: each stage alone.
        sampled: number of images that the stages got, including those that ended before the last stage.
        whole: the complete screens.
        cpus: CPUs of the cluster.
        predictors: number of predictors that ran.
        gpu: whether each predictor has a GPU, and then no CPU.
        row_bytes: bytes of all tables per image.
    """

    stages: Sequence[Stage]
    sampled: int
    whole: EndToEnd
    cpus: float
    predictors: int
    gpu: bool
    row_bytes: float

    def seconds(self, name: str) -> float:
        """Returns the seconds of one core, or one predictor, per image of this archive in a stage.

        Images that ended before the stage count as 0.
        """
        return sum(stage.seconds for stage in self.stages if stage.name == name) / self.sampled

    @property
    def bounds(self) -> dict[str, float]:
        """Images per second that each part of the cluster could do if it did nothing else.

        Without GPUs the CPUs do all stages; with GPUs the predictors are separate.
        """
        busy = sum(self.seconds(name) for name in self._on_cpus)
        predict = self.seconds(PREDICT)
        found = {f"CPUs ({', '.join(self._on_cpus)})": self.cpus / busy if busy else float("inf")}
        found["predictors"] = self.predictors / predict if predict else float("inf")
        return found

    @property
    def bottleneck(self) -> str:
        """The part that limits the cluster, and the stage that takes most of its time."""
        part, _ = min(self.bounds.items(), key=lambda item: item[1])
        if part == "predictors":
            return f"{part}: more of them, or faster ones"
        return f"{part}, of which {max(self._on_cpus, key=self.seconds)} takes most"

    @property
    def of_the_bare_model(self) -> float | None:
        """Throughput of the screen over that of the bare model loop of all predictors; None if not measured."""
        bare = self.seconds(BARE)
        return self.whole.rate * bare / self.predictors if bare else None

    @property
    def predictors_time(self) -> dict[str, float]:
        """How the predictors spend their time, as shares of 1; negative: faster in the screen than alone."""
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
        """Share of the CPUs' time for every stage on CPUs while the graph ran, waiting for a core included."""
        return {name: self.whole.each(name) / (self.cpus * self.whole.each(GRAPH)) for name in self._on_cpus}

    @property
    def _on_cpus(self) -> list[str]:
        return [name for name in STAGES if not (self.gpu and name == PREDICT)]

    def hours(self, images: int) -> float:
        """Returns the hours for so many images on this cluster."""
        return (self.whole.startup + images / self.whole.rate) / 3600


def lines(found: Throughput, numbers: Sequence[int], cost_per_hour: float | None) -> list[str]:
    """Returns the benchmark as lines of text."""
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
    """Returns a warning if the cluster grew or lost a node during the measurement.

    Args:
        before: CPUs before.
        after: CPUs after.
    """
    if before == after:
        return None
    return (
        f"the cluster had {before:g} CPUs when it was warm and {after:g} at the end: these figures are of neither; "
        "keep its size (an autoscaler: as many nodes at least as at most), and measure again"
    )


def fewer_predictors(asked: int, ran: int) -> str | None:
    """Returns a warning if there was no room, or no work, for some of the predictors."""
    if ran >= asked:
        return None
    return f"of {asked} predictors {ran} ran, and figures are of these: there was no room, or no work, for more"


def too_few(fewer: int, chunk_rows: int, readers: float) -> str | None:
    """Returns a warning if the start of processes is a large part of the measurement; None if it is not.

    Args:
        fewer: images of the small screen.
        chunk_rows: images per chunk, and here per reading task.
        readers: reading tasks, each a process, that fit beside the predictors.
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
