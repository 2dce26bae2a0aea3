"""Masks from bits to PNG and figures, beside rows that have none."""

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.data.masks.masks import from_png
from comit_ray.screening.mask_tables import MASK_BITS, finish, from_bits, measure_regions, to_bits
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.support import prediction_row


@pytest.mark.parametrize("size", [1, 7, 64, 101])
def test_bits_give_the_mask_again(size: int) -> None:
    mask_BHW = np.random.default_rng(0).random((3, size, size)) < 0.5
    for packed, mask_HW in zip(to_bits(mask_BHW), mask_BHW, strict=True):
        assert (from_bits(packed.tobytes(), size, size) == mask_HW).all()


def test_images_that_are_scored_have_pngs_and_figures_and_others_null() -> None:
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
        for image_id, lung, disease in zip(scored, to_bits(lungs), to_bits(diseases), strict=True)
    ]
    bits[2]["disease_bits"] = None
    tables = finish(
        {
            "predictions": pa.Table.from_pylist(predictions, schema=PREDICTIONS),
            "masks": pa.Table.from_pylist(bits, schema=MASK_BITS),
            "embeddings": pa.table({"x": [1]}),
        }
    )
    assert tables["predictions"].schema.equals(PREDICTIONS, check_metadata=True)
    assert tables["masks"].schema.equals(MASKS, check_metadata=True)
    assert tables["embeddings"].to_pylist() == [{"x": 1}]
    rows = tables["predictions"].to_pylist()
    for row, lung, disease in zip([rows[0], rows[1], rows[3]], lungs, [*diseases[:2], None], strict=True):
        expected = measure_regions(lung, disease)
        assert row["lung_area"] == pytest.approx(expected.lung_area)
        assert row["disease_area"] == (None if disease is None else pytest.approx(expected.disease_area))
        assert (row["zone_disease"] is None) == (expected.zone_disease is None)
    assert rows[2]["lung_area"] is rows[2]["zone_disease"] is None
    masks = tables["masks"].to_pylist()
    assert (from_png(masks[0]["lung_png"]) == lungs[0]).all()
    assert (from_png(masks[1]["disease_png"]) == diseases[1]).all()
    assert masks[2]["disease_png"] is None
