"""Every model of the paper trained for some minutes on real radiographs, screened and scored: one table.

    python -m tests.benchmarks.every_model SHARED_CXR OUTPUT [MODEL ...]

It shows that each one learns; which is better it cannot show. The commands it runs are the jobs', and it prints them.
"""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from comit_ray.checkpoint import checkpoint
from comit_ray.data.manifest import manifest

SMALL = "small_cpu"
TRAINED_ON = 400  # images of the training split, drawn by class and source
SEED = 0


@dataclass(frozen=True)
class Row:
    """A network of the table: its configuration, and what two cores ask of it beyond `SMALL`."""

    name: str
    epochs: int
    options: str = ""


NETWORKS = [
    Row("comit_net", 20, "--model.width 0.125"),
    Row("densenet121", 16, "--model.width 0.5"),
    Row("mobilenet_v2", 24),
    Row("resnet18", 24, "--model.width 0.5"),
    Row("vgg19", 18, "--model.width 0.25 --train.lr 3e-4"),
    Row("unet_lung", 24, "--model.width 0.125"),
    Row("unet_disease", 24, "--model.width 0.125"),
    Row("segnet_lung", 24, "--model.width 0.125"),
    Row("segnet_disease", 30, "--model.width 0.25 --train.lr 2e-3"),
    Row("mask_rcnn_lung", 9, "--model.width 0.125"),
    Row("mask_rcnn_disease", 12, "--model.width 0.125"),
]
ON_EMBEDDINGS = ["random_forest", "svm_sigmoid", "svm_gaussian", "svm_rbf"]
FIGURES = [
    ("sensitivity at 90%", "sensitivity_at_specificity", 0.9, "all"),
    ("at 99%", "sensitivity_at_specificity", 0.99, "all"),
    ("EER", "eer", None, "all"),
    ("AUROC", "auroc", None, "all"),
    ("AUROC inside covid-chestxray", "auroc", None, "dataset=covid-chestxray"),
    ("lung IoU", "lung_iou", None, "all"),
    ("disease TPR", "disease_tpr", None, "all"),
    ("disease precision", "disease_precision", None, "all"),
]


def job(name: str, options: str) -> None:
    """Run a job."""
    command = [sys.executable, f"jobs/{name}.py", *shlex.split(options)]
    print(f"$ python {shlex.join(command[1:])}", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def tables(cxr: Path, output: Path) -> None:
    """The merged manifest with `TRAINED_ON` images to train on, and its training table."""
    if (output / "prepared" / "run.json").exists():
        return
    job("manifest", f"--source nih --root {cxr}/nih_chestxray14 --output {output}/nih --present_only true")
    job("manifest", f"--source covid-chestxray --root {cxr}/covid_chestxray --output {output}/covid")
    job("manifest", f"--inputs {output}/nih,{output}/covid --output {output}/whole")
    manifest.write(str(output / "manifest"), subset(manifest.read(str(output / "whole"))), 2048)
    job("prepare", f"--manifest {output}/manifest --output {output}/prepared")


def subset(table: pa.Table) -> pa.Table:
    """All rows but those to train on, of which `TRAINED_ON` stay: of each class of each source the same share."""
    columns = table.select(["split", "dataset", "covid", "unhealthy"]).to_pandas()
    training = columns[columns["split"] == "train"]
    share = TRAINED_ON / len(training)
    rng = np.random.default_rng(SEED)
    kept = [
        rng.choice(rows.index.to_numpy(), max(1, round(share * len(rows))), replace=False)
        for _, rows in training.groupby(["dataset", "covid", "unhealthy"], dropna=False)
    ]
    others = columns.index[columns["split"] != "train"].to_numpy()
    return table.take(np.sort(np.concatenate([others, *kept])))


def network(row: Row, output: Path) -> None:
    """Train, screen and score a network."""
    options = f"--config {row.name} --config {SMALL} {row.options} --train.epochs {row.epochs}"
    job("train", f"{options} --data {output}/prepared --storage {output}/runs --name {row.name}")
    embedded = "--split all --embeddings true" if row.name == "comit_net" else "--split test"
    model = f"--checkpoint {output}/runs/{row.name}/best --output {output}/results/{row.name}"
    job("screen", f"--manifest {output}/manifest {model} {embedded}")
    scored(row.name, output)


def on_embeddings(name: str, output: Path) -> None:
    """Fit and score a classifier on COMiT-Net's embeddings."""
    options = f"--config {name} --results {output}/results/comit_net"
    job("embedding_classifier", f"{options} --manifest {output}/manifest --output {output}/results/{name}")
    scored(name, output)


def scored(name: str, output: Path) -> None:
    """Evaluate on the test split."""
    job("evaluate", f"--results {output}/results/{name} --manifest {output}/manifest --output {output}/reports/{name}")


def line(name: str, output: Path) -> str:
    """A model's row: minutes of its epochs, and figures with their n."""
    run = output / "runs" / name / "last"
    history = checkpoint.load_history(str(run)) if run.exists() else []
    minutes = sum(figures["seconds_training"] + figures["seconds_validation"] for figures in history) / 60
    found = json.loads((output / "reports" / name / "metrics.json").read_text())
    cells = []
    for _, metric, at, group in FIGURES:
        of = [f for f in found if (f["metric"], f["at"], f["group"]) == (metric, at, group) and f["value"] is not None]
        cells.append(f"{of[0]['value']:.3f} ({of[0]['n']})" if of else "-")
    return f"| {name} | {len(history) or '-'} | {f'{minutes:.1f}' if history else '-'} | " + " | ".join(cells) + " |"


def main(cxr: str, output: str, *names: str) -> None:
    """All of them, or `names`; the table of all that there are last."""
    root = Path(output)
    tables(Path(cxr), root)
    every = [row.name for row in NETWORKS] + ON_EMBEDDINGS
    for row in NETWORKS:
        if not names or row.name in names:
            network(row, root)
    for name in ON_EMBEDDINGS:
        if not names or name in names:
            on_embeddings(name, root)
    print("| model | epochs | minutes | " + " | ".join(title for title, *_ in FIGURES) + " |")
    print("| --- " * (len(FIGURES) + 3) + "|")
    print("\n".join(line(name, root) for name in every if (root / "reports" / name).exists()))


if __name__ == "__main__":
    main(*sys.argv[1:])
