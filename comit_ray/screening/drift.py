"""Compares the tables of a screened archive with the training data: drift signals.

An image is outside where its embedding lies farther from the training images than 95% of the validation images do, or a
statistic of its pixels outside the range that holds the central 95% of the training images': of images like them 1 in
20 is. A view is outside where fewer than 1 in 100 training images have it. It is a warning where surely more than 1 in
10 are outside, and more than so few reference patients leave open; "surely" by 99% intervals over patients, for images
of one are alike: Wilson's of the archive, and the Beta distribution of what lies outside a range between order
statistics (Wilks 1941, "Determination of sample sizes for setting tolerance limits").

It is a warning too where a statistic of pixels is spread as no mix of the training's sources and views is: each image
may be a possible one, and all together not. Sources and scores are told, but are no warning: a new archive is of a new
source, and the spread of scores moves with the share of positives too.

What the summary of a screen, and a report, say of an archive's drift: warnings first.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import pandas as pd

from comit_ray.checkpoint.reference import DISTANCE, Reference
from comit_ray.data.images.frame import STATISTICS
from comit_ray.errors import NotFoundError, Status, StorageError
from comit_ray.screening import drift_signals
from comit_ray.screening.drift_signals import Signal, SignalKind
from comit_ray.screening.screen_tables import stage_newest
from comit_ray.storage import storage
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import PREDICTIONS
from comit_ray.tables.staging import MEMORY_GIB, Staged, staging
from comit_ray.tables.vocabulary import SCORES

FILE = "drift.json"
COLUMNS = ["image_id", "status", "view", DISTANCE, *STATISTICS, *(f"p_{score}" for score in SCORES)]
"""What is read of the predictions."""
LOOKS = (DISTANCE, *STATISTICS, "view")
"""Signals that can warn."""


@dataclass(frozen=True)
class Drift:
    """The whole comparison.

    Args:
        model_id: whose checkpoint.
        images: that were scored.
        patients: whose they are; an image without a patient counts as one.
        signals: in the order of the module's names; none where `reason` says why.
        reason: why nothing was compared.
        calibrated: whether the thresholds were chosen at this site for this model (`comit-ray calibrate`).
    """

    model_id: str
    images: int
    patients: int
    signals: tuple[Signal, ...]
    reason: str | None = None
    calibrated: bool = False

    @property
    def trusted(self) -> bool | None:
        """Whether the flags are: no warning, or thresholds of the site itself; None: nothing could be compared.

        Trusted is not right: it is only not shown that the archive differs.
        """
        if self.calibrated:
            return True
        compared = any(signal.signal in LOOKS and signal.value is not None for signal in self.signals)
        return not self.warnings if self.reason is None and compared else None

    @property
    def warnings(self) -> list[Signal]:
        """What says that the archive does not look like what the model knows."""
        return [signal for signal in self.signals if signal.differs and signal.signal in LOOKS]


def write(
    output: str,
    manifest: str,
    model_id: str,
    known: Reference | None,
    temperatures: Mapping[str, float],
    calibrated: bool = False,
    memory_gib: float = MEMORY_GIB,
) -> Drift:
    """Compare the results in `output` with the checkpoint's reference, and write `drift.json` beside them.

    Args:
        output: URI of the results.
        manifest: URI of the manifest, for sources and patients.
        model_id: of the checkpoint.
        known: the checkpoint's reference; None: it has none.
        temperatures: that the scores were divided by; empty: none.
        calibrated: whether the thresholds were chosen at this site for this model.
        memory_gib: GiB of memory that the tables may take; what does not fit goes to disk.

    Raises:
        StorageError: the tables cannot be read, or the file not be written.
    """
    with staging(memory_gib) as tables:
        known_columns = [MANIFEST.field(name) for name in ("image_id", "dataset", "patient_id")]
        stage_newest(tables, output, [PREDICTIONS.field(name) for name in COLUMNS], manifest, known_columns)
        found = compare(ScoredImages.staged(tables), model_id, known, temperatures)
    found = replace(found, calibrated=calibrated)
    storage.write_bytes(storage.join(output, FILE), (json.dumps(asdict(found), indent=1) + "\n").encode())
    return found


def read(output: str) -> Drift | None:
    """What was written beside the results in `output`; None where an older version screened them.

    Raises:
        StorageError: the file is not what a screen writes.
    """
    uri = storage.join(storage.normalise(output), FILE)
    try:
        found = json.loads(storage.read_bytes(uri))
        signals = tuple(Signal(**one | {"kind": SignalKind(one["kind"])}) for one in found.pop("signals"))
        return Drift(**found, signals=signals)
    except NotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"{uri} is not what a screen writes of drift: {error!r}") from error


@dataclass(frozen=True)
class ScoredImages:
    """The scored images of an archive, a column at a time: of ten million images one column is 40 MB.

    Args:
        images: how many.
        patients: whose they are; an image without a patient counts as one.
        values: the numbers of a column, null where they are not known.
        names: of the column `view` or `dataset`: name -> images, the most frequent first.
    """

    images: int
    patients: int
    values: Callable[[str], pd.Series]
    names: Callable[[str], Mapping[str, int]]

    @classmethod
    def staged(cls, tables: Staged) -> "ScoredImages":
        """Those of the staged `predictions` (`COLUMNS`) and `manifest` (image_id, dataset, patient_id)."""
        tables.run(
            f"CREATE TABLE scored AS SELECT p.*, m.dataset, m.patient_id FROM predictions p "  # noqa: S608 words of ours
            f"LEFT JOIN manifest m USING (image_id) WHERE status = '{Status.OK}'"
        )
        images, patients = tables.rows(
            "SELECT count(*), count(DISTINCT patient_id) + count(*) FILTER (patient_id IS NULL) FROM scored"
        )[0]

        def names(column: str) -> dict[str, int]:
            found = f"SELECT coalesce({column}, 'unknown') AS name, count(*) AS images FROM scored GROUP BY name"  # noqa: S608
            return dict(tables.rows(f"{found} ORDER BY images DESC, min(rowid)"))

        return cls(int(images), int(patients), lambda name: tables.column("scored", name), names)

    @classmethod
    def of_frame(cls, images: pd.DataFrame) -> "ScoredImages":
        """Those of a table in memory: predictions with the manifest's `dataset` and `patient_id`."""
        patients = int(images["patient_id"].nunique() + images["patient_id"].isna().sum())

        def names(column: str) -> dict[str, int]:
            return {str(name): int(count) for name, count in images[column].fillna("unknown").value_counts().items()}

        return cls(len(images), patients, lambda name: images[name], names)


