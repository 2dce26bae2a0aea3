"""Masks from bits to PNG and figures, beside rows that have none."""

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.data.masks.masks import from_png
from comit_ray.inference.scores import pack_masks
from comit_ray.screening.mask_tables import finish, mask_bits_schema, measure_regions
from comit_ray.tables.schema import MASKS, PREDICTIONS
from comit_ray.tables.vocabulary import MASK_TASKS, Task
from tests.support import prediction_row


@pytest.mark.parametrize("heads", [MASK_TASKS, (Task.LUNG,)])
def test_images_that_are_scored_have_pngs_and_figures_and_others_null(heads) -> None:
    random = np.random.default_rng(1)
    lungs, diseases = random.random((2, 3, 20, 20)) < 0.4
    lungs[1] = False
    predictions = [prediction_row(f"a/{i}") | dict.fromkeys(("lung_area", "zone_disease")) for i in range(4)]
    predictions[2] |= {"status": "failed", "reason": "truncated"}
    place = {"frame_height": 20, "frame_width": 20, "fit": "pad", "original_top": 0.0, "original_left": 0.0}
    place |= {"rows_per_pixel": 1.0, "columns_per_pixel": 1.0}
    scored = ("a/0", "a/1", "a/3")
    bits = [
        {"image_id": image_id, "lung_bits": lung.tobytes(), "disease_bits": disease.tobytes()} | place
        for image_id, lung, disease in zip(scored, pack_masks(lungs), pack_masks(diseases), strict=True)
    ]
    tables = finish(
        {
            "predictions": pa.Table.from_pylist(predictions, schema=PREDICTIONS),
            "masks": pa.Table.from_pylist(bits, schema=mask_bits_schema(50, heads)),
            "embeddings": pa.table({"x": [1]}),
        }
    )
    assert tables["predictions"].schema.equals(PREDICTIONS, check_metadata=True)
    assert tables["masks"].schema.equals(MASKS, check_metadata=True)
    assert tables["embeddings"].to_pylist() == [{"x": 1}]
    rows = tables["predictions"].to_pylist()
    for row, lung, disease in zip(
        [rows[0], rows[1], rows[3]], lungs, diseases if Task.DISEASE in heads else [None] * 3, strict=True
    ):
        expected = measure_regions(lung, disease)
        assert row["lung_area"] == pytest.approx(expected.lung_area)
        assert row["disease_area"] == (None if disease is None else pytest.approx(expected.disease_area))
        assert (row["zone_disease"] is None) == (expected.zone_disease is None)
    assert rows[2]["lung_area"] is rows[2]["zone_disease"] is None
    masks = tables["masks"].to_pylist()
    assert (from_png(masks[0]["lung_png"]) == lungs[0]).all()
    if Task.DISEASE in heads:
        assert (from_png(masks[1]["disease_png"]) == diseases[1]).all()
    else:
        assert [row["disease_png"] for row in masks] == [None] * 3


def test_masks_of_other_images_than_the_scored_are_refused() -> None:
    """A mask beside another image's scores would be a wrong finding."""
    place = {"frame_height": 8, "frame_width": 8, "fit": "pad", "original_top": 0.0, "original_left": 0.0}
    bits = {"image_id": "a/1", "lung_bits": bytes(8), "rows_per_pixel": 1.0, "columns_per_pixel": 1.0} | place
    tables = {
        "predictions": pa.Table.from_pylist([prediction_row("a/0")], schema=PREDICTIONS),
        "masks": pa.Table.from_pylist([bits], schema=mask_bits_schema(8, (Task.LUNG,))),
    }
    with pytest.raises(AssertionError, match="a mask of another image"):
        finish(tables)
