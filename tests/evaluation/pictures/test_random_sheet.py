import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.masks.masks import to_png
from comit_ray.evaluation import screen_metrics
from comit_ray.evaluation.pictures import contact_sheet, random_sheet
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


def sheet_of(images: pd.DataFrame, output: Path) -> Image.Image:
    picture = random_sheet.written(str(output), "sheet", "Eight images.", images, "eight", DecodeLimits())
    return Image.open(io.BytesIO((output / picture.files[0]).read_bytes()))


def test_a_sheet_is_a_picture_with_every_image_on_it(images, tmp_path):
    small, large = sheet_of(images.head(4), tmp_path), sheet_of(images, tmp_path)
    assert large.width == small.width > 4 * 256
    assert large.height > 1.5 * small.height


def test_scores_are_cut_and_labels_named(images):
    captions = [random_sheet.said(row) for row in images.to_dict("records")]
    assert captions[0][:2] == ("COVID-19: FLAGGED, score 0.995", "unhealthy: FLAGGED, score 0.995")
    assert captions[0][2:] == ("label: COVID-19",)
    assert {caption[2] for caption in captions} == {"label: COVID-19", "label: other disease", "label: healthy"}


def test_a_sheet_without_masks_or_scores_shows_the_radiographs(images, tmp_path):
    """Of a classifier; and of results that have no masks table at all, as the join leaves them."""
    masks = ["lung_png", "disease_png", "frame_height", "frame_width", "fit"]
    bare = images.head(2).assign(**dict.fromkeys(masks), p_covid=np.nan, p_unhealthy=np.nan)
    assert sheet_of(bare, tmp_path).width > 2 * 256
    assert random_sheet.said(bare.to_dict("records")[0])[0] == "no score"


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


def test_no_path_is_drawn_and_the_list_beside_the_picture_has_it(images, tmp_path, monkeypatch):
    seen: list[str] = []
    draw = contact_sheet.sheet

    def spy(tiles, *rest, **more):
        seen.extend(line for tile in tiles for line in tile.caption)
        return draw(tiles, *rest, **more)

    monkeypatch.setattr(random_sheet, "sheet", spy)
    named = images.head(2).assign(image_id=["a/covid/x.png", "=1+1"])
    picture = random_sheet.written(
        str(tmp_path), "queue", "Two.", named, "two", DecodeLimits(), numbers=["rank 3", "rank 4"]
    )
    assert seen[0] == "rank 3, view: PA"
    assert not [line for line in seen if "/" in line]
    assert picture.shown == (("rank 3", "a/covid/x.png"), ("rank 4", "=1+1"))
    assert (tmp_path / "figures" / "queue.csv").read_text().splitlines()[2] == "rank 4,'=1+1"
    assert picture.caption == (
        "Two. The network drew its outlines on an image of 64 x 64 pixels; one step of an outline is 1 pixel of the "
        "radiograph. An outline is not a lesion's border; it may be misplaced."
    )


def test_a_radiograph_that_is_gone_has_a_place_that_says_so(images, tmp_path):
    whole = sheet_of(images.head(2), tmp_path)
    gone = sheet_of(images.head(2).assign(uri="/nowhere/x.png"), tmp_path)
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
