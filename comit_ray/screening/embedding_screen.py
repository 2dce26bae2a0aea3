"""Fits the shallow classifiers on embedding tables, chooses thresholds, and writes predictions.

`classify` is the whole run of `comit-ray embedding_classifier`; some trials of a sweep call it too.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from comit_ray.checkpoint import operating_points
from comit_ray.checkpoint.operating_points import Document, OperatingPoint
from comit_ray.chunks import accounts, ownership, run_record
from comit_ray.chunks import plan as chunks
from comit_ray.chunks.accounts import Accounts
from comit_ray.chunks.ownership import Owner
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.errors import STATUS_OF, ManifestError, Reason, Status
from comit_ray.models import embedding_classifiers
from comit_ray.models.embedding_classifiers import EmbeddingClassifier
from comit_ray.screening import embedding_tables
from comit_ray.screening.embedding_tables import EmbeddedChunk, EmbeddedScreen, Labelled
from comit_ray.screening.screen_tables import MASKS, PREDICTIONS, layout
from comit_ray.storage import storage
from comit_ray.tables import parquet, schema
from comit_ray.tables.vocabulary import Split, counted

_GEOMETRY = [name for name in schema.MASKS.names if not name.endswith("_png")]


@dataclass(frozen=True)
class Fitted:
    """The classifiers of a run.

    Attributes:
        classifiers: `covid`, `unhealthy` -> the classifier of that label.
        counts: label -> numbers of negatives and positives that it was fitted on.
        model_id: 12 hex digits of a hash of everything that decides the classifiers: scikit-learn's parameters and
            version, the network that made the embeddings, and the ids and labels of the training images.
    """

    classifiers: dict[str, EmbeddingClassifier]
    counts: dict[str, tuple[int, int]]
    model_id: str


def fit_classifiers(images: Labelled, network: str, config: EmbeddingClassifierConfig) -> Fitted:
    """Fits one classifier for each of `config.tasks`, on the training images whose label is known.

    Args:
        images: embeddings and labels.
        network: model id of the network that made the embeddings.
        config: method and tasks.

    Raises:
        ManifestError: the training images of a label have no positive or no negative.
    """
    classifiers: dict[str, EmbeddingClassifier] = {}
    counts: dict[str, tuple[int, int]] = {}
    digest = hashlib.sha256(
        json.dumps([embedding_classifiers.parameters(config.method), network], sort_keys=True).encode()
    )
    for label in sorted(config.tasks):
        known = images.known(Split.TRAIN, label)
        labels = images.labels[label][known].astype(np.int8)
        positives = int(labels.sum())
        counts[label] = (len(labels) - positives, positives)
        if not all(counts[label]):
            others = [name for name in config.tasks if name != label]
            hint = f", or leave this label out (--tasks '[{','.join(others)}]')" if others else ""
            raise ManifestError(
                f"expected embedded training images with {label} 1 and with {label} 0, got {positives} and "
                f"{len(labels) - positives}: screen a manifest whose train split has both{hint}"
            )
        digest.update(json.dumps([label, images.ids[known].tolist(), labels.tolist()]).encode())
        classifiers[label] = embedding_classifiers.fit(config.method, images.x_NC[known], labels, config.threads)
    return Fitted(classifiers, counts, digest.hexdigest()[:12])


def choose_thresholds(
    fitted: Fitted, images: Labelled, config: EmbeddingClassifierConfig
) -> tuple[Document, OperatingPoint]:
    """Chooses all operating points on the validation images whose label is known.

    Returns:
        All operating points, and the one that decides the flags.

    Raises:
        ConfigError: that one has no threshold for COVID-19, or for `unhealthy` if there is no classifier of COVID-19.
    """
    scores = {}
    for label, classifier in fitted.classifiers.items():
        known = images.known(Split.VAL, label)
        scores[label] = (classifier.score(images.x_NC[known]), images.labels[label][known].astype(np.int8))
    document = operating_points.choose(scores, config.specificities)
    points = operating_points.parse(operating_points.to_json(document), origin="operating points")
    point = points[config.operating_point]
    point.threshold("covid" if "covid" in scores else "unhealthy")
    return document, point


def run_settings(
    screen: EmbeddedScreen, fitted: Fitted, point: OperatingPoint, config: EmbeddingClassifierConfig
) -> dict[str, Any]:
    """Returns the settings that decide the rows, for the run's record; a requeue reads the operating point."""
    return {
        "manifest": screen.plan.fingerprint,
        "split": "all",
        "model_id": fitted.model_id,
        "embeddings_of": screen.model_id,
        "method": config.method.model_dump(mode="json"),
        "tasks": sorted(config.tasks),
        "operating_point": {"name": point.name, "thresholds": point.thresholds},
        "specificities": list(config.specificities),
    }


