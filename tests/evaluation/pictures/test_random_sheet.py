import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation import screen_metrics
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.pictures.contact_sheet import GROUND
from tests.support import manifest_row, mask_row, prediction_row, write_results


@pytest.fixture
def images(cxr, tmp_path) -> pd.DataFrame:
    """Eight real radiographs, two of them COVID, with masks over their left half."""
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    files = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:8]
    manifest = [
        manifest_row(f"a/{f.stem}", uri=str(f), covid=int(i < 2), unhealthy=int(i < 4)) for i, f in enumerate(files)
    ]
    predictions = [prediction_row(row["image_id"], 0.996, height=320, width=320) for row in manifest]
    masks = [mask_row(row["image_id"], lung_png=to_png(half), disease_png=to_png(half)) for row in manifest]
    return screen_metrics.join_tables(*write_results(tmp_path, manifest, predictions, masks), "test")


def test_the_choice_looks_at_labels_never_at_scores(images):
    chosen = random_sheet.choose(images, 4, seed=0)
    assert len(chosen) == 4
    assert list(chosen["covid"]) == [1, 1, 0, 0]
    other = images.assign(p_covid=np.linspace(0, 1, 8))
    assert list(random_sheet.choose(other, 4, seed=0)["image_id"]) == list(chosen["image_id"])
    assert len(random_sheet.choose(images, 100, seed=0)) == 8


def test_a_sheet_is_a_picture_with_every_image_on_it(images):
    small = Image.open(io.BytesIO(random_sheet.draw(images.head(4), "four", DecodeLimits())))
    large = Image.open(io.BytesIO(random_sheet.draw(images, "eight", DecodeLimits())))
    assert large.width == small.width > 4 * 256
    assert large.height > 1.5 * small.height


def test_scores_are_cut_and_labels_named(images):
    captions = [random_sheet.caption(row) for row in images.to_dict("records")]
    first = images.to_dict("records")[0]
    assert captions[0][:2] == ("COVID-19: FLAGGED, score 0.995", "unhealthy: FLAGGED, score 0.995")
    assert captions[0][2:] == ("label: COVID-19", "view: PA", first["image_id"])
    assert {caption[2] for caption in captions} == {"label: COVID-19", "label: other disease", "label: healthy"}


def test_a_sheet_without_masks_or_scores_shows_the_radiographs(images):
    """Of a classifier; and of results that have no masks table at all, as the join leaves them."""
    masks = ["lung_png", "disease_png", "frame_height", "frame_width", "fit"]
    bare = images.head(2).assign(**dict.fromkeys(masks), p_covid=np.nan, p_unhealthy=np.nan)
    picture = Image.open(io.BytesIO(random_sheet.draw(bare, "no head", DecodeLimits())))
    assert picture.width > 2 * 256
    assert random_sheet.caption(bare.to_dict("records")[0])[0] == "no score"


@pytest.mark.parametrize(
    ("covid", "unhealthy", "label"),
    [
        (1, 1, "COVID-19"),
        (1, np.nan, "COVID-19"),
        (1, 0, "COVID-19, no finding"),
        (0, 1, "other disease"),
        (0, 0, "healthy"),
        (np.nan, 0, "healthy"),
        (np.nan, 1, "disease, cause not known"),
        (0, np.nan, "not COVID-19, other disease not known"),
        (np.nan, np.nan, "no label"),
    ],
)
def test_what_is_not_known_is_not_guessed(covid, unhealthy, label):
    assert random_sheet.label({"covid": covid, "unhealthy": unhealthy}) == label


def test_the_order_depends_on_ids_and_seed_alone(images):
    mixed = list(random_sheet.WHOLE.first(images, len(images), 0)["image_id"])
    assert sorted(mixed) == sorted(images["image_id"])
    assert mixed == list(random_sheet.WHOLE.first(images.iloc[::-1].assign(covid=0), len(images), 0)["image_id"])
    assert mixed != list(random_sheet.WHOLE.first(images, len(images), 1)["image_id"])


def test_a_radiograph_that_is_gone_has_a_place_that_says_so(images):
    whole = Image.open(io.BytesIO(random_sheet.draw(images.head(2), "two", DecodeLimits())))
    gone = Image.open(io.BytesIO(random_sheet.draw(images.head(2).assign(uri="/nowhere/x.png"), "two", DecodeLimits())))
    assert gone.width == whole.width
    assert (np.asarray(gone) == GROUND).all(axis=2).mean() > 0.2
    assert not (np.asarray(whole) == GROUND).all(axis=2).mean() > 0.2


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"p_covid": 0.62, "covid_flag": True, "covid_threshold": 0.2},
            "COVID-19: FLAGGED, 0.620 (threshold 0.2)",
        ),
        (
            {"p_covid": 0.01, "covid_flag": True, "covid_threshold": 0.002},
            "COVID-19: FLAGGED, 0.0100 (threshold 0.002)",
        ),
        ({"p_covid": 0.1, "covid_flag": False, "covid_threshold": None}, "COVID-19: not flagged, score 0.100"),
        ({"p_covid": 0.1, "covid_flag": None}, "COVID-19: no flag, score 0.100"),
    ],
)
def test_a_caption_says_what_was_decided(row, line):
    assert random_sheet.decisions(row) == (line,)
