"""The study of recipes against shortcuts on real radiographs: train its trials one by one, and keep every score.

A trial trains on NIH ChestX-ray14 and covid-chestxray, by the job's own code in this process. Then it scores the test
split of these two, and two collections that no trial was trained on: `figure1`, and `kermany` (radiographs of children
from before COVID-19). Scored are the epoch with the least validation loss and the last one, and a file of rows each is
kept. `tests.benchmarks.robust_table` makes the table of what is there.

    python -m tests.benchmarks.robust_study PREPARED MANIFEST FIGURE1_MANIFEST KERMANY OUTPUT SEED OPTIONS [RECIPE ...]

OPTIONS are those of every trial as JSON, as `comit-ray sweep --options` takes them; '{}': the study's own. With
'{"model.crop.checkpoint": URI}', such as that of the baseline's best epoch, a trial is cropped to the lungs, and its
recipe is named so.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comit_ray.checkpoint import operating_points
from comit_ray.config import config_yaml
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.data.images.load import Place, known_exclusion, load_frame, wanted
from comit_ray.data.manifest import manifest
from comit_ray.data.masks.masks import read_mask
from comit_ray.errors import DecodeError
from comit_ray.inference.model import load_model
from comit_ray.screening.variants import LUNGS_REMOVED, alter
from comit_ray.statistics import roc
from comit_ray.storage.file_reader import FileReader
from comit_ray.sweep import study
from comit_ray.tables.vocabulary import Task
from comit_ray.training import run_training
from tests.support import manifest_row
from tests.training.one_process import trains_here

STUDY = "robust_small"
LAST = ", last epoch"
CROP = "model.crop.checkpoint"
LIMITS = DecodeLimits()


def judged_rows(manifest_uri: str, figure1_uri: str, kermany: str) -> list[dict[str, Any]]:
    """Manifest rows of every image that is scored: frontals of the test split, and of the collections outside."""
    rows = [row for row in manifest.read(manifest_uri).to_pylist() if row["split"] == "test"]
    rows += manifest.read(figure1_uri).to_pylist()
    for file in sorted(Path(kermany).glob("*/*.jpeg")):
        unhealthy = int(file.parent.name == "PNEUMONIA")
        patient = file.name.split("_")[0] if unhealthy else "-".join(file.name.split("-")[:2])
        known = {"uri": str(file), "dataset": "kermany", "patient_id": f"kermany/{patient}"}
        rows.append(
            manifest_row(f"kermany/{file.stem}", **known, covid=0, unhealthy=unhealthy, other=unhealthy, view="AP")
        )
    return [row for row in rows if known_exclusion(row) is None]


def score(checkpoint: str, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row an image that could be read: its scores, with and without its lungs, its embedding, and the lungs' IoU."""
    with load_model(checkpoint, threads=1) as model:
        kept, frames = [], []
        with FileReader(LIMITS.max_bytes, wanted([Place.of(row) for row in rows])) as reader:
            for row in rows:
                try:
                    frames.append(load_frame(Place.of(row), reader, model.frame, LIMITS))
                except DecodeError:
                    continue  # a lateral of which only the file tells
                kept.append(row)
        frames_BHW = np.stack([one.pixels_HW for one in frames])
        scores = model.predict(frames_BHW)
        lungs_BHW = scores.mask_BHW(Task.LUNG)
        removed = model.predict(alter(frames_BHW, lungs_BHW, LUNGS_REMOVED), masks=False)
        frame = model.frame
    assert lungs_BHW is not None
    table = pd.DataFrame(
        [{name: row[name] for name in ("image_id", "dataset", "patient_id", "covid", "unhealthy")} for row in kept]
    )
    table["p_covid"], table["p_unhealthy"] = scores.p_covid, scores.p_unhealthy
    table["p_covid_lungs_removed"] = removed.p_covid
    table["lung_share"] = lungs_BHW.mean(axis=(1, 2))
    disease_BHW = scores.mask_BHW(Task.DISEASE)
    assert disease_BHW is not None
    areas_B = np.maximum(lungs_BHW.sum(axis=(1, 2)), 1)
    table["disease_in_lung"] = (lungs_BHW & disease_BHW).sum(axis=(1, 2)) / areas_B
    table["embedding"] = list(scores.embedding)
    table["lung_iou"] = [
        _iou(row, one, lungs_HW, frame) for row, one, lungs_HW in zip(kept, frames, lungs_BHW, strict=True)
    ]
    return table


def _iou(row: dict[str, Any], read: Any, lungs_HW: np.ndarray, frame: FrameConfig) -> float | None:
    if row.get("lung_mask") is None:
        return None
    mask_HW = read_mask(row["lung_mask"], frame, read.height, read.width)
    return roc.iou(lungs_HW, mask_HW == 1, mask_HW != 255)


def main(
    prepared: str, manifest_uri: str, figure1: str, kermany: str, output: str, seed: str, options: str, *recipes: str
) -> None:
    """Train and score what of the study is not there yet."""
    path = config_yaml.find(STUDY, shipped=config_yaml.STUDIES)
    sweep = SweepConfig(
        study=STUDY, data=prepared, storage=output, name="runs", seeds=int(seed) + 1, options=json.loads(options)
    )
    rows = judged_rows(manifest_uri, figure1, kermany)
    cropped = " + crop" if CROP in sweep.options else ""
    for trial in study.trials(study.read(path), path, sweep):
        file = Path(output) / f"{trial.id}.parquet"
        if trial.seed != int(seed) or (recipes and trial.variant not in recipes) or file.exists():
            continue
        began, cpu = time.perf_counter(), time.process_time()
        runs = str(Path(output) / "runs")
        with trains_here():  # one that is whole already is only scored
            begun = (Path(runs) / trial.id).exists()
            best = run_training.train(trial.config.model_copy(update={"storage": runs, "resume": begun}))
        spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        last = f"{best.removesuffix('best')}last"
        for checkpoint, recipe, kept in (
            (last, f"{trial.variant}{cropped}{LAST}", file.with_name(f"{trial.id}-last.parquet")),
            (best, f"{trial.variant}{cropped}", file),
        ):
            table = score(checkpoint, rows).assign(recipe=recipe, seed=trial.seed, **spent)
            for name, point in operating_points.read(f"{checkpoint}/{operating_points.FILE}").items():
                for label, threshold in point.thresholds.items():
                    table[f"threshold {name} {label}"] = threshold
            table.to_parquet(kept)
        took = f"{spent['seconds']:.0f} s, {spent['cpu_seconds']:.0f} CPU s"
        print(f"{trial.variant}{cropped} seed {seed}: {took}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
