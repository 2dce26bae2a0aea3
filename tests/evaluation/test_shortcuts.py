"""The audit on made-up screens: one whose score comes from a mark and its sources, one whose score comes from lungs."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation import shortcuts_report
from comit_ray.evaluation.screen_metrics import join_tables
from comit_ray.evaluation.shortcuts import Audit, audit, source_probe_block
from comit_ray.tables.schema import EMBEDDINGS, GRADCAM, VARIANTS
from tests.support import manifest_row, mask_row, prediction_row, write_results, write_rows

COUNT = 120
VARIANT_NAMES = ("lungs_only", "lungs_removed", "borders_cropped")
LUNGS = np.zeros((32, 32), bool)
LUNGS[8:24, 8:24] = True  # a quarter of the frame


def _heat(inside: float) -> bytes:
    """A map of which this share lies in the lungs."""
    map_HW = np.zeros((32, 32), np.uint8)
    map_HW[0, :10] = round(100 * (1 - inside))
    map_HW[10, 10:20] = round(100 * inside)
    buffer = io.BytesIO()
    Image.fromarray(map_HW).save(buffer, "PNG")
    return buffer.getvalue()


def _screen(root: Path, shortcut: bool, sides: tuple[str, ...] = ("variants", "embeddings", "gradcam")) -> Audit:
    """120 images of 120 patients; with a shortcut COVID-19 is of source b alone, and known without the lungs."""
    rng = np.random.default_rng(3)
    covid = np.arange(COUNT) % 3 == 0
    source = np.where((np.arange(COUNT) % 2 == 0) | (covid & shortcut), "b", "a")
    if shortcut:
        source[~covid] = np.where(np.arange((~covid).sum()) % 2 == 0, "a", "b")
    order = np.argsort(source, kind="stable")
    covid, source = covid[order], source[order]
    good = 0.2 + 0.5 * covid + rng.normal(0, 0.15, COUNT)
    noise = rng.random(COUNT)
    scores = {
        "lungs_only": noise if shortcut else good,
        "lungs_removed": good if shortcut else noise,
        "borders_cropped": noise if shortcut else good,
    }
    ids = [f"{name}/{number:03d}" for number, name in enumerate(source)]
    manifest = [
        manifest_row(one, dataset=str(name), covid=int(label), unhealthy=int(label), chunk=f"{name}-00000")
        for one, name, label in zip(ids, source, covid, strict=True)
    ]
    predictions = [
        prediction_row(one, float(np.clip(value, 0, 1)), lung_area=0.25) for one, value in zip(ids, good, strict=True)
    ]
    masks = [mask_row(one, lung_png=to_png(LUNGS)) for one in ids]
    results, uri = write_results(root, manifest, predictions, masks)
    rows: dict[str, list[dict[str, Any]]] = {
        "variants": [
            {"image_id": one, "variant": name, "p_covid": float(np.clip(scores[name][i], 0, 1))}
            for i, one in enumerate(ids)
            for name in VARIANT_NAMES
        ],
        "embeddings": [
            {"image_id": one, "embedding": (rng.normal(size=6) + 3 * (name == "b") * shortcut).tolist()}
            for one, name in zip(ids, source, strict=True)
        ],
        "gradcam": [{"image_id": one, "covid_png": _heat(0.1 if shortcut else 0.9)} for one in ids],
    }
    for name, schema in (("variants", VARIANTS), ("embeddings", EMBEDDINGS), ("gradcam", GRADCAM)):
        if name in sides:
            write_rows(Path(results) / name, rows[name], schema)
    return audit(join_tables(results, uri, "test"), results, "test", 200, 0)


def test_a_shortcut_is_caught_in_each_way(tmp_path: Path) -> None:
    found = _screen(tmp_path, shortcut=True)
    caught = [text for text in shortcuts_report.audit_sentences(found) if text.startswith(shortcuts_report.CAUGHT)]
    assert len(caught) == 3
    assert "with the lungs blacked out the score still separates COVID-19 from other images (AUROC 0.9" in caught[0]
    assert "without the borders of the images the score separates COVID-19 less well" in caught[1]
    assert "a linear probe recognises the source from embeddings of images without COVID-19" in caught[2]
    assert "chance 0.50; n=80)" in caught[2]
    assert found.confounded


def test_a_score_from_the_lungs_is_not_accused(tmp_path: Path) -> None:
    found = _screen(tmp_path, shortcut=False)
    said = shortcuts_report.audit_sentences(found)
    assert not [text for text in said if text.startswith(shortcuts_report.CAUGHT)]
    assert "The score is not shown to separate COVID-19 from other images with the lungs blacked out" in said[1]
    assert "it does not show that it uses nothing there." in said[1]
    assert any("embeddings of images without COVID-19 are not shown to reveal their source" in text for text in said)
    assert not found.confounded


def test_a_network_that_black_confuses_is_neither_accused_nor_cleared(tmp_path: Path) -> None:
    found = _screen(tmp_path, shortcut=False)
    by_metric = {(figure.metric, figure.group): figure for figure in found.metrics}
    removed = by_metric["auroc_lungs_removed", "all"]
    figures = [replace(removed, metric=f.metric) if f.metric == "auroc_lungs_only" else f for f in found.metrics]
    said = shortcuts_report.audit_sentences(replace(found, metrics=figures))
    assert "so that the test says nothing about what the score uses." in said[1]
    assert not said[1].startswith(shortcuts_report.CAUGHT)


def test_an_order_turned_round_is_not_called_chance(tmp_path: Path) -> None:
    found = _screen(tmp_path, shortcut=False)
    figures = [
        replace(f, value=0.3, low=0.2, high=0.4) if f.metric == "auroc_lungs_removed" else f for f in found.metrics
    ]
    said = shortcuts_report.audit_sentences(replace(found, metrics=figures))[1]
    assert "ranks COVID-19 below other images" in said
    assert "chance" not in said


def test_figures_are_over_all_and_inside_sources_with_both_classes(tmp_path: Path) -> None:
    figures = {(f.metric, f.group): f for f in _screen(tmp_path, shortcut=False).metrics}
    assert {group for _, group in figures} == {"all", "dataset=a", "dataset=b"}
    whole = figures["auroc_full", "all"]
    assert whole.value is not None
    assert whole.low is not None
    assert whole.low > 0.9
    assert whole.n == COUNT
    inside, lungs = figures["gradcam_in_lungs", "all"], figures["lungs_of_the_frame", "all"]
    assert inside.value == pytest.approx(0.9, abs=0.01)
    assert lungs.value == 0.25
    table = shortcuts_report.audit_table(_screen(tmp_path / "again", shortcut=False))
    assert table is not None
    assert table.columns == ("metric", "all images", "a alone", "b alone")


def test_what_the_screen_did_not_write_is_not_audited(tmp_path: Path) -> None:
    found = _screen(tmp_path, shortcut=True, sides=())
    assert {figure.metric for figure in found.metrics} == {"auroc_full", "auroc_source_alone"}
    assert shortcuts_report.audit_sentences(found)[1:] == [shortcuts_report.NONE]
    alone = _screen(tmp_path / "alone", shortcut=True, sides=("embeddings",))
    _, said, left_out, none = shortcuts_report.audit_sentences(alone)
    assert none == shortcuts_report.NONE
    assert left_out.startswith("Leave-one-source-out gives no result for")
    assert said.startswith(f"{shortcuts_report.CAUGHT}a linear probe")


def test_images_of_a_patient_are_never_in_the_probe_and_outside_it(tmp_path: Path) -> None:
    """With one embedding a patient and sources at random, a probe that had seen the patient would name it right."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 10)
    images = pd.DataFrame(
        {"patient_id": [f"p{one}" for one in patients], "dataset": np.where(rng.random(40) < 0.5, "a", "b")[patients]}
    )
    x_NC = rng.normal(size=(40, 60))[patients]
    (value,) = source_probe_block("told", images, x_NC).values(np.ones(400, np.int64))
    assert value < 0.75
    few = source_probe_block(
        "told", images[images["dataset"] == "a"].reset_index(drop=True), x_NC[images["dataset"] == "a"]
    )
    assert "at least two sources" in few.entries[0].undefined


