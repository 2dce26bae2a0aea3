"""A made-up study directory, as comit-ray sweep writes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from comit_ray.chunks import plan
from comit_ray.data.manifest import manifest as manifests
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import EMBEDDINGS, MASKS, PREDICTIONS, STUDY_PREDICTIONS, TRIALS
from tests.support import manifest_row, prediction_row, write_rows

Outcome = Sequence[float | None] | str
"""A seed's scores, an image each (None: the image failed), or why there are none: stopped, failed or missing."""


@dataclass(frozen=True)
class Images:
    """The images of the test split: their labels, and where they come from."""

    covid: Sequence[int | None]
    patients: Sequence[str | None] = ()
    datasets: Sequence[str] = ()
    more: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Of the manifest; one image of another split besides."""
        found = []
        for number, covid in enumerate(self.covid):
            dataset = self.datasets[number] if self.datasets else "a"
            patient = self.patients[number] if self.patients else f"p{number}"
            row = manifest_row(f"{dataset}/{number:03d}", covid=covid, unhealthy=covid, patient_id=patient)
            found.append(row | {name: values[number] for name, values in self.more.items()})
        found.sort(key=lambda row: str(row["dataset"]))
        return [*found, manifest_row("z/train", covid=1, split="train")]


def write_study(
    root: Path,
    images: Images,
    variants: Mapping[str, Sequence[Outcome]],
    *,
    name: str = "made_up",
    split: str = "test",
    tasks: Mapping[str, Sequence[str]] | None = None,
    rows: Mapping[str, Mapping[str, Any]] | None = None,
    masks: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    areas: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    judge: str | None = None,
) -> tuple[str, str]:
    """URIs of the study and of its manifest, below `root`.

    Args:
        root: a directory.
        images: of the split.
        variants: variant -> the outcome of its seeds 0, 1, ...; scores in the order of `images`.
        name: of the study.
        split: that was scored.
        tasks: variant -> heads; all four where it is not named.
        rows: variant -> more columns of its trials' rows.
        masks: variant -> rows of MASKS, the same for all of its seeds; such a variant has embeddings too.
        areas: variant -> more columns of its predictions, a mapping an image.
        judge: figure by which a search judged; None: it is no search.
    """
    made = [row | ({"split": split} if row["split"] == "test" else {}) for row in images.rows()]
    manifest = write_rows(root / "manifest", made, MANIFEST)
    study = root / "study"
    ids = [f"{images.datasets[number] if images.datasets else 'a'}/{number:03d}" for number in range(len(images.covid))]
    planned: list[dict[str, Any]] = []
    for variant, outcomes in variants.items():
        for seed, outcome in enumerate(outcomes):
            trial = f"{len(planned):02d}-s{seed}"
            planned.append({"trial": trial, "variant": variant, "seed": seed})
            key = {"trial": trial, "variant": variant, "seed": seed}
            if outcome == "missing":
                continue
            status = outcome if isinstance(outcome, str) else "ok"
            heads = list((tasks or {}).get(variant, ("lung", "disease", "health", "covid")))
            if not isinstance(outcome, str):
                more = (areas or {}).get(variant, [{}] * len(ids))
                scored = [
                    _prediction(image_id, score, heads) | dict(columns)
                    for image_id, score, columns in zip(ids, outcome, more, strict=True)
                ]
                _write(study / "predictions" / f"{trial}.parquet", [key | row for row in scored], STUDY_PREDICTIONS)
                _write(study / "results" / trial / "predictions" / "a.parquet", scored, PREDICTIONS)
                drawn = [dict(row) for row in (masks or {}).get(variant, ())]
                _write(study / "results" / trial / "masks" / "a.parquet", drawn, MASKS)
                if drawn:
                    vectors = [
                        {"image_id": image_id, "embedding": [float(number % 7), float(number % 5), score or 0.0]}
                        for number, (image_id, score) in enumerate(zip(ids, outcome, strict=True))
                    ]
                    _write(study / "results" / trial / "embeddings" / "a.parquet", vectors, EMBEDDINGS)
            row = key | _row(name, split, status, heads) | dict((rows or {}).get(variant, {}))
            row["results"] = f"results/{trial}" if status == "ok" else None
            _write(study / "trials" / f"{trial}.parquet", [row], TRIALS)
    question = {
        "kind": "sweep",
        "study": name,
        "split": split,
        "manifest": plan.make_plan(manifest, "all").fingerprint,
        "training_hash": manifests.training_hash(manifests.read(manifest)),
        "search": {"metric": judge} if judge else None,
        "trials": planned,
    }
    study.mkdir(exist_ok=True)
    (study / "run.json").write_text(json.dumps({"run_id": "r", "question": question, "settings": {}}))
    return str(study), manifest


def _prediction(image_id: str, score: float | None, heads: Sequence[str]) -> dict[str, Any]:
    """A scored image; without the columns of heads that the model does not have."""
    row = prediction_row(image_id, score)
    absent = [column for head, columns in _COLUMNS.items() if head not in heads for column in columns]
    return row | dict.fromkeys(absent) if score is not None else row


_COLUMNS = {"covid": ("p_covid", "covid_flag"), "health": ("p_unhealthy", "unhealthy_flag")}


def _row(name: str, split: str, status: str, heads: list[str]) -> dict[str, Any]:
    details = {"failed": "ValueError: loss is not finite", "stopped": "others had a lower validation loss"}
    return {
        "study": name,
        "kind": "network",
        "model": "comit_net",
        "tasks": heads,
        "status": status,
        "detail": details.get(status),
        "config": "{}",
        "config_digest": "0" * 12,
        "split": split,
        "epochs": 3,
        "best_epoch": 2,
        "attempts": 1,
        "seconds": 61.0,
        "finished_at": datetime.now(UTC),
    }


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    parquet.write_table(str(path), pa.Table.from_pylist(rows, schema=schema))
