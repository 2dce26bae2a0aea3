import io
import shutil

import numpy as np
import pytest
from PIL import Image

from comit_ray.data.masks import boxes_reference, to_png
from comit_ray.errors import ManifestError, NotFoundError
from comit_ray.evaluation.scores import Figure, absent_heads, figures, head_of, join_tables
from tests.support import manifest_row, mask_row, prediction_row, write_results


def half(side: str) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[:, slice(0, 32) if side == "left" else slice(32, 64)] = True
    return mask


def score(tmp_path, manifest, predictions, masks=(), split="test") -> dict[tuple, Figure]:
    results, uri = write_results(tmp_path, manifest, predictions, list(masks))
    found = figures(join_tables(results, uri, split), split)
    return {(figure.group, figure.metric, figure.at): figure for figure in found}


def test_the_papers_arithmetic(tmp_path):
    """121 of 125 at 90% and 109 of 125 at 99% specificity over 6,174 others (paper, section 4.2)."""
    scores = np.concatenate([np.full(109, 0.9), np.full(12, 0.5), np.full(4, 0.05)])  # the positives
    others = np.concatenate([np.full(61, 0.95), np.full(556, 0.6), np.full(5557, 0.1)])
    manifest = [manifest_row(f"a/{i}", covid=int(i < 125)) for i in range(125 + 6174)]
    predictions = [prediction_row(f"a/{i}", float(p)) for i, p in enumerate(np.concatenate([scores, others]))]
    found = score(tmp_path, manifest, predictions)
    assert found["all", "sensitivity_at_specificity", 0.9].value == pytest.approx(121 / 125)
    assert found["all", "sensitivity_at_specificity", 0.99].value == pytest.approx(109 / 125)
    assert found["all", "sensitivity_at_specificity", 0.9].n == 125


def test_the_equal_error_rate_stands_beside_the_auroc(tmp_path):
    manifest = [manifest_row(f"a/{i}", covid=label, unhealthy=None) for i, label in enumerate([1, 1, 0, 0])]
    predictions = [prediction_row(f"a/{i}", p) for i, p in enumerate([0.9, 0.4, 0.6, 0.1])]
    found = score(tmp_path, manifest, predictions)
    assert (found["all", "eer", None].value, found["all", "eer", None].n) == (0.5, 4)
    assert (found["all", "unhealthy_eer", None].value, found["all", "unhealthy_eer", None].n) == (None, 0)


