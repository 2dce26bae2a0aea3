"""Can the figures be believed? Shortcuts and drift: what a report says of them before any figure."""

from dataclasses import dataclass

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import shortcuts, shortcuts_report
from comit_ray.evaluation.report.document import Chapter
from comit_ray.evaluation.scores import absent_heads
from comit_ray.screening import drift
from comit_ray.statistics.metric import Figure


@dataclass(frozen=True)
class Belief:
    """What was examined.

    Args:
        figures: for metrics.json.
        chapter: of the report; empty for a bare predictions table.
    """

    figures: list[Figure]
    chapter: Chapter


def examine(config: EvaluateConfig, images: pd.DataFrame, split: str) -> Belief:
    """The audit of shortcuts and the drift of a screen.

    Args:
        config: of the job.
        images: of `comit_ray.evaluation.scores.join_tables`.
        split: its name.

    Raises:
        StorageError: one of the screen's tables, or its `drift.json`, cannot be read.
    """
    name, title = "belief", "Can it be believed?"
    if config.results is None:
        return Belief([], Chapter(name, title))
    drifted = drift.read(config.results)
    told = [] if drifted is None else [_sentence(" ".join(line.strip() for line in drift.lines(drifted)))]
    if "covid" in absent_heads(images):
        return Belief([], Chapter(name, title, told))
    audited = shortcuts.audit(images, config.results, split, config.draws, config.seed)
    shown = shortcuts_report.audit_table(audited)
    tables = {"audit": shown} if shown else {}
    return Belief(audited.figures, Chapter(name, title, [*shortcuts_report.audit_sentences(audited), *told], tables))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
