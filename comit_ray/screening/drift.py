"""Compares the tables of a screened archive with the training data: drift signals, and the sentences that report them.

An image is outside if its embedding lies farther from the training images than 95% of the validation images do. It is
also outside if a statistic of its pixels lies outside the range of the central 95% of the training images. Among images
like those, 1 in 20 is outside. A view is outside if fewer than 1 in 100 training images have it.

A signal is a warning if surely more than 1 in 10 images are outside, and more than the small number of reference
patients leaves open. "Surely" refers to 99% intervals over patients, because images of one patient are alike: Wilson's
interval for the archive, and the Beta distribution of what lies outside a range between order statistics (Wilks 1941,
"Determination of sample sizes for setting tolerance limits").

A signal is a warning too if a statistic of pixels is distributed as no mix of the training's sources and views is. Then
each image may be a possible one, but all of them together are not. Sources and scores are reported but never warn: a
new archive has a new source, and the distribution of scores also moves with the share of positives.
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
from comit_ray.tables.vocabulary import SCORES, counted

FILE = "drift.json"
COLUMNS = ["image_id", "status", "view", DISTANCE, *STATISTICS, *(f"p_{score}" for score in SCORES)]
"""Columns of the predictions that the comparison reads."""
LOOKS = (DISTANCE, *STATISTICS, "view")
"""Signals that can warn."""


@dataclass(frozen=True)
class Drift:
    """The comparison of an archive with a checkpoint's reference.

    Args:
        model_id: id of the checkpoint's model.
        images: number of scored images.
        patients: number of their patients; an image without a patient counts as one patient.
        signals: the signals in the order of `compare`; empty if `reason` is given.
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
        """Whether the flags are trusted; None if nothing could be compared.

        They are trusted if there is no warning, or if the thresholds were chosen at this site. Trusted does not mean
        right: it only means that no difference of the archive was shown.
        """
        if self.calibrated:
            return True
        compared = any(signal.signal in LOOKS and signal.value is not None for signal in self.signals)
        return not self.warnings if self.reason is None and compared else None

    @property
    def warnings(self) -> list[Signal]:
        """The signals that say that the archive does not look like the training data of the model."""
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
    """Compares the results in `output` with the checkpoint's reference, and writes `drift.json` beside them.

    Args:
        output: URI of the results.
        manifest: URI of the manifest, for sources and patients.
        model_id: id of the checkpoint's model.
        known: the checkpoint's reference; None if it has none.
        temperatures: score -> temperature that divided its log-odds; empty if there was no temperature scaling.
        calibrated: whether the thresholds were chosen at this site for this model.
        memory_gib: memory that the tables may use, in GiB; the rest goes to disk.

    Raises:
        StorageError: the tables cannot be read, or the file cannot be written.
    """
    with staging(memory_gib) as tables:
        known_columns = [MANIFEST.field(name) for name in ("image_id", "dataset", "patient_id")]
        stage_newest(tables, output, [PREDICTIONS.field(name) for name in COLUMNS], manifest, known_columns)
        found = compare(ScoredImages.staged(tables), model_id, known, temperatures)
    found = replace(found, calibrated=calibrated)
    storage.write_bytes(storage.join(output, FILE), (json.dumps(asdict(found), indent=1) + "\n").encode())
    return found


def read(output: str) -> Drift | None:
    """Reads the comparison beside the results in `output`; None if an older version screened them.

    Raises:
        StorageError: the file is not a comparison that a screen wrote.
    """
    uri = storage.join(storage.normalise(output), FILE)
    try:
        found = json.loads(storage.read_bytes(uri))
        signals = tuple(Signal(**one | {"kind": SignalKind(one["kind"])}) for one in found.pop("signals"))
        return Drift(**found, signals=signals)
    except NotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{uri}: expected the drift.json of a screen, got something else ({error!r}): run the same screen again"
        ) from error


