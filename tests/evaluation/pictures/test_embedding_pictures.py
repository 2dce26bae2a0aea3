"""The picture of embeddings: what reaches the map, and what cannot be drawn."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comit_ray.errors import StorageError
from comit_ray.evaluation.pictures import embedding_pictures
from comit_ray.evaluation.pictures import embedding_pictures as plots_map
from comit_ray.tables.schema import EMBEDDINGS
from tests.evaluation.support import screened_images
from tests.support import write_rows


@pytest.fixture
def images(cxr, tmp_path) -> pd.DataFrame:
    return screened_images(cxr, tmp_path)


def write(root: Path, images: pd.DataFrame, x_NC: np.ndarray) -> str:
    rows = [
        {"image_id": image_id, "embedding": list(map(float, x))}
        for image_id, x in zip(images["image_id"], x_NC, strict=True)
    ]
    write_rows(root / "results" / "embeddings", rows, EMBEDDINGS)
    return str(root / "results")


@pytest.fixture
def x_NC() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 6)).astype(np.float16)


def test_labels_flags_and_sources_reach_the_map(images, x_NC, tmp_path, monkeypatch):
    seen: dict = {}
    draw = plots_map.draw_embedding_map

    def spy(points_N2, truth, predicted, datasets):
        seen.update(points=points_N2, truth=truth, predicted=predicted, datasets=datasets)
        return draw(points_N2, truth, predicted, datasets)

    monkeypatch.setattr(plots_map, "draw_embedding_map", spy)
    unlabelled = images.assign(
        covid=images["covid"].where(images["image_id"] != "a/11"),
        unhealthy=images["unhealthy"].where(images["image_id"] != "a/11"),
    )
    picture = embedding_pictures.embedding_map(unlabelled, write(tmp_path, images, x_NC), str(tmp_path))
    assert picture.files == ("figures/figure_11_embeddings.png", "figures/figure_11_embeddings.svg")
    assert seen["truth"] == ["COVID-19"] * 6 + ["other disease"] * 3 + ["healthy"] * 2 + ["not known"]
    unhealthy = "flagged unhealthy, not COVID-19"
    assert seen["predicted"] == ["flagged COVID-19"] * 4 + [unhealthy] + ["not flagged"] * 7
    assert set(seen["datasets"]) == {"a"}
    assert "Shown: all 12 scored images" in picture.caption


def test_the_same_tables_give_the_same_bytes(images, x_NC, tmp_path):
    results = write(tmp_path, images, x_NC)
    files = embedding_pictures.embedding_map(images, results, str(tmp_path / "a")).files
    embedding_pictures.embedding_map(images, results, str(tmp_path / "b"))
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_embeddings_that_are_not_finite_are_left_out_and_counted(images, x_NC, tmp_path):
    x_NC[3, 2] = np.inf
    picture = embedding_pictures.embedding_map(images, write(tmp_path, images, x_NC), str(tmp_path))
    assert "11 of 12 scored images" in picture.caption
    assert "not finite: 1" in picture.caption


def test_without_embeddings_there_is_a_reason(images, x_NC, tmp_path):
    picture = embedding_pictures.embedding_map(images, str(tmp_path / "results"), str(tmp_path))
    assert picture.files == ()
    assert "--embeddings true" in picture.reason
    few = embedding_pictures.embedding_map(images.head(3), write(tmp_path, images, x_NC), str(tmp_path))
    assert few.files == ()
    assert "at least 5 images" in few.reason


def test_embeddings_of_two_widths_are_an_error(images, x_NC, tmp_path):
    write(tmp_path, images.head(6), x_NC[:6])
    rows = [{"image_id": image_id, "embedding": [1.0, 2.0]} for image_id in images["image_id"][6:]]
    write_rows(tmp_path / "results" / "embeddings", rows, EMBEDDINGS, "part-00001")
    with pytest.raises(StorageError, match="expected embeddings of one width, got 2, 6 values"):
        embedding_pictures.embedding_map(images, str(tmp_path / "results"), str(tmp_path))


def test_of_a_large_archive_some_are_drawn(images, x_NC, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_pictures, "MOST", 6)
    picture = embedding_pictures.embedding_map(images, write(tmp_path, images, x_NC), str(tmp_path))
    assert "6 of 12 scored images, drawn at random" in picture.caption
