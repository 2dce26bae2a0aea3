"""The report a person reads: the figures as Markdown, with what they do not mean."""

import pandas as pd

from comit_ray.config import EvaluateConfig
from comit_ray.evaluation.scores import Figure

CAUTION = """\
Not for diagnosis. `share` says how many images were scored at all; the other figures are over those alone. Figures over
several datasets flatter: where COVID and other images come from different sources, a network can tell the sources apart
instead of the disease. Read the figures inside one dataset first, and their n. `sensitivity_at_specificity` takes its
threshold from these very images, as the paper does; `..._at_operating_point` uses the threshold frozen on validation
data. The disease figures are pooled over the pixels of images that have a true disease mask; painting everything would
give a TPR of 1, so read precision and Dice beside it."""


def markdown(figures: list[Figure], images: pd.DataFrame, config: EvaluateConfig) -> str:
    """One table of all figures, a column a group."""
    groups = list(dict.fromkeys(figure.group for figure in figures))
    rows = list(dict.fromkeys((figure.metric, figure.at) for figure in figures))
    by_place = {(figure.metric, figure.at, figure.group): figure for figure in figures}
    lines = [
        f"# Evaluation: {config.split} split, {len(images):,} images",
        "",
        CAUTION,
        "",
        "| figure | at | " + " | ".join(groups) + " |",
        "| --- | --- |" + " --- |" * len(groups),
    ]
    for metric, at in rows:
        cells = [_cell(by_place.get((metric, at, group))) for group in groups]
        lines.append(f"| {metric} | {'' if at is None else at} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


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
