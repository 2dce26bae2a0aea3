"""How a study's figures are printed: cut, never rounded, so that nothing looks better than it is."""

from collections.abc import Sequence

from comit_ray.evaluation.study.study_metrics import Key, Row
from comit_ray.evaluation.study.study_results import Study
from comit_ray.tables.vocabulary import Task

UNDEFINED, NOTHING = "undefined", "-"


def percent(value: float | None) -> str:
    """A fraction in percent, with the paper's two digits; cut."""
    return UNDEFINED if value is None else f"{_cut(value, 10_000) * 100:.2f}"


def fraction(value: float | None) -> str:
    """A fraction with three digits; cut."""
    return UNDEFINED if value is None else f"{_cut(value, 1_000):.3f}"


def paper_percent(value: float | None) -> str:
    """A number of the paper, in percent; a dash where it prints none."""
    return NOTHING if value is None else f"{value * 100:.2f}"


def paper_fraction(value: float | None) -> str:
    """A number of the paper as it prints it; a dash where it prints none."""
    return NOTHING if value is None else f"{value:.2f}"


def p_value(value: float | None) -> str:
    """Rounded up, for a smaller one claims more."""
    return NOTHING if value is None else f"{min(1.0, -(-(value - 1e-9) * 1_000 // 1) / 1_000):.3f}"


def figure(row: Row | None, in_percent: bool) -> str:
    """`mean ± SD [interval]`; without what it does not have."""
    if row is None:
        return UNDEFINED
    show = percent if in_percent else fraction
    text = show(row.spread.mean)
    if row.spread.deviation is not None:
        text += f" ± {show(row.spread.deviation)}"
    if row.interval.low is not None and row.interval.high is not None:
        text += f" [{show(row.interval.low)}, {show(row.interval.high)}]"
    return text


def find(rows: Sequence[Row], variant: str, key: Key) -> Row | None:
    """The row of this figure; None where it is undefined."""
    return next((row for row in rows if row.variant == variant and row.key == key), None)


def seeds(study: Study, variant: str) -> str:
    """How many of the planned seeds were scored: `2 of 3 (1 failed)`."""
    trials = study.of(variant)
    ok = len(study.ok(variant))
    others = [f"{sum(t.status == status for t in trials)} {status}" for status in ("stopped", "failed", "missing")]
    others = [text for text in others if not text.startswith("0 ")]
    return f"{ok} of {len(trials)}" + (f" ({', '.join(others)})" if others else "")


def concerned(study: Study, tasks: set[Task]) -> list[str]:
    """The variants with one of these heads, and those of which none was scored and nothing is known."""
    return [
        variant
        for variant in study.variants
        if any(not trial.row or tasks & set(trial.row["tasks"]) for trial in study.of(variant))
    ]


def absent(study: Study, variants: Sequence[str]) -> str:
    """A sentence for every trial of these that was not scored; empty where all were."""
    return " ".join(
        f"Not scored: {variant}, seed {trial.seed}: {trial.status} ({in_short(trial.detail)})."
        for variant in variants
        for trial in study.of(variant)
        if trial.status != "ok"
    )


def in_short(text: str | None, most: int = 160) -> str:
    """A detail in a sentence's length."""
    if not text:
        return "no reason was recorded"
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def without_interval(rows: Sequence[Row]) -> str:
    """A sentence for every reason that a figure has no interval; empty where all have."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.interval.reason is not None:
            reasons.setdefault(row.interval.reason, []).append(f"{row.variant} ({words(row.key)})")
    return " ".join(f"No interval: {', '.join(names)}: {reason}." for reason, names in reasons.items())


def words(key: Key) -> str:
    """A figure's name as a reader would say it."""
    if key.at is not None:
        return f"sensitivity at {key.at * 100:g}% specificity"
    name = {"auroc": "AUROC", "eer": "EER"}.get(key.metric, key.metric.replace("_", " "))
    return name if key.group == "all" else f"{name} inside {key.group.partition('=')[2]}"


def _cut(value: float, steps: int) -> float:
    return int(value * steps + (1e-9 if value >= 0 else -1e-9)) / steps