def write_classified(screen: EmbeddedScreen, fitted: Fitted, point: OperatingPoint, output: str, owner: Owner) -> None:
    """Scores every chunk of the screen and commits it under its own name; a second call writes the same rows again.

    Raises:
        StorageError: a chunk cannot be read or written.
    """
    for chunk in embedding_tables.chunks(screen):
        rows = predict(chunk, fitted, point, owner.run_id)
        scored = [row["image_id"] for row in rows if row["status"] == Status.OK]
        frames = parquet.read_part(storage.join(screen.uri, MASKS, chunk.file), _GEOMETRY).to_pylist()
        frame_of = {frame["image_id"]: frame for frame in frames}
        tables = {
            "predictions": pa.Table.from_pylist(rows, schema=schema.PREDICTIONS),
            # Only the frame, without masks: the network's masks do not belong to this classifier.
            "masks": pa.Table.from_pylist([frame_of[image_id] for image_id in scored], schema=schema.MASKS),
        }
        chunks.commit(output, chunk.file, tables, layout(embeddings=False), owner)


def predict(chunk: EmbeddedChunk, fitted: Fitted, point: OperatingPoint, run_id: str) -> list[dict[str, Any]]:
    """Returns the chunk's rows of the `predictions` table.

    Images that were ok get new scores; all other rows keep their status and reason.
    """
    usable = embedding_tables.finite(chunk.x_NC)
    ids = [image_id for image_id, take in zip(chunk.scored, usable, strict=True) if take]
    scores = {
        label: dict(zip(ids, classifier.score(chunk.x_NC[usable]).tolist(), strict=True))
        for label, classifier in fitted.classifiers.items()
    }
    run = {"model_id": fitted.model_id, "run_id": run_id, "screened_at": datetime.now(UTC)}
    finite = set(ids)
    rows = []
    for row in chunk.rows:
        image_id, kept = row["image_id"], row | run
        if image_id in finite:
            found = {label: values[image_id] for label, values in scores.items()}
            flags = {f"{label}_flag": found[label] >= point.thresholds[label] for label in point.thresholds}
            values = {f"p_{label}": value for label, value in found.items()}
            kept |= values | flags | {"operating_point": point.name, "calibration": "none"}
        elif row["status"] == Status.OK:
            reason = Reason.MODEL_FAILED
            detail = "the embedding has a value that is not a finite number"
            kept |= {"status": str(STATUS_OF[reason]), "reason": str(reason), "detail": detail}
        rows.append(kept)
    return rows


def classify(config: EmbeddingClassifierConfig) -> Accounts:
    """Fits the classifiers, chooses thresholds and scores every image of the screen; returns the counts of the output.

    Raises:
        ConfigError: the screen has no embeddings or only one split, or the output was made with other settings.
        ManifestError: another manifest was screened, the screen is incomplete, or a label has only one class.
        StorageError: tables cannot be read or written.
    """
    output = storage.normalise(config.output)
    screen = embedding_tables.open_screen(config.results, config.manifest)
    images = embedding_tables.labelled(screen, config.manifest)
    fitted = fit_classifiers(images, screen.model_id, config)
    document, point = choose_thresholds(fitted, images, config)
    asked = run_settings(screen, fitted, point, config)
    run_record.open_run(output, asked, config.model_dump(), PREDICTIONS)
    owner = ownership.take_lease(output, Owner.of(run_record.read(output)))
    for label, (negatives, positives) in fitted.counts.items():
        fitted_on = f"{positives:,} positive and {counted(negatives, 'negative image')}"
        print(f"{config.method.name} for {label}: fitted on {fitted_on}")
    for label, reason in point.missing.items():
        print(f"operating point {point.name} has no threshold for {label} ({reason}): its flags are null")
    storage.write_bytes(storage.join(output, operating_points.FILE), operating_points.to_json(document))
    write_classified(screen, fitted, point, output, owner)

    taken = accounts.take(screen.plan, output, layout(embeddings=False), owner)
    print(f"{taken.asked:>9,} {'image' if taken.asked == 1 else 'images'} in the manifest")
    for status, count in sorted(taken.by_status.items(), key=lambda item: -item[1]):
        print(f"{count:>9,} {status}")
    print(f"{taken.flagged:>9,} above the operating point; not flagged is not normal")
    for problem in taken.problems:
        print(f"PROBLEM: {problem}")
    for name in (PREDICTIONS, MASKS, operating_points.FILE):
        print(f"{name}: {storage.join(output, name)}")
    return taken
