import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comit_ray.config import DecodeLimits
from comit_ray.data.masks import to_png
from comit_ray.evaluation import scores, sheet
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
    return scores.join_tables(*write_results(tmp_path, manifest, predictions, masks), "test")


def test_the_choice_looks_at_labels_never_at_scores(images):
    chosen = sheet.choose(images, 4, seed=0)
    assert len(chosen) == 4
    assert list(chosen["covid"]) == [1, 1, 0, 0]
    other = images.assign(p_covid=np.linspace(0, 1, 8))
    assert list(sheet.choose(other, 4, seed=0)["image_id"]) == list(chosen["image_id"])
    assert len(sheet.choose(images, 100, seed=0)) == 8


def test_a_sheet_is_a_picture_with_every_image_on_it(images):
    small = Image.open(io.BytesIO(sheet.draw(images.head(4), "four", DecodeLimits())))
    large = Image.open(io.BytesIO(sheet.draw(images, "eight", DecodeLimits())))
    assert large.width == small.width > 4 * 256
    assert large.height > 1.5 * small.height


def test_scores_are_cut_and_labels_named(images):
    captions = [sheet._caption(row) for row in images.to_dict("records")]
    assert captions[0] == ("COVID 0.99 unhealthy 0.99", "label: COVID")
    assert {caption[1] for caption in captions} == {"label: COVID", "label: other disease", "label: healthy"}


def test_a_sheet_without_masks_or_scores_shows_the_radiographs(images):
    """Of a classifier; and of results that have no masks table at all, as the join leaves them."""
    masks = ["lung_png", "disease_png", "frame_height", "frame_width", "fit"]
    bare = images.head(2).assign(**dict.fromkeys(masks), p_covid=np.nan, p_unhealthy=np.nan)
    picture = Image.open(io.BytesIO(sheet.draw(bare, "no head", DecodeLimits())))
    assert picture.width > 2 * 256
    assert sheet._caption(bare.to_dict("records")[0])[0] == "no score"
