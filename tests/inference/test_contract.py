"""What every backend promises of every network: the seam that screening, notebooks and the benchmark rely on.

Same frames, same scores. In other batches a sum is taken in another order: probabilities and embeddings may then differ
by `TOLERANCE`, and a mask in the pixels whose probability lies so near to the threshold.
"""

import gc
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.inference.model import BACKENDS, Model, load_model
from comit_ray.inference.openvino_export import REFUSED
from comit_ray.inference.scores import Scores
from comit_ray.models.registry import MODELS
from comit_ray.tables.vocabulary import MASK_TASKS, SCORE_TASKS, Task
from tests.support import with_openvino, write_checkpoint

SIZE, IMAGES = 64, 5
TOLERANCE = 1e-5
"""Of a probability, and of an embedding relative to its largest value; and the share of a mask's pixels."""
FUSED_ELSEWHERE = set(MODELS) - {"comit_net", "densenet121"}
"""Of the fused networks one folds every batch norm and one can fold none of many; the others are alike."""
NETWORKS = [
    (backend, name, tasks)
    for backend in BACKENDS
    for name, entry in MODELS.items()
    if backend == "torch" or name not in (REFUSED if backend == "openvino" else FUSED_ELSEWHERE)
    for tasks in ([entry.tasks] if not entry.one_task else [entry.tasks[:1]])
]

CASES = [pytest.param(case, id=f"{case[0]}-{case[1]}-{'+'.join(case[2])}") for case in NETWORKS]
OF_LEAKS = [case for case, (_, name, _) in zip(CASES, NETWORKS, strict=True) if name in ("comit_net", "mask_rcnn")]
"""What leaks is the backend's: one network with every head and heat maps, and the one that is made most otherwise."""

Load = Callable[..., Model]