def test_any_list_of_specificities(tmp_path):
    manifest = [manifest_row(f"a/{i}", covid=int(i >= 10)) for i in range(12)]
    predictions = [prediction_row(f"a/{i}", (i % 10) / 10 + 0.05) for i in range(12)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    found = figures(join_tables(results, uri, "test"), "test", specificities=(0.1, 0.995))
    at = {f.at: f.value for f in found if f.metric == "sensitivity_at_specificity" and f.group == "all"}
    assert at == {0.1: 0.5, 0.995: 0.0}


def test_results_without_a_masks_table(tmp_path):
    """Scores alone, as of a classifier on embeddings; but a masks table that the predictions speak of must be there."""
    manifest = [manifest_row("a/1", covid=1), manifest_row("a/2", covid=0)]
    results, uri = write_results(tmp_path, manifest, [prediction_row("a/1", 0.9), prediction_row("a/2", 0.2)], [])
    shutil.rmtree(tmp_path / "results" / "masks")
    images = join_tables(results, uri, "test")
    assert absent_heads(images) == ["lung", "disease"]
    assert {f.metric: f.value for f in figures(images, "test") if f.group == "all"}["auroc"] == 1.0
    write_results(tmp_path, manifest, [prediction_row(f"a/{i}", 0.9, lung_area=0.2) for i in (1, 2)], [])
    shutil.rmtree(tmp_path / "results" / "masks")
    with pytest.raises(NotFoundError):
        join_tables(results, uri, "test")


@pytest.mark.parametrize(
    ("metric", "head"),
    [
        ("auroc", "covid"),
        ("specificity_at_operating_point", "covid"),
        ("unhealthy_eer", "unhealthy"),
        ("lung_iou", "lung"),
        ("disease_dice", "disease"),
        ("share", None),
        ("unreadable_masks", None),
    ],
)
def test_every_figure_belongs_to_a_head(metric, head):
    assert head_of(metric) == head


def test_a_frozen_threshold_has_its_wilson_interval(tmp_path):
    """121 of 125: Wilson 95% [0.9207, 0.9875] (Newcombe 1998, method 3, computed by hand)."""
    manifest = [manifest_row(f"a/{i}", covid=1) for i in range(125)]
    predictions = [prediction_row(f"a/{i}", 0.9 if i < 121 else 0.1) for i in range(125)]
    found = score(tmp_path, manifest, predictions)["all", "sensitivity_at_operating_point", "specificity_0.90"]
    z, n, p = 1.959964, 125, 121 / 125
    centre, spread = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert found.low == pytest.approx((centre - spread) / (1 + z * z / n), abs=1e-6)
    assert found.high == pytest.approx((centre + spread) / (1 + z * z / n), abs=1e-6)
    assert found.value == 121 / 125


def test_undefined_is_null_never_a_number(tmp_path):
    found = score(tmp_path, [manifest_row("a/1", covid=1)], [prediction_row("a/1", 0.9)])
    assert found["all", "auroc", None].value is None
    assert found["all", "sensitivity_at_specificity", 0.9].value is None
    specificity = found["all", "specificity_at_operating_point", "specificity_0.90"]
    assert (specificity.value, specificity.n, specificity.low) == (None, 0, None)
    assert found["all", "lung_iou", None].value is None


def test_unknown_labels_failures_and_other_splits_do_not_count(tmp_path):
    manifest = [
        manifest_row("a/1", covid=1),
        manifest_row("a/2", covid=0),
        manifest_row("a/3", covid=None),
        manifest_row("a/4", covid=1),
        manifest_row("a/5", covid=1, split="train"),
    ]
    predictions = [prediction_row(f"a/{i}", p) for i, p in [(1, 0.9), (2, 0.2), (3, 0.9), (4, None), (5, 0.1)]]
    found = score(tmp_path, manifest, predictions)
    assert (found["all", "auroc", None].value, found["all", "auroc", None].n) == (1.0, 2)
    assert (found["all", "share", "failed"].value, found["all", "share", "failed"].n) == (0.25, 4)


def test_datasets_are_scored_alone_too(tmp_path):
    """Perfect between the sources, worthless inside each: the figure over all must not hide it."""
    manifest = [manifest_row(f"{d}/{i}", covid=int((d == "b") != (i < 2))) for d in "ab" for i in range(42)]
    predictions = [prediction_row(row["image_id"], 0.9 if row["dataset"] == "b" else 0.1) for row in manifest]
    found = score(tmp_path, manifest, predictions)
    assert found["all", "auroc", None].value > 0.9
    assert found["dataset=a", "auroc", None].value == found["dataset=b", "auroc", None].value == 0.5


def test_segmentation_counts_known_pixels_only(tmp_path):
    truth = np.full((64, 64), 127, np.uint8)  # the right half is unknown
    truth[:, :32] = 0
    truth[:32, :32] = 255
    buffer = io.BytesIO()
    Image.fromarray(truth).save(buffer, "PNG")
    (tmp_path / "lung.png").write_bytes(buffer.getvalue())
    manifest = [
        manifest_row("a/1", lung_mask=str(tmp_path / "lung.png")),
        manifest_row("a/2", disease_mask=boxes_reference([(0, 0, 512, 512)], 1024, 1024)),
    ]
    masks = [
        mask_row("a/1", lung_png=to_png(np.ones((64, 64), bool)), disease_png=to_png(half("left"))),
        mask_row("a/2", lung_png=to_png(half("left")), disease_png=to_png(half("left"))),
    ]
    found = score(tmp_path, manifest, [prediction_row("a/1"), prediction_row("a/2")], masks)
    assert (found["all", "lung_iou", None].value, found["all", "lung_iou", None].n) == (0.5, 1)
    assert (found["all", "disease_tpr", None].value, found["all", "disease_tpr", None].n) == (1.0, 1)
    assert found["all", "disease_precision", None].value == 0.5
    assert found["all", "disease_dice", None].value == pytest.approx(2 / 3)


def test_a_screen_that_is_not_complete_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="1 of 2 images of split 'test' have no prediction"):
        score(tmp_path, [manifest_row("a/1"), manifest_row("a/2")], [prediction_row("a/1")])


def test_a_mask_that_cannot_be_read_is_counted_not_fatal(tmp_path):
    manifest = [
        manifest_row("a/1", lung_mask=boxes_reference([(0, 0, 512, 1024)], 1024, 1024)),
        manifest_row("a/2", lung_mask=str(tmp_path / "absent.png")),
    ]
    masks = [mask_row(f"a/{i}", lung_png=to_png(half("left"))) for i in (1, 2)]
    found = score(tmp_path, manifest, [prediction_row("a/1"), prediction_row("a/2")], masks)
    assert (found["all", "lung_iou", None].value, found["all", "lung_iou", None].n) == (1.0, 1)
    assert (found["all", "unreadable_masks", None].value, found["all", "unreadable_masks", None].n) == (0.5, 2)


def test_null_flags_are_not_negatives(tmp_path):
    manifest = [manifest_row(f"a/{i}", covid=1, unhealthy=1) for i in range(4)]
    predictions = [prediction_row(f"a/{i}", 0.9, unhealthy_flag=None) for i in range(4)]
    found = score(tmp_path, manifest, predictions)
    unhealthy = found["all", "unhealthy_sensitivity_at_operating_point", None]
    assert (unhealthy.value, unhealthy.n) == (None, 0)
    assert found["all", "sensitivity_at_operating_point", "specificity_0.90"].value == 1