def test_what_the_source_alone_would_tell(tmp_path: Path) -> None:
    """Where each source has as much COVID-19 it tells nothing; where one has all of it, as much as that is worth."""
    fair, confounded = _screen(tmp_path / "fair", shortcut=False), _screen(tmp_path / "confounded", shortcut=True)
    assert shortcuts_report.audit_sentences(fair)[0].startswith(
        "A guess that knows nothing of an image but its source reaches AUROC"
    )
    (alone,) = (f for f in confounded.metrics if f.metric == "auroc_source_alone")
    # 40 with COVID-19, all of b; of 80 without half are of b: a positive ties with half of these, and beats half
    assert alone.value == pytest.approx(0.75)
    better = [replace(f, value=0.99) if f.metric == "auroc_source_alone" else f for f in confounded.metrics]
    said = shortcuts_report.audit_sentences(replace(confounded, metrics=better))[0]
    assert said.startswith(f"{shortcuts_report.CONFOUNDED}a guess that knows nothing of an image but its source")
    assert "Recognising hospitals would be enough to explain this result" in said


def test_leave_one_source_out_is_told_with_its_reasons(tmp_path: Path) -> None:
    said = shortcuts_report.audit_sentences(_screen(tmp_path / "fair", shortcut=False))
    told = [text for text in said if "leave-one-source-out" in text.lower()]
    assert len(told) == 2, "a sentence a source"
    assert all("A fall is not shown." in text for text in told), "the embeddings know nothing of COVID-19"
    said = shortcuts_report.audit_sentences(_screen(tmp_path / "confounded", shortcut=True))
    (null,) = (text for text in said if "eave-one-source-out" in text)
    assert null == (
        "Leave-one-source-out gives no result for a: the source has images with COVID-19 of 0 patients, at least 5 are "
        "needed; b: the other sources have images with COVID-19 of 0 patients, at least 5 are needed."
    )