@dataclass(frozen=True)
class ScoredImages:
    """The scored images of an archive, read one column at a time: a column of ten million images is 40 MB.

    Args:
        images: number of images.
        patients: number of their patients; an image without a patient counts as one patient.
        values: column name -> its numbers, null where they are not known.
        names: column `view` or `dataset` -> (name -> number of images), the most frequent name first.
    """

    images: int
    patients: int
    values: Callable[[str], pd.Series]
    names: Callable[[str], Mapping[str, int]]

    @classmethod
    def staged(cls, tables: Staged) -> "ScoredImages":
        """Reads the staged tables `predictions` (`COLUMNS`) and `manifest` (image_id, dataset, patient_id)."""
        tables.run(
            f"CREATE TABLE scored AS SELECT p.*, m.dataset, m.patient_id FROM predictions p "  # noqa: S608 no user input
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
        """Reads a table in memory: predictions with the manifest's columns `dataset` and `patient_id`."""
        patients = int(images["patient_id"].nunique() + images["patient_id"].isna().sum())

        def names(column: str) -> dict[str, int]:
            return {str(name): int(count) for name, count in images[column].fillna("unknown").value_counts().items()}

        return cls(len(images), patients, lambda name: images[name], names)


def compare(images: ScoredImages, model_id: str, known: Reference | None, temperatures: Mapping[str, float]) -> Drift:
    """Compares scored images with the checkpoint's reference; the arguments are those of `write`."""
    patients = images.patients
    if known is None:
        return Drift(model_id, images.images, patients, (), "the checkpoint holds no statistics of its training data")
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
"""Beginning of the first line if the archive does not look like the model's training data."""
UNKNOWN = (
    "its sensitivity and specificity are not known for such images: have a random sample read before you use its flags"
)
NOT_SHOWN = "that they are alike is not shown either"
CAUSES = (
    "the share of positives differs, the images differ from the training data, or the model does not work on this "
    "archive"
)
"""What other scores than on the validation images can mean; without labels nobody can tell which it is."""


def flags_trusted(results: str) -> bool:
    """Returns whether no comparison says that the flags of a screen are not to be trusted.

    Args:
        results: URI of the output of the screen.

    Raises:
        StorageError: drift.json cannot be read.
    """
    known = read(results)
    return known is None or known.trusted is not False


def lines(drift: Drift) -> list[str]:
    """Reports the comparison, one line per statement; indented lines explain the line above them."""
    if drift.reason is not None:
        return [f"it is not known whether the archive looks like the model's training data: {drift.reason}"]
    notes = list(dict.fromkeys(note for note in map(_note, drift.signals) if note is not None))
    if drift.warnings:
        archive = f"the archive ({counted(drift.images, 'image')})"
        return [
            f"{WARNING}{archive} does not look like the training data of model {drift.model_id}:",
            *(f"  {_warning(signal)}" for signal in drift.warnings),
            f"  {UNKNOWN}",
            *notes,
        ]
    compared = [signal.signal for signal in drift.signals if signal.signal in LOOKS and signal.value is not None]
    if not compared:
        return notes
    names = ", ".join(dict.fromkeys(WORDS.get(name, name) for name in compared))
    people = f"of {counted(drift.patients, 'patient')}"
    if drift.patients == drift.images:  # patients may not be known: each image then counts as one
        people = "each counted as a patient"
    archive = f"the archive ({counted(drift.images, 'image')}{',' if people.startswith('each') else ''} {people})"
    besides = "; what differs all the same stands below" if any(signal.differs for signal in drift.signals) else ""
    archive += f" is not shown to differ from the training data of model {drift.model_id}"
    return [
        f"{archive} ({names}); {NOT_SHOWN}{besides}",
        *notes,
    ]


def untrusted_lines(drift: Drift, untrusted: str, on_drift: str) -> list[str]:
    """Returns the first lines of a screen's summary if the flags are not trusted; otherwise returns none.

    Args:
        drift: comparison of the archive.
        untrusted: order of the queue in this case, as in `--queue.untrusted`.
        on_drift: `warn` or `stop`.
    """
    if drift.trusted is not False:
        return []
    queue = {
        "ranked": "the queue is still ordered by score",
        "random": "the queue is in random order",
        "all": "every scored image is in the queue",
    }[untrusted]
    stop = "; the exit status is 1 (--on_drift stop)" if on_drift == "stop" else ""
    return [
        f"FLAGS ARE NOT TRUSTED: the images do not look like the model's training data; {queue}{stop}",
        "  what to do stands below, at `next:`",
    ]


WORDS = {
    DISTANCE: "how the network sees the image (embedding_distance)",
    "pixel_mean": "brightness",
    "pixel_sd": "contrast",
    "pixel_black": "share of black pixels",
    "pixel_white": "share of white pixels",
    **{f"p_{score}": f"the score p_{score}" for score in SCORES},
}
"""Signal -> its name in words."""


def sentences(drift: Drift) -> list[str]:
    """Reports the comparison in whole sentences; what explains a sentence stands below it, as lines of its own."""
    found: list[list[str]] = []
    for line in lines(drift):
        text = line.strip()
        if line.startswith(" ") and found:
            found[-1].append(text)
        else:
            found.append([f"{text[0].upper()}{text[1:]}"])
    return ["\n".join(texts) + ("" if len(texts) > 1 else ".") for texts in found]


def _warning(signal: Signal) -> str:
    images, name = counted(signal.outside or 0, "image"), WORDS.get(signal.signal, signal.signal)
    match signal.kind:
        case SignalKind.NAMES:
            return f"{name}: rare in the training data for {images} ({signal.detail})"
        case SignalKind.RANGE:
            return f"{name}: outside the range of the training data for {images} ({signal.detail})"
        case SignalKind.SPREAD:
            return f"{name}: distributed unlike any mix of the training sources and views ({signal.detail})"


def _note(signal: Signal) -> str | None:
    name = WORDS.get(signal.signal, signal.signal)
    if signal.value is None:
        return f"{name}: {signal.detail}"
    if signal.signal == "source" and signal.differs:
        images = counted(signal.outside or 0, "image")
        return f"source: {images} of sources that the training did not have ({signal.detail})"
    if signal.unknown:
        return f"{name}: not known for {counted(signal.unknown, 'image')}, which is no sign of a difference"
    if signal.signal in SCORES and signal.differs:
        spread = f"the score p_{signal.signal} is distributed differently than on validation images ({signal.detail})"
        return f"{spread}: {CAUSES}"
    return None