def compare(images: ScoredImages, model_id: str, known: Reference | None, temperatures: Mapping[str, float]) -> Drift:
    """Compares scored images with the checkpoint's reference; see `write`."""
    patients = images.patients
    if known is None:
        return Drift(model_id, images.images, patients, (), "the checkpoint is older than this and remembers no data")
    if not images.images:
        return Drift(model_id, 0, 0, (), "no image was scored")
    facts, values = known.facts, images.values
    scores = (drift_signals.of_score(name, values(f"p_{name}"), facts, patients, temperatures) for name in SCORES)
    signals = (
        drift_signals.of_distance(values(DISTANCE), facts, patients),
        *(signal for name in STATISTICS for signal in drift_signals.of_pixels(name, values(name), facts, patients)),
        drift_signals.of_names("view", images.names("view"), facts.views, patients),
        drift_signals.of_names("source", images.names("dataset"), facts.sources, patients),
        *(signal for signal in scores if signal is not None),
    )
    return Drift(model_id, images.images, patients, signals)


WARNING = "WARNING: "
"""How the first line begins where the archive does not look like what the model knows."""
UNKNOWN = (
    "its sensitivity and specificity are not known for such images: have a random sample read before its flags are used"
)
NOT_SHOWN = "nor is it shown that they do not"


