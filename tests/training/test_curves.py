import io
import sys
from subprocess import run

import numpy as np
import pytest
from PIL import Image

from comit_ray.training.curves import draw
from comit_ray.training.validation import TIMED, EpochMetrics


def figures(epoch: int, **changes: float | None) -> EpochMetrics:
    tasks = {f"{split}_loss_{task}": 0.5 / epoch for split in ("train", "val") for task in ("lung", "covid")}
    scores = {"val_auroc_covid": 0.7, "val_sensitivity_at_specificity_0.90_covid": 0.4, "val_lung_iou": 0.8}
    seconds = {f"seconds_{part}": 1.0 for part in TIMED} | {"seconds_training": 5.0, "seconds_validation": 2.0}
    rest = {"epoch": epoch, "images_per_second": 20.0, "learning_rate": 5e-5}
    return {"train_loss": 2 / epoch, "val_loss": 3 / epoch, **tasks, **scores, **seconds, **rest, **changes}


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_the_same_figures_give_the_same_picture():
    history = [figures(epoch) for epoch in (1, 2, 3)]
    image = pixels(draw(history, "run"))
    assert image.shape[1] == 1820
    assert np.array_equal(image, pixels(draw(history, "run")))


@pytest.mark.parametrize(
    "name",
    [
        "train_loss",
        "val_loss",
        "train_loss_lung",
        "val_loss_covid",
        "val_auroc_covid",
        "val_sensitivity_at_specificity_0.90_unhealthy",
        "val_disease_iou",
        "seconds_waiting",
        "images_per_second",
        "learning_rate",
    ],
)
def test_every_value_shows(name: str):
    one, other = (pixels(draw([{"epoch": 1, name: 0.5}, {"epoch": 2, name: value}], "run")) for value in (0.5, 0.6))
    assert one.shape == other.shape
    assert (one != other).any()


def test_panels_without_a_value_are_left_out():
    whole = pixels(draw([figures(1), figures(2)], "run"))
    losses = [{"epoch": epoch, "train_loss": 2.0, "val_loss": 1.0, "val_auroc_covid": None} for epoch in (1, 2)]
    two_panels = [{**row, "val_auroc_covid": 0.5} for row in losses]
    assert pixels(draw(losses, "run")).shape == pixels(draw(two_panels, "run")).shape  # one row of panels
    assert pixels(draw(losses, "run")).shape[0] < whole.shape[0] / 2


def test_an_undefined_value_is_a_gap_not_a_zero():
    def iou(*values: float | None) -> np.ndarray:
        return pixels(draw([{"epoch": e, "val_lung_iou": v} for e, v in enumerate(values, start=1)], "run"))

    def ink(image: np.ndarray) -> int:
        """Pixels in the colour of the lungs' line."""
        return int((image == (0x00, 0x9E, 0x73)).all(axis=2).sum())

    whole, gap, zero = iou(0.9, 0.9, 0.9, 0.9), iou(0.9, None, 0.9, 0.9), iou(0.9, 0.0, 0.9, 0.9)
    assert ink(gap) < 0.8 * ink(whole) < ink(zero)
    assert np.array_equal(gap, iou(0.9, float("nan"), 0.9, 0.9))
    assert ink(iou(0.9, None, 0.9, None)) > ink(iou(0.9, None, None, None)) > 0  # a dot where no line can be


def test_a_lone_value_in_a_long_training_is_seen():
    def ink(lone: float | None) -> int:
        scores = {30: lone, 40: 0.5, 41: 0.5}
        image = pixels(draw([{"epoch": e, "val_lung_iou": scores.get(e)} for e in range(1, 61)], "run"))
        return int((image == (0x00, 0x9E, 0x73)).all(axis=2).sum())

    assert ink(0.5) > ink(None) + 20


def test_one_epoch_is_drawn_and_the_best_is_marked():
    def losses(*values: float) -> np.ndarray:
        history: list[EpochMetrics] = [{"epoch": e, "val_loss": v} for e, v in enumerate(values, start=1)]
        return pixels(draw(history, ""))[60:440, 100:1600]  # inside the axes, where nothing else is black

    def star(image: np.ndarray) -> float:
        return float(np.argwhere((image < 40).all(axis=2))[:, 1].mean()) / image.shape[1]

    assert star(losses(1.0)) == pytest.approx(0.5, abs=0.1)
    assert star(losses(1.0, 1.2, 1.5)) < 0.3
    assert star(losses(1.5, 1.2, 1.0)) > 0.7


def test_no_epoch_or_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="got 0 epochs"):
        draw([], "run")
    with pytest.raises(ValueError, match=r"got 1 epoch$"):
        draw([{"epoch": 1, "val_loss": None}], "run")


def test_a_title_is_shown_as_it_is():
    draw([figures(1)], "$x_{ no formula")


def test_what_is_slow_to_import_comes_when_it_is_needed():
    modules = "comit_ray.training.tracking, comit_ray.training.curves"
    code = f"import sys, {modules}; print({{'matplotlib', 'mlflow', 'tensorboardX'}} & set(sys.modules))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
