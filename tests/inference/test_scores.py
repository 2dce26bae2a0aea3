"""Scores are arrays of one length; what is made of them is compared with SciPy and PyTorch."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from comit_ray.inference.scores import Scores, concatenate, empty, pack_masks, unpack_masks
from comit_ray.models.outputs import ModelOutput
from comit_ray.tables.vocabulary import ALL_TASKS, SCORES_OF, Task

SIZE = 20


def scores(count: int = 5, seed: int = 0, **changes: Any) -> Scores:
    random = np.random.default_rng(seed)
    log_odds = {name: random.normal(size=count) * 4 for name in ("covid", "other", "unhealthy")}
    lungs, diseases = random.random((2, count, SIZE, SIZE)) < 0.4
    values: dict[str, Any] = {
        "embedding": random.normal(size=(count, 7)).astype(np.float32),
        "finite": np.arange(count) != 2,
        "height": SIZE,
        "width": SIZE,
        "log_odds": log_odds,
        "masks": {Task.LUNG: pack_masks(lungs), Task.DISEASE: pack_masks(diseases)},
        **{f"p_{name}": expit(odds).astype(np.float32) for name, odds in log_odds.items()},
    }
    return Scores(**values | changes)


def same(one: Scores, other: Scores) -> bool:
    return pickle.dumps(_plain(one)) == pickle.dumps(_plain(other))


def _plain(found: Scores) -> list[Any]:
    arrays = [
        found.embedding,
        found.finite,
        *found.probabilities.values(),
        *found.log_odds.values(),
        *found.masks.values(),
    ]
    return [
        [*found.probabilities],
        [*found.log_odds],
        [*found.masks],
        *((a.shape, a.dtype, a.tobytes()) for a in arrays),
    ]


@pytest.mark.parametrize("size", [1, 7, 64, 101])
def test_bits_give_the_mask_again(size: int) -> None:
    mask_BHW = np.random.default_rng(0).random((3, size, size)) < 0.5
    packed = pack_masks(mask_BHW)
    assert packed.shape == (3, -(-size * size // 8))
    np.testing.assert_array_equal(unpack_masks(packed, size, size), mask_BHW)


def test_parts_put_together_are_the_whole() -> None:
    whole = scores()
    assert same(concatenate([whole.take(slice(0, 2)), whole.take(slice(2, 3)), whole.take(slice(3, 5))]), whole)
    assert same(whole.take(np.array([True] * 5)), whole)
    assert same(whole.take(np.array([1, 3])), whole.take(np.array([False, True, False, True, False])))
    assert not same(whole.take(np.array([1, 3])), whole.take(np.array([3, 1])))


def test_parts_of_two_models_are_refused() -> None:
    other = scores(p_unhealthy=None, log_odds={name: np.zeros(5) for name in ("covid", "other")})
    with pytest.raises(ValueError, match="expected Scores of one model"):
        concatenate([scores(), other])
    with pytest.raises(ValueError, match="got none"):
        concatenate([])


@pytest.mark.parametrize("tasks", [ALL_TASKS, (Task.COVID,), (Task.HEALTH,), (Task.LUNG,)])
def test_of_no_image_there_are_the_arrays_of_the_heads(tasks) -> None:
    found = empty(tasks, SIZE, SIZE)
    assert len(found) == 0
    assert set(found.masks) == {Task.LUNG, Task.DISEASE} & set(tasks)
    assert (found.p_covid is None) == (found.p_other is None) == (Task.COVID not in tasks)
    assert (found.p_unhealthy is None) == (Task.HEALTH not in tasks)
    assert not empty(tasks, SIZE, SIZE, masks=False).masks


def test_temperatures_divide_the_log_odds_as_torch_does_to_the_last_bit() -> None:
    """The numbers in tables that were written when PyTorch divided them."""
    random = np.random.default_rng(3)
    odds = (random.normal(size=20_000) * 8).astype(np.float32).astype(np.float64)
    found = scores(
        20_000, p_covid=expit(odds).astype(np.float32), log_odds=scores(20_000).log_odds | {"covid": odds}
    ).scaled({"covid": 2.5, "no such": 1.0})
    expected = torch.sigmoid(torch.from_numpy(odds) / 2.5).float().numpy()
    np.testing.assert_array_equal(found["covid"], expected)
    np.testing.assert_array_equal(found["other"], scores(20_000).p_other)


def test_the_log_odds_of_the_health_head_are_the_difference_of_its_logits() -> None:
    health = torch.tensor([[1.0, 3.0], [-40.0, 40.0], [2.0, 2.0]])
    output = ModelOutput(None, None, health, None, torch.zeros(3, 1))
    odds = {name: values.numpy() for name, values in output.log_odds.items()}
    assert output.p_unhealthy is not None
    p_unhealthy = output.p_unhealthy.numpy()
    found = Scores(np.zeros((3, 1), np.float32), np.ones(3, bool), 8, 8, p_unhealthy=p_unhealthy, log_odds=odds)
    scaled = found.scaled({"unhealthy": 4.0, "covid": 2.0})
    assert list(scaled) == ["unhealthy"], "there is no COVID head"
    np.testing.assert_allclose(scaled["unhealthy"], expit([0.5, 20, 0]), rtol=1e-6)
    np.testing.assert_allclose(scaled["unhealthy"], torch.softmax(health / 4, dim=1)[:, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("embedding", np.zeros((4, 7), np.float32), "embedding should be float32 (5, 7), got float32 (4, 7)"),
        ("embedding", np.zeros((5, 7)), "embedding should be float32 (5, 7), got float64 (5, 7)"),
        ("p_covid", np.zeros((5, 1), np.float32), "p_covid should be float32 (5,), got float32 (5, 1)"),
        ("p_covid", None, "p_covid and its log-odds go together"),
        ("log_odds", {}, "p_covid and its log-odds go together"),
        ("masks", {Task.LUNG: np.zeros((5, SIZE, SIZE), bool)}, "masks[lung] should be uint8 (5, 50)"),
    ],
)
def test_arrays_of_another_form_are_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match="Scores: ") as caught:
        scores(**{name: value})
    assert said in str(caught.value)


def test_a_mask_is_unpacked_where_there_is_one() -> None:
    lungs = np.random.default_rng(5).random((5, SIZE, SIZE)) < 0.5
    found = scores(masks={Task.LUNG: pack_masks(lungs)})
    np.testing.assert_array_equal(found.mask_BHW(Task.LUNG), lungs)
    assert found.mask_BHW(Task.DISEASE) is None
    assert set(SCORES_OF) == {Task.HEALTH, Task.COVID}
