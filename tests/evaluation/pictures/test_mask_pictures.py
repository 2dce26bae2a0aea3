"""Pictures of masks and heat maps: which images, whose masks, and what is said where there is none."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation.pictures import mask_pictures
from comit_ray.evaluation.pictures.contact_sheet import LUNG, TRUE_LUNG
from comit_ray.tables.schema import GRADCAM
from tests.evaluation.support import LEFT, opened, screened_images, where
from tests.support import write_rows

LIMITS = DecodeLimits()


@pytest.fixture
def images(cxr, tmp_path) -> pd.DataFrame:
    return screened_images(cxr, tmp_path)


@pytest.fixture
def drawn(monkeypatch) -> list:
    """What reaches the plots, which are drawn all the same."""
    seen: list = []
    for name in ("draw_gradcam", "draw_masks_beside"):
        draw = getattr(mask_pictures, name)

        def spy(rows, *rest, draw=draw):
            seen.extend(rows)
            return draw(rows, *rest)

        monkeypatch.setattr(mask_pictures, name, spy)
    return seen


def ids(picture) -> list[str]:
    return [image_id for _, image_id in picture.shown]


def test_every_model_has_its_mask_of_the_same_images(images, tmp_path, drawn):
    other = images.assign(lung_png=to_png(LEFT[:, ::-1]))
    picture = mask_pictures.masks_beside({"U-Net": other, "COMiT-Net": images}, "lung", str(tmp_path), LIMITS, count=4)
    assert picture.name == "figure_05_lung_masks"
    assert "4 of 12 images with annotated lungs, drawn at random" in picture.caption
    assert "with COVID-19: 2" in picture.caption
    assert len(drawn) == 4
    for row in drawn:
        assert list(row.masks) == ["U-Net", "COMiT-Net"]
        assert np.array_equal(row.masks["COMiT-Net"], LEFT)
        assert np.array_equal(row.masks["U-Net"], LEFT[:, ::-1])
        rows, columns = np.nonzero(row.true_HW)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 79, 80, 139)
    sheet = opened(tmp_path, picture)
    assert where(sheet, LUNG).any()
    assert where(sheet, TRUE_LUNG).any()


def test_disease_is_shown_of_covid_and_of_other_findings(images, tmp_path):
    both = mask_pictures.masks_beside({"m": images}, "disease", str(tmp_path), LIMITS, count=12)
    assert both.name == "figure_06_disease_masks"
    assert sorted(ids(both)) == [f"a/{number:02d}" for number in range(9)]
    other = mask_pictures.masks_beside({"m": images}, "disease", str(tmp_path), LIMITS, only="not_covid")
    assert other.name == "figure_07_other_disease_masks"
    assert sorted(ids(other)) == ["a/06", "a/07", "a/08"]
    assert "Shown: all 3 images with annotated disease and another finding than COVID-19;" in other.caption


def test_a_model_without_a_mask_says_why(images, tmp_path, drawn):
    models = {
        "whole": images,
        "part": images[images["image_id"] != "a/00"],
        "classifier": images.assign(lung_png=None),
        "failed": images.assign(status="failed", reason="truncated"),
    }
    only = {name: table[table["image_id"].isin(["a/00"])] for name, table in models.items()}
    mask_pictures.masks_beside(only, "lung", str(tmp_path), LIMITS)
    (row,) = drawn
    assert isinstance(row.masks["whole"], np.ndarray)
    assert row.masks["part"] == "not screened by this model"
    assert row.masks["classifier"] == "this model outlines no lungs"
    assert row.masks["failed"] == "not scored by this model: truncated"


def test_without_annotations_there_is_a_reason(images, tmp_path):
    bare = images.assign(lung_mask=None, disease_mask=None)
    picture = mask_pictures.masks_beside({"m": bare}, "lung", str(tmp_path), LIMITS)
    assert picture.files == ()
    assert picture.reason == "there is no scored image with annotated lungs"
    covid = images[images["covid"] == 1]
    picture = mask_pictures.masks_beside({"m": covid}, "disease", str(tmp_path), LIMITS, only="not_covid")
    assert picture.reason == "there is no scored image with annotated disease and another finding than COVID-19"


def test_an_annotation_that_marks_nothing_is_said_to(images, tmp_path, drawn):
    empty = tmp_path / "empty.png"
    Image.fromarray(np.zeros((1024, 1024), np.uint8)).save(empty)
    one = images[images["image_id"] == "a/00"].assign(disease_mask=str(empty))
    mask_pictures.masks_beside({"m": one}, "disease", str(tmp_path), LIMITS)
    assert drawn[0].caption[2] == "the annotation marks no disease"


def test_no_model_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="got none"):
        mask_pictures.masks_beside({}, "lung", str(tmp_path), LIMITS)


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def results(images, tmp_path) -> str:
    """Maps hot at the top for COVID and at the bottom for unhealthy; one is 0 everywhere, one absent."""
    top, bottom = np.zeros((64, 64)), np.zeros((64, 64))
    top[:20], bottom[44:] = 255, 255
    rows = [
        {
            "image_id": image_id,
            "covid_png": png(0 * top) if image_id == "a/01" else png(top),
            "unhealthy_png": None if image_id == "a/07" else png(bottom),
        }
        for image_id in images["image_id"]
        if image_id != "a/08"
    ]
    for number, part in enumerate((rows[:5], rows[5:])):
        write_rows(tmp_path / "results" / "gradcam", part, GRADCAM, f"part-{number:05d}")
    return str(tmp_path / "results")


def test_the_map_is_that_of_the_score_of_the_label(images, results, tmp_path, drawn):
    picture = mask_pictures.gradcam(images, results, str(tmp_path), LIMITS, count=12)
    assert picture.name == "figure_12_gradcam"
    assert "Shown: all 9 images with annotated disease; with COVID-19: 6" in picture.caption
    rows = dict(zip(ids(picture), drawn, strict=True))
    assert rows["a/00"].heat_HW[:20].min() == 255
    assert rows["a/00"].heat_HW[44:].max() == 0
    assert rows["a/00"].heat_caption == ("map of the COVID-19 score",)
    assert rows["a/06"].heat_HW[44:].min() == 255
    assert rows["a/06"].heat_caption == ("map of the unhealthy score",)
    assert rows["a/01"].heat_caption == ("map of the COVID-19 score", "positive nowhere")
    assert rows["a/07"].heat_HW == rows["a/08"].heat_HW == "there is no map of the unhealthy score"
    assert np.array_equal(rows["a/00"].predicted_HW, LEFT)


def test_without_annotations_all_labelled_diseases_are_shown(images, results, tmp_path, drawn):
    bare = images.assign(disease_mask=None)
    picture = mask_pictures.gradcam(bare, results, str(tmp_path), LIMITS, count=4)
    assert "4 of 9 images labelled with a disease, drawn at random" in picture.caption
    assert {row.true_HW for row in drawn} == {"not annotated"}


def test_a_screen_without_maps_has_no_picture(images, tmp_path):
    picture = mask_pictures.gradcam(images, str(tmp_path / "results"), str(tmp_path), LIMITS)
    assert picture.files == ()
    assert "--gradcam true" in picture.reason


def test_healthy_images_have_none(images, results, tmp_path):
    picture = mask_pictures.gradcam(images[images["unhealthy"] == 0], results, str(tmp_path), LIMITS)
    assert picture.reason == "no scored image is labelled with COVID-19 or another finding"