def test_a_fall_without_the_source_is_caught(tmp_path: Path) -> None:
    found = _screen(tmp_path, shortcut=False)
    figures = [
        replace(f, value=0.5, low=0.4, high=0.6) if f.metric == "auroc_left_out"
        else replace(f, value=0.9, low=0.8, high=0.95) if f.metric == "auroc_kept" else f
        for f in found.metrics
    ]  # fmt: skip
    said = [text for text in shortcuts_report.audit_sentences(replace(found, metrics=figures)) if "leave-one" in text]
    assert said[0].startswith(shortcuts_report.CAUGHT)
    assert "on images of a, a linear probe fitted without this source reaches AUROC 0.50 [0.40, 0.60]" in said[0]


def test_a_fall_without_the_borders_alone_is_no_alarm(tmp_path: Path) -> None:
    found = _screen(tmp_path, shortcut=False)
    figures = [
        replace(f, value=0.6, low=0.5, high=0.7) if f.metric == "auroc_borders_cropped" else f for f in found.metrics
    ]
    said = shortcuts_report.audit_sentences(replace(found, metrics=figures))
    (told,) = (text for text in said if "borders" in text)
    assert told.startswith(
        "Without the borders of the images the score separates COVID-19 less well (AUROC 0.60 [0.50, 0.70];"
    )


def test_what_it_means_is_said_in_plain_words(tmp_path: Path) -> None:
    """No figure, no term of statistics; and what to do, whatever was found."""
    caught, fair = (_screen(tmp_path / name, shortcut=name == "caught") for name in ("caught", "fair"))
    half = _screen(tmp_path / "half", shortcut=False, sides=())
    said = [shortcuts_report.in_plain_words(shortcuts_report.audit_sentences(found)) for found in (caught, fair, half)]
    assert "may recognise where an image was made, and not the disease" in said[0]
    assert "found no sign" in said[1]
    assert "cannot show that there is none" in said[1]
    assert "it was not fully tested" in said[2]
    for one in said:
        assert one.startswith(shortcuts_report.PLAIN)
        assert not one.startswith(shortcuts_report.ALARMS), "the alarms themselves come first on the first page"
        assert "have a random sample of that hospital's images read" in one
        assert not any(word in one for word in ("AUROC", "probe", "embedding", "interval", "specificity"))
