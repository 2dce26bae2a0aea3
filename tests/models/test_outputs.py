import pytest
import torch

from comit_ray.config.train_config import ModelConfig
from comit_ray.models.outputs import IMAGENET_MEAN, IMAGENET_STD, normalise, within_unhealthy
from comit_ray.models.registry import build_model


def test_normalise_gives_three_channels_with_imagenet_statistics() -> None:
    frames = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    x = normalise(frames)
    assert x.shape == (1, 3, 2, 2)
    assert x.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        expected = (torch.tensor([[0, 1], [0.2, 0.4]]) - mean) / std
        torch.testing.assert_close(x[0, channel], expected)
    assert normalise(frames, torch.bfloat16).dtype == torch.bfloat16


def test_within_unhealthy_is_the_product_of_two_probabilities() -> None:
    covid_B2 = torch.tensor([[0.0, 2.0], [-3.0, 40.0], [90.0, -90.0]], dtype=torch.float64)
    health_B2 = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-50.0, 40.0]], dtype=torch.float64)
    found = torch.sigmoid(within_unhealthy(covid_B2, health_B2))
    expected = torch.sigmoid(covid_B2) * torch.softmax(health_B2, dim=1)[:, 1:]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["comit_net", "mobilenet_v2"])
def test_scores_are_within_unhealthy_and_training_is_by_the_head_alone(name) -> None:
    config = ModelConfig(name=name, tasks=("health", "covid"), width=0.25, weights="none")
    torch.manual_seed(0)
    alone, within = build_model(config), build_model(config.model_copy(update={"within_unhealthy": True}))
    within.load_state_dict(alone.state_dict())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, product = alone.eval()(x), within.eval()(x)
        torch.testing.assert_close(product.p_covid, plain.p_covid * plain.p_unhealthy)
        torch.testing.assert_close(product.p_other, plain.p_other * plain.p_unhealthy)
        torch.testing.assert_close(within.classify(x).p_covid, product.p_covid)
        torch.testing.assert_close(product.log_odds["covid"].sigmoid().float(), product.p_covid)
        torch.testing.assert_close(product.p_unhealthy, plain.p_unhealthy)
        assert (product.p_covid < plain.p_covid).all()
        torch.manual_seed(1)
        trained = within.train()(x)
        torch.manual_seed(1)
        torch.testing.assert_close(trained.covid, alone.train()(x).covid)


def test_within_unhealthy_needs_both_heads() -> None:
    with pytest.raises(ValueError, match="needs the heads health and covid, got lung, covid"):
        ModelConfig(tasks=("lung", "covid"), within_unhealthy=True)