def lines(drift: Drift) -> list[str]:
    """One line a statement; those that explain the one before are indented."""
    if drift.reason is not None:
        return [f"whether the archive looks like what the model was trained on is not known: {drift.reason}"]
    notes = list(dict.fromkeys(note for note in map(_note, drift.signals) if note is not None))
    if drift.warnings:
        return [
            f"{WARNING}these {drift.images:,} images do not look like what model {drift.model_id} was trained on:",
            *(f"  {_warning(signal)}" for signal in drift.warnings),
            f"  {UNKNOWN}",
            *notes,
        ]
    compared = [signal.signal for signal in drift.signals if signal.signal in LOOKS and signal.value is not None]
    if not compared:
        return notes
    names, images = ", ".join(dict.fromkeys(compared)), f"these {drift.images:,} images of {drift.patients:,} patients"
    return [
        f"{images} are not shown to differ from what model {drift.model_id} was trained on ({names}); {NOT_SHOWN}",
        *notes,
    ]


def untrusted_lines(drift: Drift, untrusted: str, on_drift: str) -> list[str]:
    """How the summary of a screen begins where the flags are not trusted; nothing elsewhere.

    Args:
        drift: of the archive.
        untrusted: what the queue does then, as `--queue.untrusted` has it.
        on_drift: `warn` or `stop`.
    """
    if drift.trusted is not False:
        return []
    queue = {
        "ranked": "the queue is ordered by their scores all the same (--queue.untrusted random or all)",
        "random": "the queue is in random order",
        "all": "every scored image is in the queue",
    }[untrusted]
    stop = "; the exit status is 1 (--on_drift stop)" if on_drift == "stop" else ""
    return [
        f"FLAGS ARE NOT TRUSTED: these images do not look like what the model was trained on; {queue}{stop}",
        "  to trust them: have part of the queue read, then `comit-ray calibrate` finds this site's own threshold",
    ]


WORDS = {
    DISTANCE: "how the network sees the image (embedding_distance)",
    "pixel_mean": "brightness",
    "pixel_sd": "contrast",
    "pixel_black": "share of black pixels",
    "pixel_white": "share of white pixels",
    **{f"p_{score}": f"the score p_{score}" for score in SCORES},
}
"""Signal -> what a report calls it."""


def sentences(drift: Drift) -> list[str]:
    """The same as `lines` for a report, in words: a sentence, and below it as lines of its own what explains it."""
    found: list[list[str]] = []
    for line in lines(drift):
        text = _in_words(line.strip())
        if line.startswith(" ") and found:
            found[-1].append(text)
        else:
            found.append([f"{text[0].upper()}{text[1:]}"])
    return ["\n".join(texts) + ("" if len(texts) > 1 else ".") for texts in found]


def _in_words(line: str) -> str:
    """A line with the names of signals in words, at its beginning and in a list in brackets."""
    for code, words in WORDS.items():
        if line.startswith((f"{code}:", f"{code} ")):
            return f"{words}{line.removeprefix(code)}"
    before, bracket, listed = line.partition(" was trained on (")
    names, end, rest = listed.partition(")")
    return f"{before}{bracket}{', '.join(WORDS.get(name, name) for name in names.split(', '))}{end}{rest}"


def _warning(signal: Signal) -> str:
    match signal.kind:
        case SignalKind.NAMES:
            return f"{signal.signal}: {signal.outside:,} have a value rare in the training data ({signal.detail})"
        case SignalKind.RANGE:
            return f"{signal.signal}: {signal.outside:,} are outside the range of the training data ({signal.detail})"
        case SignalKind.SPREAD:
            return f"{signal.signal}: distributed unlike any mix of the training sources and views ({signal.detail})"


def _note(signal: Signal) -> str | None:
    if signal.value is None:
        return f"{signal.signal}: {signal.detail}"
    if signal.signal == "source" and signal.differs:
        return f"{signal.outside:,} images are of a source that it was not trained on ({signal.detail})"
    if signal.unknown:
        return f"{signal.signal}: not known for {signal.unknown:,} images, which is no sign of a difference"
    if signal.signal in SCORES and signal.differs:
        spread = f"p_{signal.signal} is distributed differently than on validation images ({signal.detail})"
        return f"{spread}: another share of positives, or drift"
    return None
