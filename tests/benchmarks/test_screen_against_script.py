"""The comparison compares like with like: the script's scores are the model's, and both get the same files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from comit_ray.inference.model import load_model
from comit_ray.tables.manifest_schema import MANIFEST
from tests.benchmarks import plain_script
from tests.benchmarks.screen_against_script import CHUNK_ROWS, repeated, shapes, spread
from tests.support import manifest_row, write_checkpoint


def test_the_script_gives_the_models_scores_and_a_png_a_mask(tmp_path: Path) -> None:
    frames_BHW = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    paths = [str(tmp_path / f"{index}.png") for index in range(3)]
    for frame_HW, path in zip(frames_BHW, paths, strict=True):
        Image.fromarray(frame_HW).save(path)
    files = tmp_path / "files.txt"
    files.write_text("\n".join(paths))
    uri, output = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "out"
    assert plain_script.main(str(files), uri, str(output), workers=0, threads=1, batch_size=3) == 3
    table = pq.read_table(output / "predictions.parquet")
    assert table["path"].to_pylist() == paths
    with load_model(uri) as model:
        for name, values_B in model.predict(frames_BHW).probabilities.items():
            np.testing.assert_array_equal(table[f"p_{name}"].to_numpy(), values_B)
    assert len(list((output / "masks").iterdir())) == 6


def test_rows_are_repeated_under_new_names_and_chunks() -> None:
    rows = [manifest_row("a/0", uri="/x/0.png"), manifest_row("a/1", uri="/x/1.jpg")]
    rows += [manifest_row("a/2", uri="/x/2.dcm"), manifest_row("a/3", uri="/x/3.png", excluded="lateral")]
    found = repeated(pa.Table.from_pylist(rows, schema=MANIFEST), CHUNK_ROWS + 1)
    assert found["uri"].to_pylist()[:3] == ["/x/0.png", "/x/1.jpg", "/x/0.png"]
    assert len(set(found["image_id"].to_pylist())) == CHUNK_ROWS + 1
    assert len(set(found["chunk"].to_pylist())) == 16  # six of 16 to 64 rows, and ten of 72 to 5
    with pytest.raises(SystemExit, match="no loose PNG or JPEG"):
        repeated(pa.Table.from_pylist(rows[2:], schema=MANIFEST), 10)


def test_shapes_and_spread() -> None:
    assert list(shapes(2)) == [(0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert list(shapes(1)) == [(0, 1), (1, 1)]
    assert spread([3, 1, 2]) == "2.00 (1.00 to 3.00)"
