"""The front door of Python: what it answers is what a screen writes, and nothing stops a list halfway."""

import doctest
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import comit_ray
from comit_ray import api
from comit_ray.data.images.load import Place
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import ConfigError, NotFoundError
from comit_ray.front import screen_results, screening_model
from comit_ray.inference.scores import Scores
from comit_ray.screening import fetch
from comit_ray.screening.predictor import Predictor, PredictorSettings
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS, REVIEW_QUEUE
from tests.conftest import REPOSITORY
from tests.support import manifest_row, mask_row, prediction_row, write_checkpoint, write_rows


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best", threshold=0.0)


@pytest.fixture(scope="module")
def model(checkpoint: str) -> Iterator[comit_ray.ScreeningModel]:
    loaded = comit_ray.load(checkpoint, batch_size=2)
    yield loaded
    loaded.close()


def radiograph(height: int = 90, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_import_comit_ray_is_light_and_the_door_is_opened_late() -> None:
    heavy = "{'ray', 'torch', 'pandas', 'numpy', 'pyarrow', 'pydantic'}"
    script = f"import sys, comit_ray; print(sorted({heavy} & set(sys.modules))); print(comit_ray.load.__module__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "comit_ray.api"]
    with pytest.raises(AttributeError, match="has no attribute 'predict'; it has Result, Results"):
        comit_ray.predict  # noqa: B018


def test_a_path_bytes_an_array_and_a_list_of_them_give_one_answer(model: comit_ray.ScreeningModel, tmp_path) -> None:
    pixels = radiograph()
    path = tmp_path / "chest.png"
    path.write_bytes(png(pixels))
    with zipfile.ZipFile(tmp_path / "chests.zip", "w") as archive:
        archive.write(path, "a/chest.png")
    asked: list[screening_model.Radiographs] = [
        path,
        str(path),
        png(pixels),
        pixels,
        f"{tmp_path / 'chests.zip'}!a/chest.png",
    ]
    results = model.predict(asked)
    assert [result.status for result in results] == ["ok"] * 5
    assert [result.image for result in results] == [str(path), str(path), "bytes 2", "array 3", str(asked[4])]
    one = model.predict(path)
    for result in results:
        assert result.p_covid == pytest.approx(one.p_covid, abs=1e-6)
        np.testing.assert_array_equal(result.pixels, pixels)
        assert result.lung_mask.shape == result.disease_mask.shape == (90, 60)
        assert result.covid_flag is True
        assert result.operating_point == "specificity_0.90"
        assert (result.height, result.width, result.view) == (90, 60, "unknown")


def test_what_cannot_be_scored_is_a_result_with_its_reason_and_the_others_are_scored(
    model: comit_ray.ScreeningModel, tmp_path: Path
) -> None:
    whole = png(radiograph())
    (tmp_path / "sibling.txt").touch()  # the folder is there, and one file is not
    asked: list[screening_model.Radiographs] = [tmp_path / "none.png", b"text", whole, whole[:200]]
    results = model.predict([*asked, np.zeros((64, 64), np.uint8), whole])
    assert [(result.status, result.reason) for result in results] == [
        ("failed", "missing"),
        ("failed", "not_an_image"),
        ("ok", None),
        ("failed", "truncated"),
        ("failed", "blank"),
        ("ok", None),
    ]
    assert all((result.p_covid is None) == (result.status != "ok") for result in results)
    assert all(result.detail for result in results if result.status != "ok")
    with pytest.raises(ConfigError, match="expected a radiograph to draw on, but it is failed"):
        results[0].overlay()
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (3, "expected a path, bytes, or a uint8 array"),
        (np.zeros((4, 4), np.uint16), "got uint16 of shape"),
        (np.zeros((4, 4, 3), np.uint8), r"got uint8 of shape \(4, 4, 3\)"),
    ],
)
def test_something_else_is_refused_before_anything_is_read(model, wrong, said) -> None:
    with pytest.raises(ConfigError, match=said):
        model.predict([b"text", wrong])


