"""What every network promises, whatever it is made of: training, screening and checkpoints rely on no more."""

from itertools import combinations

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from comit_ray.checkpoint import checkpoint
from comit_ray.config.train_config import ModelConfig
from comit_ray.errors import ConfigError
from comit_ray.inference.torch_gradcam import GradCam
from comit_ray.models.outputs import ModelOutput
from comit_ray.models.registry import MODELS, build_model
from comit_ray.tables.vocabulary import ALL_TASKS, Task

NARROW = 0.0625
SIZE = 64
IMAGES = 3

CASES = [
    (name, tasks)
    for name, entry in MODELS.items()
    for n in range(1, 2 if entry.one_task else len(entry.tasks) + 1)
    for tasks in combinations(entry.tasks, n)
]
EVERY_CASE = pytest.mark.parametrize(
    ("name", "tasks"), CASES, ids=[f"{name}-{'+'.join(tasks)}" for name, tasks in CASES]
)
EVERY_MODEL = pytest.mark.parametrize(
    ("name", "tasks"), [(name, entry.tasks[:1]) for name, entry in MODELS.items()], ids=list(MODELS)
)


def build(name: str, tasks: tuple[Task, ...], width: float = NARROW, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(ModelConfig(name=name, tasks=tasks, width=width, weights="none"))


def images(count: int = IMAGES, size: int = SIZE, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def heads(output: ModelOutput) -> dict[Task, Tensor]:
    return {task: value for task in ALL_TASKS if (value := getattr(output, task)) is not None}


def loss_of(model: nn.Module, x_B3HW: Tensor) -> Tensor:
    """Of all heads, or the network's own."""
    if hasattr(model, "instance_loss"):
        mask_BHW = torch.zeros(len(x_B3HW), *x_B3HW.shape[-2:], dtype=torch.uint8)
        mask_BHW[:, 10:50, 8:30] = 1
        return model.instance_loss(x_B3HW, mask_BHW)
    return torch.stack([head.square().mean() for head in heads(model(x_B3HW)).values()]).sum()


def step(model: nn.Module) -> None:
    """One step of training: the weights and running statistics are no longer the initial ones."""
    model.train()
    loss_of(model, images(seed=5)).backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()


def tensors(output: ModelOutput) -> list[Tensor]:
    return [*heads(output).values(), output.embedding]


def same(a: ModelOutput, b: ModelOutput) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


@EVERY_CASE
def test_outputs(name, tasks) -> None:
    """In both modes; log-odds are those of the probabilities."""
    model = build(name, tasks)
    x, shapes = images(), {Task.LUNG: (IMAGES, 2, SIZE, SIZE), Task.DISEASE: (IMAGES, 2, SIZE, SIZE)}
    for training in (True, False):
        with torch.no_grad():
            output = model.train(training)(x)
        assert set(heads(output)) == set(tasks)
        for task, head in heads(output).items():
            assert (head.shape, head.dtype) == (shapes.get(task, (IMAGES, 2)), torch.float32)
            assert head.isfinite().all()
        assert output.embedding.shape[0] == IMAGES
        assert output.embedding.ndim == 2
        assert output.embedding.dtype == torch.float32
        assert output.embedding.isfinite().all()
        scores = [output.p_lung_BHW, output.p_disease_BHW, output.p_unhealthy, output.p_covid, output.p_other]
        given = [score for score in scores if score is not None]
        assert len(given) == len(tasks) + (Task.COVID in tasks)
        assert all(bool(((score >= 0) & (score <= 1)).all()) for score in given)
        named = {"covid": output.p_covid, "other": output.p_other, "unhealthy": output.p_unhealthy}
        probabilities = {score: value for score, value in named.items() if value is not None}
        assert list(output.log_odds) == list(probabilities)
        for score, log_odds_B in output.log_odds.items():
            assert (log_odds_B.shape, log_odds_B.dtype) == ((IMAGES,), torch.float64)
            torch.testing.assert_close(log_odds_B, torch.logit(probabilities[score].double()), atol=1e-5, rtol=1e-5)


@EVERY_CASE
def test_gradcam_reads_the_last_feature_map_of_what_classifies(name, tasks) -> None:
    """And no other network has one."""
    model = build(name, tasks)
    step(model)
    model.eval()
    if not {Task.HEALTH, Task.COVID} & set(tasks):
        assert getattr(model, "gradcam_layer", None) is None
        with pytest.raises(ConfigError, match="needs a model with a health or covid head"):
            GradCam(model)
        return
    x, sizes = images(), []
    with torch.no_grad():
        whole, classified = model(x), model.classify(x)
    assert (classified.lung, classified.disease) == (None, None)
    for one, other in ((whole.health, classified.health), (whole.covid, classified.covid)):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    assert torch.equal(whole.embedding, classified.embedding)
    layer = model.gradcam_layer
    layer.register_forward_hook(lambda module, inputs, features: sizes.append(features.shape))
    explained = GradCam(model)
    assert explained.scores == tuple(s for s, t in (("covid", Task.COVID), ("unhealthy", Task.HEALTH)) if t in tasks)
    for score in explained.scores:
        map_BHW = explained.map_BHW(x, score)
        assert (map_BHW.shape, map_BHW.min() >= 0) == ((IMAGES, SIZE, SIZE), True)
    cells = SIZE // (16 if name in ("comit_net", "vgg19") else 32)
    assert sizes == [(IMAGES, whole.embedding.shape[1], cells, cells)] * len(explained.scores)


@EVERY_CASE
def test_every_parameter_gets_a_gradient(name, tasks) -> None:
    """DistributedDataParallel waits for the gradient of each."""
    model = build(name, tasks).train()
    loss = loss_of(model, images())
    assert loss.shape == ()
    loss.backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    learning = [key for key, p in model.named_parameters() if p.grad.count_nonzero()]
    assert len(learning) > 0.8 * len(list(model.parameters()))


@EVERY_CASE
def test_a_checkpoints_weights_give_the_same_outputs(name, tasks) -> None:
    model, other = build(name, tasks), build(name, tasks, seed=9)
    step(model)
    model.eval()
    other.eval()
    x = images()
    with torch.no_grad():
        output = model(x)
        data = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})
        assert not torch.equal(output.embedding, other(x).embedding)
        checkpoint.load_weights(other, data, "memory")
        assert same(output, other(x))


