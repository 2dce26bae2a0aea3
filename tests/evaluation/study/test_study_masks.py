"""Segmentation figures of a study, by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comit_ray.data.masks.mask_references import boxes_reference
from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation.study import study_masks, study_results
from comit_ray.evaluation.study.study_metrics import summarise
from tests.evaluation.study_tree import Images, write_study
from tests.support import mask_row

HALF = boxes_reference([(0, 0, 32, 64)], 64, 64)
TOP, ALL, NONE = np.zeros((64, 64), bool), np.ones((64, 64), bool), np.zeros((64, 64), bool)
TOP[:32] = True


def test_by_hand(tmp_path: Path) -> None:
    """Lungs: IoU 1/3 and 1/2, pooled 3072/7168. Disease: half is painted wrongly, and a tenth of the healthy frame."""
    more: dict[str, list[Any]] = {
        "lung_mask": [HALF, HALF, None],
        "disease_mask": [HALF, None, "/nowhere.png"],
        "unhealthy": [1, 1, 0],
    }
    masks = [
        mask_row("a/000", lung_png=to_png(TOP), disease_png=to_png(ALL)),
        mask_row("a/001", lung_png=to_png(ALL), disease_png=to_png(ALL)),
        mask_row("a/002", lung_png=to_png(NONE), disease_png=to_png(NONE)),
    ]
    areas = [{"lung_area": 0.5, "disease_area": area} for area in (1.0, 1.0, 0.1)]
    made = write_study(
        tmp_path,
        Images([1, 1, 0], more=more),
        {"COMiT-Net": [[0.9, 0.9, 0.1]] * 2, "no masks": [[0.9, 0.9, 0.1]]},
        masks={"COMiT-Net": masks},
        areas={"COMiT-Net": areas},
        tasks={"no masks": ["covid"]},
    )
    taken = study_results.read(*made)
    measured, unreadable = study_masks.measure_masks(taken, made[1], "pixels")
    assert measured is not None
    assert unreadable == 1
    rows = {row.key: row for row in summarise(taken, measured, 50, 0)}
    assert {row.variant for row in rows.values()} == {"COMiT-Net"}
    found = {key.metric: (row.values[0], row.n) for key, row in rows.items()}
    assert found == {
        "lung_iou": (pytest.approx((1 / 3 + 1 / 2) / 2), 2),
        "lung_iou_pooled": (pytest.approx((1024 + 2048) / (3072 + 4096)), 2),
        "disease_tpr": (1.0, 1),
        "disease_precision": (0.5, 1),
        "disease_dice": (pytest.approx(2 / 3), 1),
        "disease_area_on_healthy": (pytest.approx(0.1), 1),
    }
    assert rows[study_masks.LUNG_IOU].spread.deviation == 0


def test_weights_count_an_image_as_often(tmp_path: Path) -> None:
    more: dict[str, list[Any]] = {"lung_mask": [HALF, HALF], "disease_mask": [None, None]}
    masks = [mask_row("a/000", lung_png=to_png(TOP)), mask_row("a/001", lung_png=to_png(ALL))]
    made = write_study(
        tmp_path,
        Images([1, 1], more=more),
        {"A": [[0.9, 0.9]]},
        masks={"A": masks},
        areas={"A": [{"lung_area": 0.5}] * 2},
        tasks={"A": ["lung"]},
    )
    measured, _ = study_masks.measure_masks(study_results.read(*made), made[1], "pixels")
    assert measured is not None
    found = measured.statistic(np.array([3, 1]))
    assert found[study_masks.LUNG_IOU] == pytest.approx([(3 / 3 + 1 / 2) / 4])
    assert found[study_masks.LUNG_IOU_POOLED] == pytest.approx([(3 * 1024 + 2048) / (3 * 3072 + 4096)])
    assert np.isnan(found[study_masks.DISEASE_TPR]).all()
    assert np.isnan(measured.statistic(np.array([0, 0]))[study_masks.LUNG_IOU]).all()


def test_no_masks(tmp_path: Path) -> None:
    made = write_study(tmp_path, Images([1, 0]), {"A": [[0.9, 0.1]]})
    assert study_masks.measure_masks(study_results.read(*made), made[1], "pixels") == (None, 0)
