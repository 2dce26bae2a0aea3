"""The model card of a screened model, filled from the run, and the CLAIM items that the run answers.

Mitchell et al. 2019, "Model cards for model reporting". What the run does not know is said to be unknown, not guessed.
What the checkpoint says of its training is read as data; its weights are not loaded.

CLAIM is the checklist for artificial intelligence in medical imaging: what a report answers, and what it cannot.
Tejani et al. 2024, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology:
Artificial Intelligence 6(4):e240300. The topics are paraphrased; read the original before submitting a paper.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from comit_ray.checkpoint import reference
from comit_ray.chunks import run_record
from comit_ray.config import train_config
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import NotFoundError, Status, StorageError
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.shortcuts_report import ALARMS
from comit_ray.evaluation.thresholds import chosen_where
from comit_ray.storage import storage


@dataclass(frozen=True)
class Trained:
    """What is known of a training; empty where it is not.

    Args:
        checkpoint: its URI; None: the results do not say.
        config: as in its `config.yaml`.
        environment: as in its `environment.json`.
        facts: as in its `reference.json`.
        epochs: that were trained.
        reason: why nothing of it is known; None: it is.
    """

    checkpoint: str | None = None
    config: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    epochs: int | None = None
    reason: str | None = None


def read(results: str | None) -> Trained:
    """What the checkpoint that `results` were screened with says; a checkpoint that is gone is no error."""
    if results is None:
        return Trained(reason="a bare predictions table does not name its checkpoint")
    try:
        record = run_record.read(results)
    except (NotFoundError, StorageError) as error:
        return Trained(reason=f"the results have no run.json that tells: {error}")
    settings, question = record.get("settings"), record["question"]
    uri = settings.get("checkpoint") if isinstance(settings, dict) else None
    if not isinstance(uri, str):
        return Trained(reason="the results' run.json names no checkpoint")
    try:
        config, environment = _part(uri, train_config.FILE), _part(uri, reference.ENVIRONMENT)
        weights = str(question.get("model_id")).partition("-")[0]  # of an optimised model more follows
        if environment.get("model_id") != weights:
            return Trained(uri, reason=f"{uri} is not the checkpoint of these results any more")
        return Trained(uri, config, environment, _facts(uri), len(_history(uri)))
    except (StorageError, ValueError, yaml.YAMLError) as error:
        return Trained(uri, reason=f"the checkpoint cannot be read now: {error}")


def _part(uri: str, name: str) -> dict[str, Any]:
    found = yaml.safe_load(storage.read_bytes(storage.join(storage.normalise(uri), name)))  # YAML has JSON in it
    if not isinstance(found, dict):
        raise ValueError(f"{name} holds no mapping")
    return found


def _facts(uri: str) -> dict[str, Any] | None:
    try:
        return _part(uri, reference.FILES[0])
    except NotFoundError:
        return None


def _history(uri: str) -> list[Any]:
    found = json.loads(storage.read_bytes(storage.join(storage.normalise(uri), reference.HISTORY)))
    return found if isinstance(found, list) else []


INTENDED = (
    "Research, and choosing which chest radiographs of an archive a radiologist reads first. Frontal radiographs (PA "
    "or AP) of adults. Every flag is to be read by a person."
)
NOT_INTENDED = (
    "Diagnosis, triage of a patient without a reader, ruling out disease (not flagged is not normal), children, "
    "lateral views, CT, photographs of films, and archives that it was not validated on."
)
ETHICS = (
    "A missed patient is the error that matters. COVID-19 and other images often come from different hospitals; "
    "a score may tell these apart. Figures by sex, age, view and source are in this report where enough patients are "
    "known."
)
SOFTWARE = ("comit_ray", "python", "torch", "torchvision", "ray", "numpy", "pyarrow")


def card_table(
    images: pd.DataFrame, trained: Trained, summary: Table, said: Sequence[str], config: EvaluateConfig
) -> Table:
    """The card.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        trained: what the checkpoint says.
        summary: the report's, whose answers are the card's figures.
        said: sentences of the report that limit what may be concluded.
        config: of the job.
    """
    answers = {question: answer for question, answer in summary.rows}  # noqa: C416 rows have any length
    metrics = [f"{question.removeprefix('The answer: ')}: {text}" for question, text in answers.items()
               if question.startswith("The answer") or question == "Inside one source"]  # fmt: skip
    limits = [text for text in said if text.startswith(ALARMS)]
    rows = (
        ("Model", _model(images, trained)),
        ("Training", _training(trained)),
        ("Training data", _data(trained)),
        ("Intended use", INTENDED),
        ("Not intended for", NOT_INTENDED),
        ("Evaluation data", answers["On what data"]),
        ("Operating point", _points(images, config)),
        ("Figures", " ".join(metrics) or "none: the model has no head that is judged here"),
        ("Uncertainty", f"95% intervals over patients: {_intervals(config)}."),
        ("Limits", " ".join([answers["What it does not mean"], *limits])),
        ("Ethical considerations", ETHICS),
    )
    return Table("The screened model", ("part", "what the run says"), rows)


def claim(
    images: pd.DataFrame, trained: Trained, config: EvaluateConfig, chapters: Mapping[str, str], split: str
) -> dict[int, str]:
    """Number of a CLAIM item -> what the run says of it; items that it cannot answer are absent.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        trained: what the checkpoint says.
        config: of the job.
        chapters: name of each chapter of the report -> its title.
        split: that was scored.
    """
    settings = trained.config or {}
    found: dict[int, str | None] = {
        7: f"sources of the scored images: {', '.join(sorted(images['dataset'].dropna().unique()))}",
        8: _exclusions(images),
        9: _preprocessing(settings),
        12: _missing(images),
        20: None if split == "all" else "patient: the manifest is refused where one lies in two splits",
        22: "see Model card" if trained.config else None,
        23: _software(trained),
        24: _weights(settings),
        25: "see Model card" if trained.config else None,
        26: "the epoch with the lowest loss on the validation split" if trained.config else None,
        27: "none: one network" if trained.config else None,
        28: "sensitivity, specificity, AUROC, equal error rate, precision, F1, calibration, IoU, TPR: see the tables",
        29: f"95% intervals over patients: {_intervals(config)}",
        30: _chapter(chapters, "belief", "subgroups"),
        31: "Grad-CAM maps, and their share inside the lungs" if "gradcam" in chapters else None,
        32: "this report" if split == "test" and not config.external else None,
        33: "this report" if config.external else None,
        35: _accounts(images),
        36: f"in part, of the scored images alone: see {chapters['subgroups']}" if "subgroups" in chapters else None,
        37: _chapter(chapters, "scores"),
        38: _chapter(chapters, "scores", "thresholds"),
        39: _chapter(chapters, "galleries"),
        40: "limits of the model card, and what the summary says that it does not mean",
    }
    return {number: text for number, text in found.items() if text is not None}


def _intervals(config: EvaluateConfig) -> str:
    return f"{config.draws:,} bootstrap draws, seed {config.seed}; Wilson's and Newcombe's where they hold"


def _model(images: pd.DataFrame, trained: Trained) -> str:
    models = ", ".join(sorted(images["model_id"].dropna().unique())) or "not known"
    if trained.config is None:
        return f"{models}; nothing more is known: {trained.reason}"
    model, frame = trained.config.get("model", {}), trained.config.get("frame", {})
    tasks = ", ".join(model.get("tasks", []))
    return (
        f"{models}: {model.get('name')}, heads {tasks}, width {model.get('width')} of the paper's channels, "
        f"{frame.get('size')} x {frame.get('size')} pixels ({frame.get('fit')})"
    )


def _training(trained: Trained) -> str:
    if trained.config is None:
        return f"not known: {trained.reason}"
    train, loss = trained.config.get("train", {}), trained.config.get("loss", {})
    weights = ", ".join(f"{task} {loss[task]}" for task in ("lung", "disease", "health", "covid") if task in loss)
    return (
        f"{trained.epochs} of at most {train.get('epochs')} epochs, batch {train.get('batch_size')}, "
        f"{train.get('optimiser')}, learning rate {train.get('lr')} ({train.get('schedule')}), COVID-19 "
        f"{'augmented' if train.get('augment_covid') else 'not augmented'}, losses weighted {weights}, "
        f"seed {train.get('seed')}"
    )


def _data(trained: Trained) -> str:
    if trained.config is None:
        return f"not known: {trained.reason}"
    recorded = (trained.environment or {}).get("manifest") or "not recorded"
    if trained.facts is None:
        return f"manifest {recorded}; the checkpoint is older than the record of its data"
    shares = [
        f"{name}: " + ", ".join(f"{value} {share:.2f}" for value, share in trained.facts[name].items())
        for name in ("sources", "views")
    ]
    return (
        f"{trained.facts['training_images']:,} images to train on and {trained.facts['validation_images']:,} of "
        f"{trained.facts['validation_patients']:,} patients to validate on (manifest {recorded}); shares of the "
        f"training images by {'; by '.join(shares)}{_learned(trained)}"
    )


def _learned(trained: Trained) -> str:
    """Which heads learned from which sources, where the checkpoint tells."""
    found = (trained.environment or {}).get(reference.LEARNS_FROM)
    if not found:
        return ""
    words = {head: ", ".join(f"{name} {a:,} + {b:,}" for name, (a, b) in of.items()) for head, of in found.items()}
    told = "; ".join(f"{head}: {text or 'none'}" for head, text in words.items())
    alone = found.get("covid") and not any(all(counts) for counts in found["covid"].values())
    warning = " No source taught the COVID-19 head both classes: it may know the source in place of the disease."
    return f". Images that each head learned from, with what it looks for + without: {told}.{warning if alone else ''}"


def _points(images: pd.DataFrame, config: EvaluateConfig) -> str:
    names = sorted(images["operating_point"].dropna().unique())
    return f"{', '.join(names)}, {chosen_where(config.results)}" if names else "none"


def _weights(settings: Mapping[str, Any]) -> str | None:
    weights = settings.get("model", {}).get("weights")
    if weights is None:
        return None
    return "random, by the seed" if weights == "none" else f"encoder: {weights}; the rest random, by the seed"


def _preprocessing(settings: Mapping[str, Any]) -> str | None:
    frame = settings.get("frame")
    if not frame:
        return None
    return (
        f"decoded to display values, {frame.get('fit')} to {frame.get('size')} pixels a side, 8 bits (docs/design.md)"
    )


def _software(trained: Trained) -> str | None:
    known = trained.environment or {}
    return ", ".join(f"{name} {known[name]}" for name in SOFTWARE if name in known) or None


def _exclusions(images: pd.DataFrame) -> str:
    reasons = images.loc[images["status"] == Status.EXCLUDED, "reason"].value_counts()
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    return f"excluded, by reason: {told}" if told else "frontal chest radiographs; none of these images was excluded"


def _missing(images: pd.DataFrame) -> str:
    unknown = int(images["covid"].isna().sum())
    return f"{unknown:,} images without a label for COVID-19 are in no figure of it; an unknown label is never negative"


def _accounts(images: pd.DataFrame) -> str:
    counts = images["status"].value_counts()
    return ", ".join(f"{count:,} {status}" for status, count in counts.items())


def _chapter(chapters: Mapping[str, str], *names: str) -> str | None:
    titles = [chapters[name] for name in names if name in chapters]
    return f"see {' and '.join(titles)}" if titles else None


TOPICS = (
    "title names the AI method",
    "structured abstract",
    "background, intended use and clinical role",
    "aims and hypotheses",
    "prospective or retrospective",
    "goal of the study",
    "data sources",
    "inclusion and exclusion criteria",
    "preprocessing",
    "selection of subsets of the data",
    "de-identification",
    "missing data",
    "image acquisition protocol",
    "how the reference standard was obtained",
    "why this reference standard",
    "who annotated for the reference standard",
    "annotation of the test set",
    "variability between and within annotators",
    "how data were divided into partitions",
    "level at which partitions are disjoint",
    "intended sample size of the test set",
    "the model in detail",
    "software libraries",
    "initial values of parameters",
    "training in detail",
    "how the final model was chosen",
    "ensembling",
    "performance metrics",
    "statistical uncertainty and significance",
    "robustness or sensitivity analysis",
    "explainability",
    "evaluation on internal data",
    "testing on external data",
    "registration of a clinical trial",
    "patients and images included and excluded",
    "demographic and clinical characteristics of each partition",
    "performance with its uncertainty",
    "diagnostic performance and its precision",
    "analysis of failures",
    "limitations",
    "implications for practice",
    "where the full protocol is",
    "availability of software, model and data",
    "funding",
)
"""Of the items 1 to 44."""
UNANSWERED = "not answered by this run: to be written by its authors"


def claim_table(answers: Mapping[int, str]) -> Table:
    """All items with their answers; those without one say so.

    Args:
        answers: number of an item, 1 to 44 -> what the run says of it.
    """
    assert set(answers) <= set(range(1, len(TOPICS) + 1)), sorted(answers)
    rows = tuple((str(number), topic, answers.get(number, UNANSWERED)) for number, topic in enumerate(TOPICS, start=1))
    open_items = [str(number) for number in range(1, len(TOPICS) + 1) if number not in answers]
    note = (
        f"{len(answers)} of {len(TOPICS)} items are answered from the run. Open: {', '.join(open_items)}. Topics are "
        "paraphrased from Tejani et al. 2024."
    )
    return Table("CLAIM 2024 checklist", ("item", "asks for", "answer"), rows, note)
