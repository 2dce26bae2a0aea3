"""The report a person reads: the figures as Markdown, with what they do not mean."""

import pandas as pd

from comit_ray.config import EvaluateConfig
from comit_ray.evaluation.scores import Figure, absent_heads, head_of

CAUTION = """\
Not for diagnosis. `share` says how many images were scored at all; the other figures are over those alone. Figures over
several datasets flatter: where COVID and other images come from different sources, a network can tell the sources apart
instead of the disease. Read the figures inside one dataset first, and their n. `sensitivity_at_specificity` takes its
threshold from these very images, as the paper does, and so does `eer`, the rate at which as large a share of negatives
is flagged as of positives is missed; `..._at_operating_point` uses the threshold frozen on validation data. The disease
figures are pooled over the pixels of images that have a true disease mask; painting everything would give a TPR of 1,
so read precision and Dice beside it."""
HEADS = {
    "covid": "a COVID-19 score",
    "unhealthy": "an unhealthy score",
    "lung": "lung masks",
    "disease": "disease masks",
}
CALIBRATIONS = {
    "none": "Scores are as the model gives them, not calibrated.",
    "temperature": "Scores are calibrated: log-odds divided by the temperatures in the results' run.json.",
}


def markdown(figures: list[Figure], images: pd.DataFrame, config: EvaluateConfig) -> str:
    """One table of all figures, a column a group; figures of a head the model does not have are left out.

    Args:
        figures: of `comit_ray.evaluation.scores.figures`.
        images: of `comit_ray.evaluation.scores.join_tables`.
        config: of the job.
    """
    absent = absent_heads(images)
    figures = [figure for figure in figures if head_of(figure.metric) not in absent]
    groups = list(dict.fromkeys(figure.group for figure in figures))
    rows = list(dict.fromkeys((figure.metric, figure.at) for figure in figures))
    by_place = {(figure.metric, figure.at, figure.group): figure for figure in figures}
    lines = [f"# Evaluation: {config.split} split, {len(images):,} images", "", CAUTION, ""]
    lines += [f"{sentence}\n" for sentence in _about(images, absent)]
    lines += ["| figure | at | " + " | ".join(groups) + " |", "| --- | --- |" + " --- |" * len(groups)]
    for metric, at in rows:
        cells = [_cell(by_place.get((metric, at, group))) for group in groups]
        lines.append(f"| {metric} | {'' if at is None else at} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _about(images: pd.DataFrame, absent: list[str]) -> list[str]:
    """What the scores are, and which figures there are none of."""
    found = [CALIBRATIONS.get(name, f"Scores: {name}.") for name in sorted(images["calibration"].dropna().unique())]
    if len(absent) == len(HEADS):
        return [*found, "No image has a score or a mask: only their shares can be given."]
    if absent:
        missing = " or ".join(HEADS[head] for head in absent)
        found.append(f"No image has {missing}: those figures are left out.")
    return found


def _cell(figure: Figure | None) -> str:
    """The value cut, not rounded, to four digits, its interval and its n."""
    if figure is None or figure.value is None:
        return "undefined" + (f" (n={figure.n})" if figure else "")
    interval = (
        f" [{_cut(figure.low)}, {_cut(figure.high)}]" if figure.low is not None and figure.high is not None else ""
    )
    return f"{_cut(figure.value)}{interval} (n={figure.n})"


def _cut(value: float) -> str:
    return f"{int(value * 10_000 + 1e-9) / 10_000:.4f}"
