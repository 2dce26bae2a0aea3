import torch
from torch import nn

from comit_ray.training import collective


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())


def test_frozen_until_the_next_train() -> None:
    model = network().train()
    collective.freeze(model)
    assert [module.training for module in model] == [True, False, True]
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.train()
    assert model[1].training


def test_synchronised_has_the_same_state_dict() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    converted = collective.synchronised(model)
    assert isinstance(converted.get_submodule("1"), nn.SyncBatchNorm)
    after = converted.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
