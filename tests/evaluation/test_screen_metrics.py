import shutil

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.chunks import run_record
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import ManifestError, NotFoundError
from comit_ray.evaluation.screen_metrics import absent_heads, head_of, join_predictions, join_tables, screen_metrics
from comit_ray.screening.mask_choice import setting
from comit_ray.statistics.metric import Metric, share
from comit_ray.tables import parquet
from comit_ray.tables.schema import PREDICTIONS
from tests.support import manifest_row, mask_row, prediction_row, supersede, write_results, write_rows


def score(tmp_path, manifest, predictions, masks=(), split="test") -> dict[tuple, Metric]:
    results, uri = write_results(tmp_path, manifest, predictions, list(masks))
    found = screen_metrics(join_tables(results, uri, split), split, draws=20)
    return {(figure.group, figure.metric, figure.at): figure for figure in found if figure.level == "image"}


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
    found = screen_metrics(join_tables(results, uri, "test"), "test", specificities=(0.1, 0.995), draws=5)
    at = {f.at: f.value for f in found if f.metric == "sensitivity_at_specificity" and f.group == "all"}
    assert at == {0.1: 0.5, 0.995: 0.0}


def test_results_without_a_masks_table(tmp_path):
    """Scores alone, as of a classifier on embeddings; but a masks table that the predictions speak of must be there."""
    manifest = [manifest_row("a/1", covid=1), manifest_row("a/2", covid=0)]
    results, uri = write_results(tmp_path, manifest, [prediction_row("a/1", 0.9), prediction_row("a/2", 0.2)], [])
    shutil.rmtree(tmp_path / "results" / "masks")
    images = join_tables(results, uri, "test")
    assert absent_heads(images) == ["lung", "disease"]
    assert {f.metric: f.value for f in screen_metrics(images, "test", draws=5) if f.group == "all"}["auroc"] == 1.0
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
        ("covid_called_unhealthy", "unhealthy"),
        ("missed_without_abnormality", "covid"),
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


def test_a_screen_that_is_not_complete_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"every image of split 'test' in .*, got none for 1 of 2:"):
        score(tmp_path, [manifest_row("a/1"), manifest_row("a/2")], [prediction_row("a/1")])


def test_null_flags_are_not_negatives(tmp_path):
    manifest = [manifest_row(f"a/{i}", covid=1, unhealthy=1) for i in range(4)]
    predictions = [prediction_row(f"a/{i}", 0.9, unhealthy_flag=None) for i in range(4)]
    found = score(tmp_path, manifest, predictions)
    unhealthy = found["all", "unhealthy_sensitivity_at_operating_point", None]
    assert (unhealthy.value, unhealthy.n) == (None, 0)
    assert found["all", "sensitivity_at_operating_point", "specificity_0.90"].value == 1


def test_what_the_manifest_knows_is_joined(tmp_path):
    """The view is that of the prediction, which may be a DICOM header's; that of the manifest where it has none."""
    known = {"study_id": "s", "sex": "F", "age": 40.0, "site": "x", "device": "d", "illness_day": 3}
    manifest = [manifest_row("a/1", view="unknown", **known), manifest_row("a/2", view="AP")]
    predictions = [prediction_row("a/1", view="PA"), prediction_row("a/2", None, view=None)]
    images = join_tables(*write_results(tmp_path, manifest, predictions, []), "test")
    assert images["view"].tolist() == ["PA", "AP"]
    assert images.loc[0, list(known)].to_dict() == known
    assert images["patient_id"].tolist() == ["a/1", "a/2"]


def test_images_of_one_patient_are_drawn_together(tmp_path):
    """At a frozen threshold too: Wilson's interval would count two images of a patient as two patients."""
    manifest = [manifest_row(f"a/{i}", covid=1, patient_id=f"p{i // 2}") for i in range(20)]
    predictions = [prediction_row(f"a/{i}", 0.9 if i < 14 else 0.1) for i in range(20)]
    found = score(tmp_path, manifest, predictions)["all", "sensitivity_at_operating_point", "specificity_0.90"]
    assert (found.value, found.n, found.patients, found.interval) == (0.7, 20, 10, "patient bootstrap")


