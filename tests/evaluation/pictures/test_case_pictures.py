"""Pictures of single images: who is on them, in which order, and what their captions say."""

import numpy as np
import pandas as pd
import pytest

from comit_ray.config.image_config import DecodeLimits
from comit_ray.evaluation.pictures import case_pictures, contact_sheet, random_sheet
from comit_ray.evaluation.pictures.contact_sheet import DISEASE, Blank, Tile
from tests.evaluation.support import opened, screened_images, where

LIMITS = DecodeLimits()


@pytest.fixture
def images(cxr, tmp_path) -> pd.DataFrame:
    return screened_images(cxr, tmp_path)


@pytest.fixture
def drawn(monkeypatch) -> list:
    """What reaches the plots, which are drawn all the same."""
    seen: list = []
    draw = contact_sheet.sheet

    def spy(tiles, *rest, **more):
        seen.extend(tiles)
        return draw(tiles, *rest, **more)

    monkeypatch.setattr(random_sheet, "sheet", spy)
    return seen


def ids(picture) -> list[str]:
    return [image_id for _, image_id in picture.shown]


def test_misclassified_are_those_that_no_score_flags(images, tmp_path, drawn):
    picture = case_pictures.misclassified(images, str(tmp_path), LIMITS)
    assert picture.name == "figure_10_misclassified"
    assert [tile.caption for tile in drawn] == [
        (
            "1, view: PA",
            "COVID-19: not flagged, score 0.100",
            "unhealthy: not flagged, score 0.100",
            "day of illness 7",
        )
    ]
    assert picture.shown == (("1", "a/05"),), "the path stands apart from the picture"
    assert (tmp_path / "figures" / "figure_10_misclassified.csv").read_text() == "number,image_id\n1,a/05\n"
    assert "one step of an outline is 1 pixel of the radiograph" in picture.caption
    assert "Shown: the only such image." in picture.caption
    assert "Images labelled COVID-19 that were scored: 6" in picture.caption
    assert where(opened(tmp_path, picture), DISEASE).any()


def test_they_come_by_day_of_illness_then_by_id_the_unknown_last(images, tmp_path, drawn):
    nobody = images.assign(covid_flag=False, unhealthy_flag=False)
    picture = case_pictures.misclassified(nobody, str(tmp_path), LIMITS)
    assert ids(picture) == ["a/03", "a/04", "a/01", "a/05", "a/00", "a/02"]
    assert drawn[-1].caption == ("6, view: PA", *drawn[-1].caption[1:3], "day of illness not known")
    assert "known for 5 of those shown" in picture.caption


def test_of_many_some_are_drawn_at_random_and_the_total_is_said(images, tmp_path, drawn):
    nobody = images.assign(covid_flag=False, unhealthy_flag=False)
    picture = case_pictures.misclassified(nobody, str(tmp_path), LIMITS, count=3)
    assert len(drawn) == 3
    assert "3 of 6 such images, drawn at random" in picture.caption
    chosen = set(ids(picture))
    scored_otherwise = nobody.assign(p_covid=np.linspace(0, 1, 12).astype(np.float32))
    picture = case_pictures.misclassified(scored_otherwise, str(tmp_path), LIMITS, count=3)
    assert set(ids(picture)) == chosen, "scores decide nothing"
    picture = case_pictures.misclassified(nobody, str(tmp_path), LIMITS, count=3, seed=1)
    assert set(ids(picture)) != chosen


def test_found_are_flagged_covid(images, tmp_path, drawn):
    picture = case_pictures.found(images, str(tmp_path), LIMITS)
    assert sorted(ids(picture)) == ["a/00", "a/01", "a/02", "a/03"]
    assert all(isinstance(tile, Tile) and tile.disease_HW is not None for tile in drawn)
    assert "specificity_0.90" in picture.caption
    assert "Shown: all 4 such images" in picture.caption


def test_missed_without_readings_are_all(images, tmp_path, drawn):
    picture = case_pictures.missed(images, None, str(tmp_path), LIMITS)
    assert sorted(ids(picture)) == ["a/04", "a/05"]
    assert "The model missed 2 of 6 images labelled COVID-19" in picture.caption
    assert "no readings" in picture.caption
    assert not any("readers" in line for tile in drawn for line in tile.caption)


def test_missed_that_readers_call_normal_go_first(images, tmp_path, drawn):
    readings = pd.DataFrame({"image_id": ["a/04", "a/05", "a/00"], "abnormal": [True, False, False]})
    picture = case_pictures.missed(images, readings, str(tmp_path), LIMITS)
    assert [tile.caption[-1] for tile in drawn] == ["readers: no abnormality"]
    assert ids(picture) == ["a/05"]
    assert "Readers read 2 of the missed images and saw no abnormality in 1" in picture.caption


def test_where_no_reader_agrees_all_missed_are_shown_with_the_verdicts(images, tmp_path, drawn):
    readings = pd.DataFrame({"image_id": ["a/04"], "abnormal": pd.array([None], "boolean")})
    picture = case_pictures.missed(images, readings, str(tmp_path), LIMITS)
    assert dict(zip(ids(picture), (tile.caption[-1] for tile in drawn), strict=True)) == {
        "a/04": "readers: undecided",
        "a/05": "readers: not read",
    }
    assert "Readers read 1 of the missed images and saw no abnormality in 0" in picture.caption


def test_where_there_is_nothing_to_show_a_reason_stands(images, tmp_path):
    all_flagged = images.assign(covid_flag=True, unhealthy_flag=True)
    no_flags = images.assign(covid_flag=None, unhealthy_flag=None)
    healthy = images[images["covid"] == 0]
    for picture, reason in (
        (case_pictures.misclassified(all_flagged, str(tmp_path), LIMITS), "of 6 images"),
        (case_pictures.missed(all_flagged, None, str(tmp_path), LIMITS), "flags 6 of 6 images"),
        (case_pictures.found(images.assign(covid_flag=False), str(tmp_path), LIMITS), "of 6 images"),
        (case_pictures.misclassified(no_flags, str(tmp_path), LIMITS), "has flags"),
        (case_pictures.found(no_flags, str(tmp_path), LIMITS), "flag"),
        (case_pictures.missed(healthy, None, str(tmp_path), LIMITS), "no scored image labelled COVID-19"),
    ):
        assert picture.files == ()
        assert reason in picture.reason
    assert not (tmp_path / "figures").exists()


def test_a_radiograph_that_is_gone_keeps_its_place(images, tmp_path, drawn):
    gone = images.assign(uri=images["uri"].where(images["image_id"] != "a/05", "/nowhere/x.png"))
    picture = case_pictures.missed(gone, None, str(tmp_path), LIMITS)
    places = dict(zip(ids(picture), drawn, strict=True))
    assert isinstance(places["a/05"], Blank)
    assert places["a/05"].text.startswith("the radiograph can no longer be read: the storage listed nothing")
    assert "/nowhere" not in places["a/05"].text
    assert isinstance(places["a/04"], Tile)


def test_the_same_tables_give_the_same_bytes(images, tmp_path):
    first = (tmp_path / "a", case_pictures.found(images, str(tmp_path / "a"), LIMITS))
    other = (tmp_path / "b", case_pictures.found(images.sample(frac=1, random_state=0), str(tmp_path / "b"), LIMITS))
    assert (first[0] / first[1].files[0]).read_bytes() == (other[0] / other[1].files[0]).read_bytes()
