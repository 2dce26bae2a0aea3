import numpy as np
import pytest

from comit_ray.config.train_config import LossConfig
from comit_ray.training.validation import LossSums, Validation, merge, progress_line


def part(index: list[int], scores: list[float], labels: list[int], loss: float = 0.0) -> Validation:
    sums = LossSums(np.array([0, 0, 0, loss * len(index)]), np.array([0, 0, 0, len(index)], dtype=float), len(index))
    values = np.array(scores, dtype=np.float32)
    return Validation(
        sums,
        [np.array(index, dtype=np.int64)],
        {"covid": [values]},
        {"covid": [np.log(values / (1 - values))]},
        {"covid": [np.array(labels, dtype=np.int64)]},
        {"lung": [0.5] * len(index)},
    )


def test_figures_come_from_all_rows_not_from_an_average_of_workers() -> None:
    """Each worker alone has AUROC 1; together it is 0.75: averaging would hide it."""
    first, second = part([0, 2], [0.9, 0.8], [1, 0], loss=1.0), part([1, 3, 5], [0.3, 0.1, 0.2], [1, 0, 0], loss=2.0)
    assert first.metrics(LossConfig())["val_auroc_covid"] == second.metrics(LossConfig())["val_auroc_covid"] == 1
    whole = merge([first, second])
    figures = whole.metrics(LossConfig())
    assert figures["val_auroc_covid"] == pytest.approx(5 / 6)
    assert figures["val_loss_covid"] == pytest.approx(8 / 5)
    assert whole.known("covid")[0].tolist() == pytest.approx([0.9, 0.3, 0.8, 0.1, 0.2])
    assert whole.known("covid")[1].tolist() == [1, 1, 0, 0, 0]
    assert figures["val_images"] == 5


def test_the_number_of_workers_does_not_matter() -> None:
    whole = part([0, 1, 2, 3], [0.9, 0.3, 0.8, 0.1], [1, 1, 0, 0])
    parts = [part([0, 2], [0.9, 0.8], [1, 0]), part([1, 3], [0.3, 0.1], [1, 0]), part([], [], [])]
    assert merge(parts).metrics(LossConfig()) == whole.metrics(LossConfig())
    assert merge(parts).operating_points((0.5, 0.995)) == whole.operating_points((0.5, 0.995))
    assert set(whole.operating_points((0.5, 0.995))) == {"specificity_0.50", "specificity_0.995"}
    assert merge(parts).temperatures() == whole.temperatures()


def test_an_image_validated_twice_is_caught() -> None:
    with pytest.raises(AssertionError, match="two workers"):
        merge([part([0], [0.5], [1]), part([0], [0.5], [1])])


def test_unknown_labels_are_left_out_and_one_class_is_undefined() -> None:
    figures = part([0, 1, 2], [0.9, 0.2, 0.4], [1, -1, -1]).metrics(LossConfig())
    assert figures["val_auroc_covid"] is None
    assert figures["val_sensitivity_at_specificity_0.90_covid"] is None


def test_losses_are_weighted_and_summed_as_the_objective() -> None:
    sums = LossSums(np.array([6.0, 0, 4.0, 0]), np.array([3.0, 0, 2.0, 0]), 3)
    figures = sums.metrics("val", LossConfig(lung=2))
    assert figures["val_loss"] == 2 * 2 + 2
    assert figures["val_loss_lung"] == 2
    assert figures["val_loss_disease"] is None
    assert sums.metrics("val", LossConfig(reduction="sum"))["val_loss"] == 10


def test_the_progress_line_reads() -> None:
    figures = part([0, 1], [0.9, 0.2], [1, 0], loss=0.25).metrics(LossConfig())
    line = progress_line(0, 30, {**figures, "train_loss": 1.5, "images_per_second": 20.0})
    assert line.startswith("epoch 1/30  loss 1.500  val 0.250  (covid 0.250)  covid AUROC 1.000 sens@90 1.000")
    assert "lung IoU 0.500" in line
    timed = {"seconds_waiting": 0.1, "seconds_forward": 2.0, "seconds_backward": 4.0, "seconds_optimiser": 0.5}
    assert "waiting 0.1 s, forward 2.0 s, backward 4.0 s, optimiser 0.5 s" in progress_line(0, 1, {**figures, **timed})
    assert "IoU" not in progress_line(0, 1, {})
    assert "lung IoU -" in progress_line(0, 1, {"val_lung_iou": None})
