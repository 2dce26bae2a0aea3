"""Figures of masks, by hand, from tables with drawn masks."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import Status
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.evaluation.segmentation import COLUMNS, mask_blocks, segmentation_counts
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import Metric
from tests.support import manifest_row, mask_row, prediction_row, write_results

LEFT_BOX = boxes_reference([(0, 0, 32, 64)], 64, 64)
LEFT, TOP, ALL, NONE = (np.zeros((64, 64), bool) for _ in range(4))
LEFT[:, :32] = TOP[:32] = ALL[:] = True


def figures(images: pd.DataFrame, draws: int = 50) -> dict[str, Metric]:
    counts = segmentation_counts(images[images["status"] == Status.OK])
    return {
        figure.metric: figure
        for figure in measure(mask_blocks(images, counts), images["patient_id"], "test", "all", draws)
    }


def screened(tmp_path: Path, manifest: list, predictions: list, masks: list) -> pd.DataFrame:
    return join_tables(*write_results(tmp_path, manifest, predictions, masks), "test")


def test_by_hand(tmp_path: Path) -> None:
    """Lungs: IoU 1/3 and 1/2, Dice 1/2 and 2/3. Disease: TPR 1 and precision 1/2, another image all missed."""
    manifest = [
        manifest_row("a/1", lung_mask=LEFT_BOX, disease_mask=LEFT_BOX, unhealthy=1),
        manifest_row("a/2", lung_mask=LEFT_BOX, disease_mask=LEFT_BOX, unhealthy=1),
        manifest_row("a/3", unhealthy=0),
    ]
    predictions = [prediction_row(f"a/{i}", lung_area=0.5, disease_area=0.5) for i in (1, 2, 3)]
    masks = [
        mask_row("a/1", lung_png=to_png(TOP), disease_png=to_png(ALL)),
        mask_row("a/2", lung_png=to_png(ALL), disease_png=to_png(NONE)),
        mask_row("a/3", lung_png=to_png(ALL), disease_png=to_png(ALL)),
    ]
    found = figures(screened(tmp_path, manifest, predictions, masks))
    half = 2048
    values = {
        "lung_iou": (1 / 3 + 1 / 2) / 2,
        "lung_iou_pooled": (1024 + half) / (3072 + 4096),
        "lung_dice": (1 / 2 + 2 / 3) / 2,
        "disease_tpr": half / (2 * half),
        "disease_precision": half / (2 * half),
        "disease_dice": 2 * half / (4 * half),
        "disease_iou": half / (3 * half),
        "disease_area_on_healthy": 0.5,
        "disease_painted_on_healthy": 1.0,
    }
    assert {metric: figure.value for metric, figure in found.items()} == pytest.approx(values)
    assert [figure.n for figure in found.values()] == [2] * 7 + [1] * 2


def test_what_is_painted_on_healthy_images(tmp_path: Path) -> None:
    """Mean of 0, 0.1 and 0.5, two of three painted; unhealthy, unknown and failed images do not count."""
    manifest = [manifest_row(f"a/{i}", unhealthy=label) for i, label in enumerate([0, 0, 0, 1, None, 0])]
    areas = [0.0, 0.1, 0.5, 0.9, 0.9]
    predictions = [prediction_row(f"a/{i}", disease_area=area) for i, area in enumerate(areas)]
    found = figures(screened(tmp_path, manifest, [*predictions, prediction_row("a/5", None)], []))
    area, painted = found["disease_area_on_healthy"], found["disease_painted_on_healthy"]
    assert (area.value, painted.value) == pytest.approx((0.2, 2 / 3))
    assert (area.n, area.interval) == (3, "image bootstrap")
    assert (painted.n, painted.interval) == (3, "wilson")


def test_the_interval_of_a_mask_figure_draws_patients(tmp_path: Path) -> None:
    """Two patients, one with a perfect lung and one with a bad: draws give 1, 1/3, or both."""
    manifest = [manifest_row(f"a/{i}", patient_id="p" if i < 3 else "q", lung_mask=LEFT_BOX) for i in range(6)]
    predictions = [prediction_row(row["image_id"]) for row in manifest]
    masks = [mask_row(f"a/{i}", lung_png=to_png(LEFT if i < 3 else TOP)) for i in range(6)]
    found = figures(screened(tmp_path, manifest, predictions, masks), 200)["lung_iou"]
    assert (found.low, found.value, found.high) == pytest.approx((1 / 3, 2 / 3, 1))
    assert (found.n, found.patients, found.interval) == (6, 2, "patient bootstrap")


def test_only_known_pixels_count(tmp_path: Path) -> None:
    truth = np.full((64, 64), 127, np.uint8)  # the right half is unknown
    truth[:, :32] = 0
    truth[:32, :32] = 255
    buffer = io.BytesIO()
    Image.fromarray(truth).save(buffer, "PNG")
    (tmp_path / "lung.png").write_bytes(buffer.getvalue())
    manifest = [manifest_row("a/1", lung_mask=str(tmp_path / "lung.png"))]
    images = screened(tmp_path, manifest, [prediction_row("a/1")], [mask_row("a/1", lung_png=to_png(ALL))])
    counts = segmentation_counts(images)
    assert counts[["task", "hits", "predicted", "true"]].to_dict("records") == [
        {"task": "lung", "hits": 1024, "predicted": 2048, "true": 1024}
    ]
    assert figures(images)["lung_iou"].value == 0.5


def test_a_mask_that_cannot_be_read_is_counted_not_fatal(tmp_path: Path) -> None:
    """One of four true masks, of three images."""
    manifest = [
        manifest_row("a/1", lung_mask=LEFT_BOX, disease_mask=LEFT_BOX),
        manifest_row("a/2", lung_mask=str(tmp_path / "absent.png")),
        manifest_row("a/3", lung_mask=LEFT_BOX),
    ]
    masks = [mask_row(f"a/{i}", lung_png=to_png(LEFT), disease_png=to_png(LEFT)) for i in (1, 2, 3)]
    found = figures(screened(tmp_path, manifest, [prediction_row(f"a/{i}") for i in (1, 2, 3)], masks))
    assert (found["unreadable_masks"].value, found["unreadable_masks"].n) == (0.25, 3)
    assert (found["lung_iou"].value, found["lung_iou"].n) == (1.0, 2)


def test_boxes_in_place_of_drawn_lungs(tmp_path: Path) -> None:
    """A lung of a triangle's shape becomes the rectangle around it."""
    triangle = np.tril(np.ones((64, 64), bool))
    Image.fromarray(triangle).save(tmp_path / "lung.png")
    manifest = [manifest_row("a/1", lung_mask=str(tmp_path / "lung.png"))]
    images = screened(tmp_path, manifest, [prediction_row("a/1")], [mask_row("a/1", lung_png=to_png(ALL))])
    true = {lungs: int(segmentation_counts(images, lungs)["true"].sum()) for lungs in ("pixels", "boxes")}
    assert true["pixels"] == triangle.sum()
    assert true["boxes"] > true["pixels"] * 1.3


def test_undefined_says_why(tmp_path: Path) -> None:
    """No pair of masks; a pair whose truth is empty; nothing at all."""
    nothing = pd.DataFrame(columns=COLUMNS)
    images = screened(tmp_path, [manifest_row("a/1")], [prediction_row("a/1")], [])
    found = {entry.metric for block in mask_blocks(images, nothing) for entry in block.entries}
    assert "unreadable_masks" not in found
    assert "lung_iou" in found
    assert figures(images)["lung_iou"].reason is not None
    assert figures(images)["disease_tpr"].n == 0
    empty = pd.DataFrame([(0, "a/1", "disease", 0, 5, 0, None)], columns=COLUMNS)
    judged = measure(mask_blocks(images, empty), images["patient_id"], "test", "all", 10)
    (tpr,) = [figure for figure in judged if figure.metric == "disease_tpr"]
    assert (tpr.value, tpr.n, tpr.reason) == (None, 1, "the true masks mark no disease")
