from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from comit_ray.chunks import run_record
from comit_ray.errors import ConfigError, ManifestError, NotFoundError, StorageError
from comit_ray.screening.embedding_tables import chunks, labelled, open_screen
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import EMBEDDINGS
from tests.screening.embedded_screens import WIDTH, labelled_rows, separable, write_screen
from tests.support import write_rows

LATERAL = {"status": "excluded", "reason": "lateral", "detail": "view LL"}


def first(results: str, table: str) -> str:
    return str(sorted((Path(results) / table).glob("*.parquet"))[0])


def test_embeddings_are_joined_with_the_labels_of_train_and_val(tmp_path):
    rows = labelled_rows({"test": 30, "val": 20, "train": 40})
    rows[-1]["covid"] = None
    embeddings = separable(rows)
    del embeddings["a/train001"]
    embeddings["a/train002"][3] = 70_000  # infinite in float16
    results, uri = write_screen(tmp_path, rows, embeddings, failed={"a/train001": LATERAL})
    screen = open_screen(results, uri)
    assert (screen.model_id, screen.plan.rows) == ("network", 90)
    images = labelled(screen, uri)
    assert images.ids.tolist() == sorted(images.ids.tolist())
    assert not {"a/train001", "a/train002", "a/test000"} & set(images.ids)
    assert (images.known("train", "covid").sum(), images.known("train", "unhealthy").sum()) == (37, 38)
    assert images.known("val", "covid").sum() == 20
    for row in rows:
        if row["image_id"] in images.ids:
            at = images.ids.tolist().index(row["image_id"])
            np.testing.assert_array_equal(images.x_NC[at], embeddings[row["image_id"]].astype(np.float16))
            assert images.splits[at] == row["split"]
            for label in ("covid", "unhealthy"):
                np.testing.assert_array_equal(images.labels[label][at], np.nan if row[label] is None else row[label])


def test_another_cut_into_chunks_gives_the_same_images(tmp_path):
    found = []
    for name, chunk_rows in (("small", 7), ("large", 100)):
        rows = labelled_rows({"train": 30, "val": 20}, chunk_rows)
        results, uri = write_screen(tmp_path / name, rows, separable(rows))
        found.append(labelled(open_screen(results, uri), uri))
    assert found[0].ids.tolist() == found[1].ids.tolist()
    np.testing.assert_array_equal(found[0].x_NC, found[1].x_NC)


def test_a_screen_without_any_scored_image_has_none(tmp_path):
    rows = labelled_rows({"train": 3})
    results, uri = write_screen(tmp_path, rows, {}, failed={row["image_id"]: LATERAL for row in rows})
    screen = open_screen(results, uri)
    assert [chunk.x_NC.shape for chunk in chunks(screen)] == [(0, 0)]
    assert labelled(screen, uri).x_NC.shape == (0, 0)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"embeddings": False}, "has no embeddings: screen again into another directory, with --embeddings true"),
        ({"split": "test"}, "has only the test split.*--split all"),
    ],
)
def test_a_screen_that_was_asked_for_something_else_is_refused(tmp_path, question, message):
    rows = labelled_rows({"train": 6})
    results, uri = write_screen(tmp_path, rows, separable(rows), question=question)
    with pytest.raises(ConfigError, match=message):
        open_screen(results, uri)


def test_another_manifest_is_refused_and_the_right_one_named(tmp_path):
    rows = labelled_rows({"train": 6})
    results, uri = write_screen(tmp_path, rows, separable(rows))
    other = write_rows(tmp_path / "other", rows[:-1], MANIFEST)
    with pytest.raises(ManifestError, match=f"was not screened from {other}.*it was screened from was {uri}"):
        open_screen(results, other)


def test_a_screen_that_is_not_whole_is_refused(tmp_path):
    rows = labelled_rows({"train": 50})
    results, uri = write_screen(tmp_path, rows, separable(rows))
    Path(first(results, "embeddings")).unlink()
    with pytest.raises(ManifestError, match=r"is incomplete \(chunk .* cannot be read.*comit-ray screen again"):
        open_screen(results, uri)


def test_what_is_no_screen_is_refused(tmp_path):
    rows = labelled_rows({"train": 6})
    _, uri = write_screen(tmp_path, rows, separable(rows))
    with pytest.raises(NotFoundError, match=r"no file at .*run\.json"):
        open_screen(str(tmp_path / "nowhere"), uri)
    run_record.open_run(str(tmp_path / "prepared"), {"manifest": "f"}, {}, "images")
    with pytest.raises(StorageError, match=r"is not the output of comit-ray screen"):
        open_screen(str(tmp_path / "prepared"), uri)


def test_rows_of_another_model_are_refused(tmp_path):
    rows = labelled_rows({"train": 50})
    results, uri = write_screen(tmp_path, rows, separable(rows))
    part = first(results, "predictions")
    table = parquet.read_part(part)
    models = ["stranger", *table["model_id"].to_pylist()[1:]]
    parquet.write_table(part, table.set_column(table.column_names.index("model_id"), "model_id", pa.array(models)))
    with pytest.raises(StorageError, match="expected rows of model network only, got stranger too"):
        list(chunks(open_screen(results, uri)))


@pytest.mark.parametrize("mixed", ["in one file", "between files"])
def test_embeddings_of_another_width_are_refused(tmp_path, mixed):
    rows = labelled_rows({"train": 50})
    embeddings = separable(rows)
    others = ["a/train000"] if mixed == "in one file" else [f"a/train{n:03d}" for n in range(40, 50)]
    results, uri = write_screen(tmp_path, rows, embeddings | {name: np.ones(WIDTH + 1) for name in others})
    match = "of one width, got 8, 9 values" if mixed == "in one file" else "of 8 values as in earlier files, got 9"
    with pytest.raises(StorageError, match=match):
        list(chunks(open_screen(results, uri)))


def test_embeddings_of_other_images_are_refused(tmp_path):
    rows = labelled_rows({"train": 6})
    results, uri = write_screen(tmp_path, rows, separable(rows))
    part = first(results, "embeddings")
    table = parquet.read_part(part)
    renamed = pc.replace_substring(table["image_id"], "a/", "b/")
    parquet.write_table(part, table.set_column(0, EMBEDDINGS.field("image_id"), renamed))
    with pytest.raises(StorageError, match="does not hold exactly the images that are ok in predictions"):
        list(chunks(open_screen(results, uri)))
