"""The join in DuckDB against the join in memory, row by row, on the same tables."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from comit_ray.chunks import run_record
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import ManifestError
from comit_ray.evaluation import labelled_images, two_screens
from comit_ray.evaluation.image_rows import WholeRows
from comit_ray.evaluation.labelled_images import KEPT
from comit_ray.evaluation.screen_metrics import join_predictions, join_tables, screen_metrics
from comit_ray.screening.mask_choice import setting
from comit_ray.statistics.intervals import patient_codes
from comit_ray.tables import parquet
from comit_ray.tables.schema import MASKS as MASKS_TABLE
from tests.benchmarks.archive_of_rows import manifest_rows, prediction_rows
from tests.support import manifest_row, mask_row, prediction_row, supersede, write_results

WORDS = ("status", "reason", "view", "operating_point", "calibration", "model_id", "dataset", "site", "sex", "device")
NUMBERS = ("covid", "unhealthy", "age", "p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag", "lung_area")
MASKS = ("lung_mask", "disease_mask", "lung_png", "disease_png")
ROWS = 1_500


@pytest.fixture
def archive(tmp_path):
    """Made-up rows in several files, in another order in the predictions; some with masks, some with old versions."""
    for start in range(0, ROWS, 500):
        rows, predicted = manifest_rows(start, 500, share_labelled=0.7), prediction_rows(start, 500)
        split = pa.array(np.where(np.arange(start, start + 500) // 3 % 4 == 0, "val", "test"))
        mask = pa.array([f"{number}.png" if number % 7 == 0 else None for number in range(500)])
        for name, column in (("split", split), ("lung_mask", mask)):
            rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
        parquet.write_table(str(tmp_path / "manifest" / f"part-{start // 500:05d}.parquet"), rows)
        mixed = predicted.take(pa.array(np.random.default_rng(start).permutation(500)))
        parquet.write_table(str(tmp_path / "results" / "predictions" / f"{9 - start // 500}.parquet"), mixed)
        png = to_png(np.ones((4, 4), bool))
        ids = predicted.filter(pc.equal(predicted["status"], "ok"))["image_id"].to_pylist()
        masks = [
            mask_row(one, disease_png=png, **({"lung_png": png} if at % 3 else {})) for at, one in enumerate(ids[::2])
        ]

        parquet.write_table(
            str(tmp_path / "results" / "masks" / f"{start}.parquet"), pa.Table.from_pylist(masks, schema=MASKS_TABLE)
        )
    first = manifest_rows(0, 2)["image_id"].to_pylist()
    supersede(tmp_path / "manifest", {first[0]: first[1]})
    return str(tmp_path / "results"), str(tmp_path / "manifest")


def _same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(found) == len(expected)
    for name in WORDS:
        pd.testing.assert_series_equal(found[name].astype("str"), expected[name].astype("str"), check_names=False)
    for name in NUMBERS:
        mine, theirs = (rows[name].to_numpy(np.float64, na_value=np.nan) for rows in (found, expected))
        np.testing.assert_array_equal(mine, theirs)
    for name in ("patient_id", "study_id"):
        np.testing.assert_array_equal(patient_codes(found[name]), patient_codes(expected[name]))
        np.testing.assert_array_equal(found[name].isna(), expected[name].isna())
    for name in MASKS:
        np.testing.assert_array_equal(found[name].notna(), expected[name].notna())
        assert set(found[name].dropna().unique()) <= {KEPT}


@pytest.mark.parametrize("split", ["test", "val", "all"])
def test_every_row_is_that_of_the_join_in_memory(archive: tuple[str, str], split: str) -> None:
    with labelled_images.opened(*archive, split, 0.3) as found:
        _same(found.frame, join_tables(*archive, split))
        assert found.image_ids().to_pylist() == join_tables(*archive, split)["image_id"].tolist()


def test_a_row_is_small(archive: tuple[str, str]) -> None:
    """The columns of metrics take less than 100 bytes a row; in memory with ids and masks a row took about 1 kB."""
    with labelled_images.opened(*archive, "all", 0.3) as found:
        assert found.frame.memory_usage(deep=True, index=False).sum() / len(found.frame) < 100


def test_a_bare_table(archive: tuple[str, str]) -> None:
    predictions = f"{archive[0]}/predictions"
    with labelled_images.opened(predictions, archive[1], "test", 0.3, bare=True) as found:
        _same(found.frame, join_predictions(predictions, archive[1], "test"))


def test_a_bare_table_may_lack_columns(tmp_path):
    _, uri = write_results(tmp_path, [manifest_row("a/1", covid=1), manifest_row("a/2", covid=0)], [], [])
    bare = pa.table({"image_id": ["a/1", "a/2"], "status": ["ok", "ok"], "p_covid": pa.array([0.9, 0.1], pa.float32())})
    parquet.write_table(str(tmp_path / "bare.parquet"), bare)
    with labelled_images.opened(str(tmp_path / "bare.parquet"), uri, "test", 0.3, bare=True) as found:
        _same(found.frame, join_predictions(str(tmp_path / "bare.parquet"), uri, "test"))


def test_ids_where_they_are_asked_for(archive: tuple[str, str]) -> None:
    expected = join_tables(*archive, "test")
    with labelled_images.opened(*archive, "test", 0.3, whole_ids=True) as found:
        for name in ("image_id", "patient_id", "detail"):
            assert found.frame[name].dropna().tolist() == expected[name].dropna().tolist()


def test_rows_are_drawn_and_found_as_in_memory(archive: tuple[str, str]) -> None:
    expected, whole = join_tables(*archive, "test"), WholeRows()
    with labelled_images.opened(*archive, "test", 0.3) as found:
        covid = expected["covid"] == 1
        mine, theirs = found.first(found.frame[covid.to_numpy()], 40, 3), whole.first(expected[covid], 40, 3)
        assert mine.index.tolist() == theirs.index.tolist()
        for name in ("image_id", "uri", "patient_id", "lung_png", "disease_png", "lung_mask", "fit", "view", "reason"):
            assert mine[name].dropna().tolist() == theirs[name].dropna().tolist(), name
            assert mine[name].isna().tolist() == theirs[name].isna().tolist(), name
        for name in ("covid_flag", "p_covid", "age", "covid", "height"):
            values = [rows[name].to_numpy(np.float64, na_value=np.nan) for rows in (mine, theirs)]
            np.testing.assert_array_equal(values[0], values[1])
        asked = pa.chunked_array([[*expected["image_id"][::-3].tolist(), "nobody"]])
        some = slice(5, 400)
        np.testing.assert_array_equal(
            found.places(found.frame.iloc[some], asked), whole.places(expected.iloc[some], asked)
        )
        assert found.lungs(found.frame, asked) == whole.lungs(expected, asked)
        annotated = pd.concat(list(found.annotated(at_once=50)))
    both = (expected["status"] == "ok") & expected["lung_mask"].notna() & expected["lung_png"].notna()
    assert annotated.index.tolist() == np.flatnonzero(both).tolist()


def test_metrics_are_the_same(archive: tuple[str, str]) -> None:
    expected = join_tables(*archive, "test").drop(columns=["lung_mask"]).assign(lung_mask=None)
    with labelled_images.opened(*archive, "test", 0.3) as found:
        nothing = pd.DataFrame(columns=["row", "image_id", "task", "hits", "predicted", "true", "problem"])
        mine = screen_metrics(found.frame, "test", draws=20, masks=nothing)
    assert mine == screen_metrics(expected, "test", draws=20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p_covid": float("nan")}, "expected finite scores or nulls in p_covid, got 1"),
        ({"p_unhealthy": float("inf")}, "nulls in p_unhealthy, got 1"),
        ({"status": "fine"}, "expected a status of ok, excluded, failed, got 'fine'"),
        ({"image_id": "a/2"}, "got 1 duplicate row"),
        ({"image_id": "a/3"}, "got none for 1 of 2"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path, changes, message):
    manifest = [manifest_row("a/1", covid=1), manifest_row("a/2", covid=0)]
    predictions = [prediction_row("a/1", 0.9) | changes, prediction_row("a/2", 0.2)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    for where, bare in ((results, False), (f"{results}/predictions", True)):
        with pytest.raises(ManifestError, match=message), labelled_images.opened(where, uri, "test", 0.3, bare=bare):
            pass


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([manifest_row("a/1"), manifest_row("a/1")], "a/1 is there twice"),
        (
            [manifest_row("a/1", patient_id="p"), manifest_row("a/2", patient_id="p", split="val")],
            "more than one split",
        ),
        ([manifest_row("a/1", split="val")], "expected images of split 'test'"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(tmp_path, rows, message):
    results, uri = write_results(tmp_path, rows, [prediction_row("a/1"), prediction_row("a/2")], [])
    with pytest.raises(ManifestError, match=message), labelled_images.opened(results, uri, "test", 0.3):
        pass
    with pytest.raises(ManifestError, match=message):
        join_tables(results, uri, "test")


def test_masks_of_a_selection_are_left_out(tmp_path):
    png = to_png(np.ones((4, 4), bool))
    predictions = [prediction_row("a/0", 0.9, lung_area=1.0), prediction_row("a/1", 0.1)]
    masks = [mask_row("a/0", lung_png=png), mask_row("a/1")]
    results, uri = write_results(tmp_path, [manifest_row("a/0"), manifest_row("a/1")], predictions, masks)
    run_record.open_run(results, {"masks": setting("flagged")}, {}, "none there")
    with labelled_images.opened(results, uri, "test", 0.3) as found:
        _same(found.frame, join_tables(results, uri, "test"))
        assert found.first(found.frame, 2, 0)["lung_png"].isna().all()


@pytest.mark.parametrize("split", ["test", "all"])
def test_another_screen_is_compared_by_its_decisions_alone(archive: tuple[str, str], split: str, tmp_path) -> None:
    """And the comparison is that of the tables joined in memory."""
    other = tmp_path / "other"
    for number, start in enumerate(range(0, ROWS, 500)):
        rows = prediction_rows(start, 500, seed=5)
        parquet.write_table(str(other / "predictions" / f"{number}.parquet"), rows)
    manifest = archive[1]
    with (
        labelled_images.opened(*archive, split, 0.3) as one,
        labelled_images.opened(str(other), manifest, split, 0.3, compared=True) as two,
    ):
        assert tuple(two.frame.columns) == labelled_images.COMPARED
        whole = join_predictions(str(other / "predictions"), manifest, split)
        for name in labelled_images.COMPARED:
            if name in WORDS:
                pd.testing.assert_series_equal(two.frame[name].astype("str"), whole[name].astype("str"))
            else:
                mine, theirs = (rows[name].to_numpy(np.float64, na_value=np.nan) for rows in (two.frame, whole))
                np.testing.assert_array_equal(mine, theirs)
        in_memory = join_tables(*archive, split)
        found = two_screens.compare(one.frame, two.frame, 50, 0)
        assert found == two_screens.compare(in_memory, whole, 50, 0)
        assert two_screens.sentences(found, one.frame, two.frame) == two_screens.sentences(found, in_memory, whole)