def test_the_answer_is_that_of_a_screen_of_real_radiographs(cxr: Path, checkpoint: str, model) -> None:
    files = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:5]
    frame, limits = model._model.frame, model._limits
    rows = [manifest_row(f"nih/{file.name}", uri=str(file)) for file in files]
    with FileReader(limits.max_bytes, [Place.of(row).file for row in rows]) as reader:
        fetched = [fetch.fetch_row(row, reader, frame=frame, limits=limits) for row in rows]
    table = fetch.to_table(fetched, frame=frame)
    settings = PredictorSettings(checkpoint, model.model_id, model.operating_point, "run", 8)
    tables = Predictor(settings).predict(table)
    screened = tables["predictions"].to_pylist()
    for row, result in zip(screened, model.predict(files), strict=True):
        assert (result.status, result.covid_flag, result.height) == (row["status"], row["covid_flag"], row["height"])
        for name in ("p_covid", "p_other", "p_unhealthy"):
            assert getattr(result, name) == pytest.approx(row[name], abs=1e-6)


def test_an_unknown_operating_point_lists_those_there_are(checkpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"no operating point 'mine' .*; known: specificity_0\.90"):
        comit_ray.load(checkpoint, operating_point="mine")


def test_an_output_that_is_not_finite_is_a_failed_result(model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(frames_BHW: np.ndarray, masks: bool = True) -> Scores:
        scores = whole(frames_BHW, masks)
        scores.finite[0] = False
        return scores

    whole = model._model.predict
    monkeypatch.setattr(model._model, "predict", broken)
    first, second = model.predict([radiograph(), radiograph(seed=1)])
    assert (first.status, first.reason, first.p_covid) == ("failed", "model_failed", None)
    assert second.status == "ok"


def results_of(root: Path) -> str:
    pixels = radiograph()
    (root / "chest.png").write_bytes(png(pixels))
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:50] = True
    write_rows(root / "out" / "predictions", [prediction_row("a/chest")], PREDICTIONS)
    write_rows(root / "out" / "masks", [mask_row("a/chest", lung_png=to_png(mask))], MASKS)
    queued = {
        "rank": 1,
        "image_id": "a/chest",
        "reasons": ["near_threshold"],
        "sampling_weight": 1.0,
        "uri": str(root / "chest.png"),
        "status": "ok",
        "model_id": "m",
    }
    write_rows(root / "out" / "review_queue", [queued], REVIEW_QUEUE)
    write_rows(root / "out" / "manifest", [manifest_row("a/chest", uri=str(root / "chest.png"))], MANIFEST)
    return str(root / "out")


def test_results_answer_in_sql_and_draw_an_overlay(tmp_path: Path) -> None:
    results = comit_ray.open_results(results_of(tmp_path))
    assert results.predictions.project("image_id, status").fetchall() == [("a/chest", "ok")]
    assert results.queue.limit(1).fetchall()[0][0] == 1
    joined = "SELECT m.view, q.rank FROM review_queue q JOIN manifest m USING (image_id)"
    assert results.sql(joined).fetchall() == [("PA", 1)]
    picture = results.overlay("a/chest", 300)
    assert picture.size == (200, 300)
    grey = np.asarray(picture.convert("RGB")).astype(int)
    assert np.ptp(grey, axis=2).max() > 50, "the outline of the lungs has a colour"
    with pytest.raises(ConfigError, match="expected a row with image_id 'b'"):
        results.overlay("b")


def test_a_directory_named_like_a_column_does_not_replace_it(tmp_path: Path) -> None:
    (tmp_path / "status=failed").mkdir()
    results = comit_ray.open_results(results_of(tmp_path / "status=failed"))
    assert results.sql("SELECT status FROM predictions").fetchall() == [("ok",)]


def test_a_directory_without_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="expected the output of a screen, with predictions"):
        comit_ray.open_results(tmp_path)


@pytest.mark.parametrize("module", [api, screening_model, screen_results], ids=lambda module: module.__name__)
def test_every_example_runs(module, checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(radiograph()))
    names = {"CHECKPOINT": checkpoint, "RADIOGRAPH": tmp_path / "x.png", "RESULTS": results_of(tmp_path)}
    names |= {"load": comit_ray.load, "open_results": comit_ray.open_results}
    done = doctest.testmod(module, extraglobs=names)
    assert done.attempted > 0
    assert done.failed == 0


def test_storage_takes_results_of_s3(bucket: str, tmp_path: Path) -> None:
    local = Path(results_of(tmp_path))
    for file in local.rglob("*.parquet"):
        storage.write_bytes(storage.join(bucket, "out", *file.relative_to(local).parts), file.read_bytes())
    results = comit_ray.open_results(f"{bucket}/out")
    assert isinstance(results.predictions.to_arrow_table(), pa.Table)
    assert results.overlay("a/chest", 100).height == 100