@EVERY_MODEL
def test_evaluation_is_deterministic_and_of_each_image_alone(name, tasks) -> None:
    model = build(name, tasks)
    step(model)
    model.eval()
    x = images()
    with torch.no_grad():
        output, again, alone = model(x), model(x), model(x[1:2])
    assert same(output, again)
    for whole, one in zip(tensors(output), tensors(alone), strict=True):
        torch.testing.assert_close(whole[1:2], one, atol=1e-4, rtol=1e-3)


@EVERY_MODEL
def test_width_scales_the_network(name, tasks) -> None:
    counts = [sum(p.numel() for p in build(name, tasks, width).parameters()) for width in (NARROW, 2 * NARROW, 0.25)]
    assert counts[0] < counts[1] < counts[2] / 2


@EVERY_MODEL
def test_bfloat16_trains_and_predicts(name, tasks) -> None:
    model = build(name, tasks).train()
    x = images().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, x)
    loss.float().backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = model.eval()(x)
    assert all(head.isfinite().all() for head in heads(output).values())


@EVERY_MODEL
def test_sides_need_not_be_equal(name, tasks) -> None:
    with torch.no_grad():
        output = build(name, tasks).eval()(torch.randn(1, 3, 64, 96))
    for task, head in heads(output).items():
        assert head.shape == ((1, 2, 64, 96) if task in (Task.LUNG, Task.DISEASE) else (1, 2))


@EVERY_MODEL
def test_the_same_seed_gives_the_same_weights(name, tasks) -> None:
    first, second = build(name, tasks, seed=3).state_dict(), build(name, tasks, seed=3).state_dict()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
