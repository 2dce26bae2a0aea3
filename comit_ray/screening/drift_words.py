"""What the summary of a screen, and a report, say of an archive's drift: warnings first."""

from comit_ray.screening.drift import LOOKS, SCORES, Drift
from comit_ray.screening.drift_signals import Kind, Signal

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


def _warning(signal: Signal) -> str:
    match signal.kind:
        case Kind.NAMES:
            return f"{signal.signal}: {signal.outside:,} are of one that it hardly knows ({signal.detail})"
        case Kind.RANGE:
            return f"{signal.signal}: {signal.outside:,} are outside the range that it knows ({signal.detail})"
        case Kind.SPREAD:
            return f"{signal.signal}: spread as no mix of its sources and views is ({signal.detail})"


def _note(signal: Signal) -> str | None:
    if signal.value is None:
        return f"{signal.signal}: {signal.detail}"
    if signal.signal == "source" and signal.differs:
        return f"{signal.outside:,} images are of a source that it was not trained on ({signal.detail})"
    if signal.signal in SCORES and signal.differs:
        spread = f"p_{signal.signal} is spread otherwise than on validation images ({signal.detail})"
        return f"{spread}: another share of positives, or drift"
    return None
