"""The model card of a screened model, filled from the run, and the items of the CLAIM checklist that the run answers.

Model card: Mitchell et al. 2019, "Model cards for model reporting". What the run does not know is called unknown and
never guessed. The checkpoint's record of its training is read as data; its weights are not loaded.

CLAIM: Tejani et al. 2024, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology:
Artificial Intelligence 6(4):e240300. The topics are paraphrased; read the original before you submit a paper.
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
from comit_ray.tables.vocabulary import counted


@dataclass(frozen=True)
class Trained:
    """What is known about a training; fields that are not known are None.

    Args:
        checkpoint: URI of the checkpoint; None if the results do not name it.
        config: content of its `config.yaml`.
        environment: content of its `environment.json`.
        facts: content of its `reference.json`.
        epochs: number of epochs trained.
        reason: why nothing is known; None if it is known.
    """

    checkpoint: str | None = None
    config: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    epochs: int | None = None
    reason: str | None = None


def read(results: str | None) -> Trained:
    """Reads what the checkpoint of the screen at the URI `results` records; an absent checkpoint is no error."""
    if results is None:
        return Trained(reason="a bare predictions table does not name its checkpoint")
    try:
        record = run_record.read(results)
    except (NotFoundError, StorageError) as error:
        return Trained(reason=f"the results' run.json cannot be read: {error}")
    settings, question = record.get("settings"), record["question"]
    uri = settings.get("checkpoint") if isinstance(settings, dict) else None
    if not isinstance(uri, str):
        return Trained(reason="the results' run.json names no checkpoint")
    try:
        config, environment = _part(uri, train_config.FILE), _part(uri, reference.ENVIRONMENT)
        weights = str(question.get("model_id")).partition("-")[0]  # the id of an optimised model is longer
        if environment.get("model_id") != weights:
            return Trained(uri, reason=f"{uri} is no longer the checkpoint of these results")
        return Trained(uri, config, environment, _facts(uri), len(_history(uri)))
    except (StorageError, ValueError, yaml.YAMLError) as error:
        return Trained(uri, reason=f"the checkpoint can no longer be read: {error}")


def _part(uri: str, name: str) -> dict[str, Any]:
    found = yaml.safe_load(storage.read_bytes(storage.join(storage.normalise(uri), name)))  # YAML includes JSON
    if not isinstance(found, dict):
        raise ValueError(f"expected a mapping in {name}, got {type(found).__name__}")
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
    "or AP) of adults. A person must read every flagged image."
)
NOT_INTENDED = (
    "Diagnosis, triage of a patient without a reader, ruling out disease (not flagged is not normal), children, "
    "lateral views, CT, photographs of films, and archives on which the model was not validated."
)
ETHICS = (
    "Missing a patient is the gravest error. Images with and without COVID-19 often come from different hospitals, and "
    "a score may recognise these. This report has metrics by sex, age, view and source for groups with enough patients."
)
SOFTWARE = ("comit_ray", "python", "torch", "torchvision", "ray", "numpy", "pyarrow")


def card_table(
    images: pd.DataFrame, trained: Trained, summary: Table, said: Sequence[str], config: EvaluateConfig
) -> Table:
    """The model card as a table.

    Args:
        images: result of `screen_metrics.join_tables`.
        trained: result of `read`.
        summary: the report's summary, whose answers are the card's metrics.
        said: sentences of the report that limit its conclusions.
        config: options of the job.
    """
    answers = {question: answer for question, answer in summary.rows}  # noqa: C416 rows are tuples of any length
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
        ("Metrics", " ".join(metrics) or "none, because no head of the model is evaluated here"),
        ("Uncertainty", f"95% intervals over patients: {_intervals(config)}."),
        ("Limits", " ".join([answers["What it does not mean"], *limits])),
        ("Ethical considerations", ETHICS),
    )
    return Table("The screened model", ("topic", "what is recorded"), rows)


def claim(
    images: pd.DataFrame, trained: Trained, config: EvaluateConfig, chapters: Mapping[str, str], split: str
) -> dict[int, str]:
    """Number of a CLAIM item -> the run's answer; items without an answer are left out.

    Args:
        images: result of `screen_metrics.join_tables`.
        trained: result of `read`.
        config: options of the job.
        chapters: name of each chapter of the report -> its title.
        split: name of the split that was scored.
    """
    settings = trained.config or {}
    found: dict[int, str | None] = {
        7: f"sources of the scored images: {', '.join(sorted(images['dataset'].dropna().unique()))}",
        8: _exclusions(images),
        9: _preprocessing(settings),
        12: _missing(images),
        20: None if split == "all" else "patient: a manifest with a patient in two splits is refused",
        22: "see Model card" if trained.config else None,
        23: _software(trained),
        24: _weights(settings),
        25: "see Model card" if trained.config else None,
        26: "the epoch with the lowest loss on the validation split" if trained.config else None,
        27: "none, the model is a single network" if trained.config else None,
        28: "sensitivity, specificity, AUROC, equal error rate, precision, F1, calibration, IoU, TPR: see the tables",
        29: f"95% intervals over patients: {_intervals(config)}",
        30: _chapter(chapters, "belief", "subgroups"),
        31: "Grad-CAM maps, and their share inside the lungs" if "gradcam" in chapters else None,
        32: "this report" if split == "test" and not config.external else None,
        33: "this report" if config.external else None,
        35: _accounts(images),
        36: f"in part, for the scored images: see {chapters['subgroups']}" if "subgroups" in chapters else None,
        37: _chapter(chapters, "scores"),
        38: _chapter(chapters, "scores", "thresholds"),
        39: _chapter(chapters, "galleries"),
        40: "the limits in the model card, and the row of the summary on what the result does not mean",
    }
    return {number: text for number, text in found.items() if text is not None}


def _intervals(config: EvaluateConfig) -> str:
    return f"{config.draws:,} bootstrap draws, seed {config.seed}; Wilson's and Newcombe's intervals where they hold"


def _model(images: pd.DataFrame, trained: Trained) -> str:
    models = ", ".join(sorted(images["model_id"].dropna().unique())) or "not known"
    if trained.config is None:
        return f"{models}; nothing more is known, because {trained.reason}"
    model, frame = trained.config.get("model", {}), trained.config.get("frame", {})
    tasks = ", ".join(model.get("tasks", []))
    return (
        f"{models}: {model.get('name')}, heads {tasks}, width {model.get('width')} of the paper's channels, "
        f"{frame.get('size')} x {frame.get('size')} pixels ({frame.get('fit')})"
    )


def _training(trained: Trained) -> str:
    if trained.config is None:
        return f"not known, because {trained.reason}"
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
        return f"not known, because {trained.reason}"
    recorded = (trained.environment or {}).get("manifest") or "not recorded"
    if trained.facts is None:
        return f"manifest {recorded}; the checkpoint is too old to have a record of its data"
    shares = [
        f"{name}: " + ", ".join(f"{value} {share:.2f}" for value, share in trained.facts[name].items())
        for name in ("sources", "views")
    ]
    return (
        f"{counted(trained.facts['training_images'], 'image')} for training, and "
        f"{counted(trained.facts['validation_images'], 'image')} of "
        f"{counted(trained.facts['validation_patients'], 'patient')} for validation (manifest {recorded}); shares of "
        f"the training images by {'; by '.join(shares)}{_learned(trained)}"
    )


def _learned(trained: Trained) -> str:
    """The number of training images of each head by source, if the checkpoint records it."""
    found = (trained.environment or {}).get(reference.LEARNS_FROM)
    if not found:
        return ""
    words = {head: ", ".join(f"{name} {a:,} + {b:,}" for name, (a, b) in of.items()) for head, of in found.items()}
    told = "; ".join(f"{head}: {text or 'none'}" for head, text in words.items())
    alone = found.get("covid") and not any(all(counts) for counts in found["covid"].values())
    warning = " No source has both classes for the COVID-19 head: it may have learned the source and not the disease."
    return f". Training images of each head (positive + negative) by source: {told}.{warning if alone else ''}"


def _points(images: pd.DataFrame, config: EvaluateConfig) -> str:
    names = sorted(images["operating_point"].dropna().unique())
    return f"{', '.join(names)}, {chosen_where(config.results)}" if names else "none"


def _weights(settings: Mapping[str, Any]) -> str | None:
    weights = settings.get("model", {}).get("weights")
    if weights is None:
        return None
    return "random, from the seed" if weights == "none" else f"encoder: {weights}; the rest random, from the seed"


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
    reasons = images.loc[images["status"] == Status.EXCLUDED, "reason"].astype("str").value_counts()
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    return f"excluded images by reason: {told}" if told else "frontal chest radiographs; no image was excluded"


def _missing(images: pd.DataFrame) -> str:
    unknown = int(images["covid"].isna().sum())
    return f"images without a label for COVID-19: {unknown:,}; no metric of COVID-19 counts them, not even as negatives"


def _accounts(images: pd.DataFrame) -> str:
    counts = images["status"].astype("str").value_counts()
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
"""Topics of the items 1 to 44, in order."""
UNANSWERED = "the run does not answer this; its authors have to"


def claim_table(answers: Mapping[int, str]) -> Table:
    """All items of the checklist with their answers; items without an answer say so.

    Args:
        answers: number of an item, 1 to 44 -> the run's answer.
    """
    assert set(answers) <= set(range(1, len(TOPICS) + 1)), sorted(answers)
    rows = tuple((str(number), topic, answers.get(number, UNANSWERED)) for number, topic in enumerate(TOPICS, start=1))
    open_items = [str(number) for number in range(1, len(TOPICS) + 1) if number not in answers]
    note = (
        f"The run answers {len(answers)} of {len(TOPICS)} items. Open items: {', '.join(open_items)}. The topics are "
        "paraphrased from Tejani et al. 2024."
    )
    return Table("CLAIM 2024 checklist", ("item", "asks for", "answer"), rows, note)
