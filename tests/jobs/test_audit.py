"""The shortcut audit's positive control: phantoms with a mark burnt into one class are caught, without it they are not.

A training that shows the network nothing but the annotated lungs does not learn the mark, and the audit says so. Put on
the healthy instead, the mark turns the marked network's ranks round, and the cured one does not follow it; with the
annotated lungs blacked out, the cured one knows nothing.

The networks are trained in this process, which saves a minute; they are screened by the job, and audited. Measured of
12 trainings of each kind, with all four heads, on other phantoms and in batches of 8: all that were marked were caught,
in the lungs and in the borders; of those that were not one was, whose lung mask reached half as far as the others'. Of
six seeds of this training without a mark one was caught. With 10 epochs the AUROC without borders was 0.73 to 0.93,
with 18 it is 0.91 to 0.96: processors that round in other ways then agree (tried: AVX2, AVX and SSE 4.1).
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from comit_ray import cli
from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.checkpoint import TrainingState
from comit_ray.checkpoint.operating_points import Threshold
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.data.phantom.phantom_drawing import Phantom, PhantomKind, draw
from comit_ray.evaluation import shortcuts as audit_of
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.evaluation.shortcuts import Audit, audit
from comit_ray.evaluation.shortcuts_report import CAUGHT, audit_sentences
from comit_ray.inference.model import load_model
from comit_ray.models.registry import build_model
from comit_ray.screening.variants import LUNGS_REMOVED, alter
from comit_ray.statistics import roc
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.training.batches import Batch, appearance_of
from comit_ray.training.epoch import make_optimiser, train_epoch
from comit_ray.training.losses import Objective
from jobs import screen as screen_job
from tests.support import manifest_row, write_rows

pytestmark = pytest.mark.slow
SIZE, TRAINED, TESTED, EPOCHS, SEED = 64, 160, 120, 18, 1
CONFIG = TrainConfig.parse(
    {
        "data": "d", "storage": "s", "name": "n", "frame": {"size": SIZE},
        "model": {"width": 0.0625, "weights": "none", "tasks": ["lung", "covid"]},
        "train": {"epochs": EPOCHS, "batch_size": 16, "lr": 4e-3},
    },
    origin="test",
)  # fmt: skip


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    """Healthy and COVID-19 in turn, `TRAINED` and then `TESTED`: the classes differ inside the lungs alone."""
    kinds = (PhantomKind.HEALTHY, PhantomKind.COVID)
    return [draw(n, kinds[n % 2], size=(SIZE, SIZE)) for n in range(TRAINED + TESTED)]


def frame(phantom: Phantom, marked: bool, on: PhantomKind = PhantomKind.COVID) -> np.ndarray:
    """The radiograph, with a white square in its upper left corner where the class `on` is marked and it is of it."""
    pixels_HW = phantom.pixels_HW.copy()
    if marked and phantom.kind is on:
        pixels_HW[:6, :6] = 255
    return pixels_HW


def with_the_mark_moved(model: str, phantoms: list[Phantom]) -> tuple[float, float]:
    """AUROC of COVID-19 with the mark on the healthy, and with it where it was but the annotated lungs blacked out."""
    moved_BHW = np.stack([frame(one, True, on=PhantomKind.HEALTHY) for one in phantoms])
    lungs_BHW = np.stack([one.lung_HW for one in phantoms])
    black_BHW = alter(np.stack([frame(one, True) for one in phantoms]), lungs_BHW, LUNGS_REMOVED)
    truth = np.array([one.kind is PhantomKind.COVID for one in phantoms], np.int8)
    with load_model(model, batch_size=32) as loaded:
        found = [roc.auroc(loaded.predict(each).probabilities["covid"], truth) for each in (moved_BHW, black_BHW)]
    assert found[0] is not None
    assert found[1] is not None
    return found[0], found[1]


def train(root: Path, phantoms: list[Phantom], marked: bool, cured: bool) -> str:
    """A small COMiT-Net, trained a few epochs, if cured on the lungs alone; the URI of its checkpoint."""
    options = {"appearance": ("surroundings",), "appearance_chance": 1.0} if cured else {}
    looks = [appearance_of(CONFIG.train.model_copy(update=options), epoch) for epoch in range(EPOCHS)]
    torch.manual_seed(SEED)
    frames = torch.from_numpy(np.stack([frame(one, marked) for one in phantoms]))
    masks = torch.from_numpy(np.stack([np.stack([one.lung_HW, one.disease_HW]) for one in phantoms])).to(torch.uint8)
    covid = torch.tensor([int(one.kind is PhantomKind.COVID) for one in phantoms])
    model = build_model(CONFIG.model)
    objective, optimiser = Objective(model, CONFIG), make_optimiser(model, CONFIG.train, fused=True)
    for change in looks:
        batches = []
        for rows in torch.randperm(len(phantoms)).split(CONFIG.train.batch_size):
            none = torch.zeros(len(rows), dtype=torch.int64)
            batch = Batch(frames[rows], masks[rows], covid[rows], covid[rows], none, none, rows)
            batches.append(batch if change is None else change(batch, torch.stack([rows, none], dim=1).numpy()))
        train_epoch(objective, optimiser, batches, [CONFIG.train.lr] * len(batches), CONFIG, torch.device("cpu"))
    directory = root / "checkpoint"
    directory.mkdir()
    points = {"specificity_0.90": {"covid": Threshold(threshold=0.5)}}
    state = TrainingState(history=[{"epoch": EPOCHS}], optimiser={}, random=[])
    checkpoint.save(directory, model, CONFIG, points, {}, state)
    return str(directory)


def write(root: Path, phantoms: list[Phantom], marked: bool) -> str:
    """The phantoms as files of two sources with as much COVID-19 each; the URI of their manifest."""
    rows = []
    for number, phantom in enumerate(phantoms):
        file, covid = root / f"{number:03d}.png", int(phantom.kind is PhantomKind.COVID)
        Image.fromarray(frame(phantom, marked)).save(file)
        image_id = f"{'ab'[number // 2 % 2]}/{number:03d}"
        rows.append(manifest_row(image_id, uri=str(file), covid=covid, unhealthy=covid, other=0))
    rows.sort(key=lambda row: str(row["image_id"]))
    return write_rows(root / "manifest", rows, MANIFEST)


def audited(root: Path, phantoms: list[Phantom], marked: bool, cured: bool = False) -> Audit:
    """Trained, screened and audited."""
    root.mkdir()
    model = train(root, phantoms[:TRAINED], marked, cured)
    manifest, results = write(root, phantoms[TRAINED:], marked), str(root / "results")
    options = ["--manifest", manifest, "--checkpoint", model, "--output", results, "--embeddings", "true"]
    options += ["--variants", "[lungs_only,lungs_removed,borders_cropped]"]
    assert screen_job.job(cli.parse(ScreenConfig, "", [*options, "--max_failed_share", "1"])) == 0
    return audit(join_tables(results, manifest, "test"), results, "test", 500, 0)


def values(found: Audit) -> dict[str, float]:
    """Of all images, by metric."""
    return {one.metric: one.value for one in found.metrics if one.group == "all" and one.value is not None}


def caught(found: Audit) -> list[str]:
    return [sentence for sentence in audit_sentences(found) if sentence.startswith(CAUGHT)]


def test_a_mark_is_caught_and_its_absence_is_not(phantoms, here, tmp_path) -> None:
    marked, plain = (audited(tmp_path / name, phantoms, name == "marked") for name in ("marked", "plain"))
    cured = audited(tmp_path / "cured", phantoms, marked=True, cured=True)
    assert any("with the lungs blacked out the score still separates" in one for one in caught(marked)), (
        audit_sentences(marked)
    )
    assert any("without the borders" in one for one in caught(marked)), audit_sentences(marked)
    assert caught(plain) == [], audit_sentences(plain)
    of_mark, of_lungs = values(marked), values(plain)
    assert of_mark[audit_of.WHOLE] > 0.95, "a mark is easily learnt"
    assert of_mark[audit_of.REMOVED] > 0.9, "and needs no lungs"
    assert of_mark[audit_of.CROPPED] < of_mark[audit_of.WHOLE] - 0.1, "but the corner it is in"
    assert of_lungs[audit_of.WHOLE] > 0.8, "without it there are the lesions"
    assert of_lungs[audit_of.CROPPED] > 0.75, "which are not in the borders"
    of_cured = values(cured)
    assert caught(cured) == [], audit_sentences(cured)
    assert of_cured[audit_of.WHOLE] > 0.7, "it still tells the disease"
    assert of_mark[audit_of.REMOVED] > of_cured[audit_of.REMOVED] + 0.2

    tested = phantoms[TRAINED:]
    moved, blind = with_the_mark_moved(str(tmp_path / "marked" / "checkpoint"), tested)
    assert moved < 0.3, "it goes where the mark goes"
    assert blind > 0.9, "and needs nothing else"
    moved, blind = with_the_mark_moved(str(tmp_path / "cured" / "checkpoint"), tested)
    assert moved > of_cured[audit_of.WHOLE] - 0.1, "the cured one does not follow it"
    assert blind == pytest.approx(0.5, abs=0.15), "and outside the annotated lungs nothing"