def test_every_defined_figure_has_an_interval_or_a_reason(tmp_path):
    rng = np.random.default_rng(0)
    manifest = [
        manifest_row(f"{'ab'[i % 2]}/{i}", covid=i % 3 // 2, unhealthy=i % 2, patient_id=f"p{i // 2}", study_id=f"s{i}")
        for i in range(60)
    ]
    manifest.sort(key=lambda row: row["dataset"])
    predictions = [prediction_row(row["image_id"], float(rng.random()), disease_area=0.1) for row in manifest]
    results, uri = write_results(tmp_path, manifest, predictions, [mask_row(row["image_id"]) for row in manifest])
    found = screen_metrics(join_tables(results, uri, "test"), "test", draws=60)
    assert {figure.group for figure in found} == {"all", "dataset=a", "dataset=b"}
    for figure in found:
        if figure.value is None or figure.low is None:
            assert figure.reason, figure
        else:
            assert figure.low <= figure.high, figure
            assert figure.interval, figure
            assert figure.patients <= figure.n, figure


def test_more_figures_may_be_asked_for(tmp_path):
    """Of every group, beside the rest."""
    results, uri = write_results(tmp_path, [manifest_row("a/1")], [prediction_row("a/1")], [])
    images = join_tables(results, uri, "test")
    found = screen_metrics(
        images, "test", draws=5, more=lambda rows: [share("mine", rows["p_covid"] > 0, rows["p_covid"] > 0)]
    )
    assert [(f.group, f.value, f.n) for f in found if f.metric == "mine"] == [("all", 1, 1), ("dataset=a", 1, 1)]


def test_a_bare_predictions_table(tmp_path):
    """Columns that it lacks are null; there are no masks."""
    manifest = [manifest_row("a/1", covid=1, unhealthy=0), manifest_row("a/2", covid=0, unhealthy=0)]
    _, uri = write_results(tmp_path, manifest, [], [])
    bare = pa.table(
        {"image_id": ["a/1", "a/2"], "status": ["ok", "ok"], "p_covid": [0.9, 0.1], "disease_area": [0.0, 0.4]}
    )
    parquet.write_table(str(tmp_path / "bare.parquet"), bare)
    images = join_predictions(str(tmp_path / "bare.parquet"), uri, "test")
    assert absent_heads(images) == ["unhealthy", "lung"]
    found = {f.metric: f for f in screen_metrics(images, "test", draws=5) if f.group == "all"}
    assert found["auroc"].value == 1
    assert found["disease_area_on_healthy"].value == 0.2
    assert found["disease_tpr"].value is None
    assert found["sensitivity_at_operating_point"].value is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p_covid": float("nan")}, "expected finite scores or nulls in p_covid, got 1"),
        ({"p_unhealthy": float("inf")}, "nulls in p_unhealthy, got 1"),
        ({"status": "fine"}, "expected a status of ok, excluded, failed, got 'fine'"),
        ({"image_id": "a/2"}, "got 1 duplicate row"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path, changes, message):
    """A NaN is no score: it must not become one that is left out."""
    manifest = [manifest_row("a/1", covid=1), manifest_row("a/2", covid=0)]
    predictions = [prediction_row("a/1", 0.9) | changes, prediction_row("a/2", 0.2)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    with pytest.raises(ManifestError, match=message):
        join_tables(results, uri, "test")
    with pytest.raises(ManifestError, match=message):
        join_predictions(f"{results}/predictions", uri, "test")


def test_no_predictions_table(tmp_path):
    _, uri = write_results(tmp_path, [manifest_row("a/1")], [], [])
    with pytest.raises(ManifestError, match=r"expected a predictions table .*, but it lacks the columns status"):
        join_predictions(uri, uri, "test")
    empty = write_rows(tmp_path / "empty", [], PREDICTIONS)
    with pytest.raises(ManifestError, match=r"every image of split 'test' in .*, got none for 1 of 1:"):
        join_predictions(empty, uri, "test")


def test_masks_of_a_selection_make_no_figure(tmp_path):
    """Of a screen with `--masks flagged`: the flagged are not the archive."""
    png = to_png(np.ones((4, 4), bool))
    manifest = [manifest_row("a/0"), manifest_row("a/1")]
    rows = [prediction_row("a/0", 0.9, lung_area=1.0), prediction_row("a/1", 0.1, lung_area=None)]
    masks = [mask_row("a/0", lung_png=png), mask_row("a/1")]
    results, uri = write_results(tmp_path, manifest, rows, masks)
    assert join_tables(results, uri, "test")["lung_area"].notna().sum() == 1
    run_record.open_run(results, {"masks": setting("flagged")}, {}, "none there")
    found = join_tables(results, uri, "test")
    assert found[["lung_png", "disease_png", "lung_area", "disease_area"]].isna().all(axis=None)
    assert found["p_covid"].notna().all()


def test_of_a_file_that_has_changed_the_newest_version_counts(tmp_path):
    manifest = [manifest_row("a/1", covid=1), manifest_row("a/1@2", patient_id="a/1", covid=1, version=2)]
    manifest.append(manifest_row("a/2", covid=0))
    predictions = [prediction_row("a/1", 0.1), prediction_row("a/1@2", 0.9), prediction_row("a/2", 0.2)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    assert len(join_tables(results, uri, "test")) == 3
    supersede(tmp_path / "manifest", {"a/1": "a/1@2"})
    images = join_tables(results, uri, "test")
    assert images["image_id"].tolist() == ["a/1@2", "a/2"]
    assert join_predictions(f"{results}/predictions", uri, "test")["image_id"].tolist() == ["a/1@2", "a/2"]
    figures = {figure.metric: figure for figure in screen_metrics(images, "test", draws=5) if figure.group == "all"}
    assert (figures["auroc"].value, figures["auroc"].n) == (1.0, 2)