@pytest.fixture(scope="module", params=CASES)
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Loads one network through one backend; the caller closes it."""
    backend, name, tasks = request.param
    uri = write_checkpoint(tmp_path_factory.mktemp(name) / "checkpoint", seed=1, name=name, tasks=list(tasks))
    if backend == "openvino":
        with_openvino(uri)

    def loads(**options: Any) -> Model:
        return load_model(uri, backend=backend, **{"batch_size": 4} | options)

    return loads


@pytest.fixture(scope="module")
def model(load: Load):
    with load() as loaded:
        yield loaded


@pytest.fixture(scope="module")
def usual(model: Model) -> Scores:
    return model.predict(frames())


def frames(count: int = IMAGES, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE), np.uint8)


def assert_same(found: Scores, expected: Scores) -> None:
    assert len(found) == len(expected)
    assert (found.height, found.width) == (expected.height, expected.width)
    np.testing.assert_array_equal(found.finite, expected.finite)
    assert list(found.probabilities) == list(expected.probabilities)
    for name, values in found.probabilities.items():
        np.testing.assert_allclose(values, expected.probabilities[name], atol=TOLERANCE, rtol=0)
    largest = float(np.abs(expected.embedding).max(initial=0))
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=TOLERANCE * largest, rtol=0)
    assert set(found.masks) == set(expected.masks)
    for task in found.masks:
        ours, theirs = found.mask_BHW(task), expected.mask_BHW(task)
        assert np.mean(ours != theirs) <= TOLERANCE * ours.size, task


def test_the_heads_of_the_network_have_scores_and_the_others_none(model: Model, usual: Scores) -> None:
    assert len(usual) == IMAGES
    assert usual.finite.all()
    assert set(usual.masks) == set(MASK_TASKS) & set(model.tasks)
    assert (usual.p_covid is None) == (usual.p_other is None) == (Task.COVID not in model.tasks)
    assert (usual.p_unhealthy is None) == (Task.HEALTH not in model.tasks)
    for values in usual.probabilities.values():
        assert ((values > 0) & (values < 1)).all()
    assert np.ptp(usual.embedding, axis=0).any(), "images differ"


def test_the_same_frames_have_the_same_scores(model: Model, load: Load, usual: Scores) -> None:
    """To the last bit in the same batches, also of a model that is loaded again."""
    with load() as again:
        for found in (model.predict(frames()), again.predict(frames())):
            for name, values in usual.probabilities.items():
                np.testing.assert_array_equal(found.probabilities[name], values)
            np.testing.assert_array_equal(found.embedding, usual.embedding)
            for task, bits in usual.masks.items():
                np.testing.assert_array_equal(found.masks[task], bits)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_an_image_is_in_does_not_matter(load: Load, usual: Scores, batch_size: int) -> None:
    """Batches of one, of an odd size with a rest, and one that is larger than what there is."""
    with load(batch_size=batch_size) as other:
        assert_same(other.predict(frames()), usual)


def test_one_image_is_enough_and_the_order_is_kept(model: Model, usual: Scores) -> None:
    assert_same(model.predict(frames()[2:3]), usual.take(slice(2, 3)))
    backwards = np.arange(IMAGES)[::-1]
    assert_same(model.predict(frames()[backwards]), usual.take(backwards))


def test_of_no_image_the_scores_are_empty(model: Model, usual: Scores) -> None:
    found = model.predict(frames()[:0])
    assert (len(found), set(found.masks)) == (0, set(usual.masks))
    assert list(found.probabilities) == list(usual.probabilities)


def test_masks_are_left_out_where_nobody_asks(model: Model, usual: Scores) -> None:
    found = model.predict(frames(), masks=False)
    assert not found.masks
    for name, values in usual.probabilities.items():
        np.testing.assert_array_equal(found.probabilities[name], values)
        np.testing.assert_array_equal(found.log_odds[name], usual.log_odds[name])
    np.testing.assert_array_equal(found.embedding, usual.embedding)


def test_embeddings_alone_are_those_of_the_scores(model: Model, usual: Scores) -> None:
    np.testing.assert_array_equal(model.embed(frames()), usual.embedding)


def test_the_frames_are_not_changed_and_may_be_read_only(model: Model, usual: Scores) -> None:
    given = frames()
    given.flags.writeable = False
    assert_same(model.predict(given), usual)
    assert_same(model.predict(np.ascontiguousarray(frames()[:, ::-1])[:, ::-1]), usual)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (frames().astype(np.float32), "expected a uint8 array, 0 black to 255 white, got float32"),
        (frames().astype(np.int16), "got int16"),
        (frames().tolist(), "got list"),
        (frames()[0], r"expected shape \(B, 64, 64\), the frame of model [0-9a-f]{12}\S*, got \(64, 64\)"),
        (frames()[..., None], r"got \(5, 64, 64, 1\)"),
        (frames()[:, :-1], r"got \(5, 63, 64\); comit_ray.data.images.frame.to_frame resamples"),
    ],
)
def test_frames_of_another_form_are_refused(model: Model, wrong: Any, said: str) -> None:
    for method in (model.predict, model.embed, model.heat_maps):
        with pytest.raises(ValueError, match=said):
            method(wrong)


def test_heat_maps_where_there_is_a_score_and_a_clear_word_where_not(load: Load, model: Model) -> None:
    with pytest.raises(ValueError, match=r"loaded without Grad-CAM: load_model\(..., gradcam=True\)"):
        model.heat_maps(frames())
    if model.backend == "openvino":
        with pytest.raises(ConfigError, match="needs gradients, which OpenVINO does not give: use --backend torch"):
            load(gradcam=True)
        return
    if model.backend == "torch-fused":
        with pytest.raises(ConfigError, match="needs the plain network: use --backend torch"):
            load(gradcam=True)
        return
    if not set(SCORE_TASKS) & set(model.tasks):
        with pytest.raises(ConfigError, match="needs a model with a health or covid head"):
            load(gradcam=True)
        return
    with load(gradcam=True) as explained:
        maps = explained.heat_maps(frames())
        alone = explained.heat_maps(frames()[1:2])
    assert set(maps) == {"covid", "unhealthy"}
    for score, map_BHW in maps.items():
        assert map_BHW.shape == (IMAGES, SIZE, SIZE)
        assert map_BHW.dtype == np.float32
        assert map_BHW.min() >= 0
        np.testing.assert_allclose(alone[score][0], map_BHW[1], atol=1e-4 * map_BHW.max())


def test_a_batch_that_is_too_large_is_halved_until_it_fits(load: Load, usual: Scores, monkeypatch) -> None:
    with load(batch_size=IMAGES) as model:
        if not model.OUT_OF_MEMORY:
            pytest.skip("this backend has no error for a batch that is too large")
        sizes: list[int] = []
        original = model._scores

        def limited(frames_BHW: np.ndarray, masks: bool) -> Scores:
            sizes.append(len(frames_BHW))
            if len(frames_BHW) > 2:
                raise model.OUT_OF_MEMORY[0]("too many")
            return original(frames_BHW, masks)

        monkeypatch.setattr(model, "_scores", limited)
        assert_same(model.predict(frames()), usual)
        assert sizes == [5, 2, 2, 1]
        monkeypatch.setattr(model, "_scores", lambda *_: (_ for _ in ()).throw(model.OUT_OF_MEMORY[0]("none left")))
        with pytest.raises(model.OUT_OF_MEMORY, match="none left"):
            model.predict(frames())


def test_a_closed_model_says_so(load: Load) -> None:
    model = load()
    model.close()
    model.close()
    for method in (model.predict, model.embed, model.heat_maps):
        with pytest.raises(ValueError, match="is closed: load it again"):
            method(frames())


@pytest.mark.parametrize("load", OF_LEAKS, indirect=True)
def test_nothing_is_left_of_a_closed_model(load: Load) -> None:
    """Of one that was loaded, asked and closed: no thread, no open file, no tensor, though the object is still held.

    Threads by /proc, so that those of libraries count; tensors and arrays by the garbage collector. The first model
    fills what libraries keep for the process.
    """
    with load() as model:
        gradcam = model.backend == "torch" and bool(set(SCORE_TASKS) & set(model.tasks))

    def use() -> Model:
        model = load(gradcam=gradcam)
        model.predict(frames())
        if gradcam:
            model.heat_maps(frames(1))
        model.close()
        return model

    first = use()
    before = held()
    second = use()
    assert held() == before
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None, "nobody else holds it"
    assert second.model_id, "held until here"


def held() -> dict[str, int]:
    """What this process has: threads, open files, and values of all tensors that Python knows."""
    gc.collect()
    tensors = [value for value in gc.get_objects() if issubclass(type(value), torch.Tensor)]
    process = Path("/proc/self")
    return {
        "threads": len(os.listdir(process / "task")) if process.exists() else threading.active_count(),
        "files": len(os.listdir(process / "fd")) if process.exists() else 0,
        "values": sum(tensor.numel() for tensor in tensors),
    }


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"backend": "tensorflow"}, ConfigError, "unknown 'tensorflow'; known: .*torch"),
        ({"batch_size": 0}, ConfigError, "batch_size: expected at least 1, got 0"),
        ({"threads": 0}, ConfigError, "threads: expected at least 1, got 0"),
        ({"precision": "int8"}, ConfigError, "backend torch: precision float32 is all .* got int8"),
        ({"backend": "openvino", "device": "cuda"}, ConfigError, "computes on CPUs, got device cuda"),
    ],
)
def test_what_cannot_be_loaded_is_said_before_anything_is_read(options: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        load_model("/nowhere", **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_that_is_not_there_is_a_checkpoint_error(backend: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_model(str(tmp_path / "nowhere"), backend=backend)
