from itertools import pairwise

import pytest
import torch

from comit_ray.config.train_config import OptimConfig
from comit_ray.training.epoch import learning_rate, make_optimiser


def test_constant_and_cosine_rates() -> None:
    assert {learning_rate(OptimConfig(lr=0.1), step, 10) for step in range(300)} == {0.1}
    cosine = OptimConfig(lr=0.1, schedule="cosine", epochs=5)
    rates = [learning_rate(cosine, step, 10) for step in range(50)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9] == rates[10] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.001
    assert learning_rate(OptimConfig(lr=0.1, schedule="cosine", epochs=1), 0, 10) == 0.1


def test_the_optimiser_is_the_one_asked_for() -> None:
    model = torch.nn.Linear(2, 2)
    adam = make_optimiser(model, OptimConfig(), fused=True)
    assert isinstance(adam, torch.optim.Adam)
    assert adam.defaults["fused"]
    sgd = make_optimiser(model, OptimConfig(optimiser="sgd", lr=1e-3, momentum=0.9), fused=False)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"]) == (1e-3, 0.9)
