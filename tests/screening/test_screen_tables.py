import pyarrow as pa
import pytest

from comit_ray.errors import NotFoundError
from comit_ray.screening.screen_tables import layout, read_predictions
from comit_ray.tables.schema import PREDICTIONS
from tests.support import prediction_row, write_rows


@pytest.mark.parametrize(
    ("asked", "sides"),
    [
        ((False,), ("masks",)),
        ((True,), ("masks", "embeddings")),
        ((False, True), ("masks", "gradcam")),
        ((True, True), ("masks", "embeddings", "gradcam")),
        ((False, False, 3), ("masks", "variants")),
    ],
)
def test_side_tables_are_those_asked_for(asked, sides):
    found = layout(*asked)
    assert (found.main, found.sides, found.flag) == ("predictions", sides, "covid_flag")
    assert set(found.facts) <= set(PREDICTIONS.names)


def test_variants_have_a_row_for_each_altered_copy():
    assert layout(False, variants=3).several == {"variants": 3}
    assert layout(True, True).several == {}


def test_columns_younger_than_a_table_are_null(tmp_path):
    older = pa.schema([field for field in PREDICTIONS if field.name != "calibration"])
    write_rows(tmp_path / "predictions", [prediction_row("a/1")], older)
    table = read_predictions(str(tmp_path))
    assert table["calibration"].to_pylist() == [None]
    assert table["p_covid"].null_count == 0
    assert set(table.column_names) == set(PREDICTIONS.names)


def test_there_may_be_none(tmp_path):
    with pytest.raises(NotFoundError):
        read_predictions(str(tmp_path))
