import math
import multiprocessing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from comit_ray.config.train_config import LossConfig, TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.models.comit_net import COMiTNet
from comit_ray.models.outputs import ModelOutput
from comit_ray.training import collective, losses
from comit_ray.training.batches import Batch
from comit_ray.training.losses import Objective, task_losses, total_loss


def batch(unhealthy: list[int], covid: list[int], other: list[int], masks: Any = None, size: int = 2) -> Batch:
    count = len(unhealthy)
    if masks is None:
        masks = torch.full((count, 2, size, size), IGNORE, dtype=torch.uint8)
    return Batch(
        torch.zeros(count, size, size, dtype=torch.uint8),
        masks,
        torch.tensor(unhealthy),
        torch.tensor(covid),
        torch.tensor(other),
        torch.zeros(count, dtype=torch.int64),
        torch.arange(count),
    )


def output(count: int, size: int = 2) -> ModelOutput:
    torch.manual_seed(0)
    return ModelOutput(
        lung=torch.randn(count, 2, size, size, requires_grad=True),
        disease=torch.randn(count, 2, size, size, requires_grad=True),
        health=torch.randn(count, 2, requires_grad=True),
        covid=torch.randn(count, 2, requires_grad=True),
        embedding=torch.zeros(count, 1),
    )


def total(given: ModelOutput, labels: Batch, **options: Any) -> torch.Tensor:
    config = LossConfig(**options)
    losses_TB, active = task_losses(given, labels, config.reduction)
    return total_loss(losses_TB, active.sum(dim=1).float(), config, world_size=1)


def test_the_penalty_of_a_step_in_parts_weighs_as_much_as_that_of_one() -> None:
    """Each of two parts has the images of two sources; their penalties have half the weight each."""
    labels = replace(batch([0] * 8, [0] * 8, [0] * 8), group_B3=torch.tensor([[0, 0, 0], [1, 1, 0]] * 4))
    embedding_BE = torch.tensor([[0.0, 1], [1, 0]] * 4)
    penalties = []
    for parts in (1, 2):
        values = {
            "data": "d", "storage": "s", "name": "n", "loss": {"source_penalty": 3.0},
            "model": {"weights": "none"}, "train": {"batch_size": 8, "accumulate": parts},
        }  # fmt: skip
        objective = Objective(nn.Identity(), TrainConfig.parse(values, origin="test"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                losses,
                "predict",
                lambda model, part, *_: replace(output(len(part)), embedding=embedding_BE[: len(part)]),
            )
            penalties.append(sum(float(objective(part)[-1].detach().sum()) for part in labels.parts(parts)))
    assert penalties[0] > 0
    assert penalties[1] == pytest.approx(penalties[0])


def test_equations_by_hand() -> None:
    """Two images: one with a lung mask of which a pixel is unknown, a label for health; one with covid and other."""
    given = ModelOutput(
        lung=torch.tensor([[[[0.0, 1.0]], [[0.0, 3.0]]], [[[9.0, 9.0]], [[0.0, 0.0]]]]),
        disease=torch.zeros(2, 2, 1, 2),
        health=torch.tensor([[0.0, 1.0], [5.0, 0.0]]),
        covid=torch.tensor([[3.0, 3.0], [2.0, -1.0]]),
        embedding=torch.zeros(2, 1),
    )
    masks = torch.full((2, 2, 1, 2), IGNORE, dtype=torch.uint8)
    masks[0, 0, 0] = torch.tensor([1, IGNORE])
    labels = batch([1, -1], [-1, 1], [-1, 0], masks)
    z1 = math.log(2)  # one known pixel, both logits 0
    z3 = -math.log(math.e / (1 + math.e))
    z4 = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))
    losses, active = task_losses(given, labels)
    torch.testing.assert_close(losses, torch.tensor([[z1, 0], [0, 0], [z3, 0], [0, z4]]))
    assert active.tolist() == [[True, False], [False, False], [True, False], [False, True]]
    assert total(given, labels).item() == pytest.approx(z1 + z3 + z4)
    assert total(given, labels, lung=2, health=0, covid=0.5).item() == pytest.approx(2 * z1 + z4 / 2)


def test_mean_is_over_known_pixels_then_over_active_images() -> None:
    given = output(3)
    masks = torch.full((3, 2, 2, 2), IGNORE, dtype=torch.uint8)
    masks[0, 0] = torch.tensor([[0, 1], [1, IGNORE]])
    masks[2, 0] = torch.tensor([[1, 1], [1, 1]])
    log_p = torch.log_softmax(given.lung.detach(), dim=1)
    first = -(log_p[0, 0, 0, 0] + log_p[0, 1, 0, 1] + log_p[0, 1, 1, 0])
    third = -log_p[2, 1].sum()
    labels = batch([-1] * 3, [-1] * 3, [-1] * 3, masks)
    assert total(given, labels).item() == pytest.approx(((first / 3 + third / 4) / 2).item())
    assert total(given, labels, reduction="sum").item() == pytest.approx((first + third).item())


def test_the_literal_sum_is_50176_times_the_mean_at_224() -> None:
    given = output(1, size=224)
    labels = batch([-1], [-1], [-1], torch.ones(1, 2, 224, 224, dtype=torch.uint8), size=224)
    ratio = total(given, labels, reduction="sum") / total(given, labels)
    assert ratio.item() == pytest.approx(50_176, rel=1e-4)


@pytest.mark.parametrize("off", ["lung", "disease", "health", "covid"])
def test_a_switched_off_image_gives_that_head_no_loss_and_no_gradient(off) -> None:
    given = output(2)
    masks = torch.ones(2, 2, 2, 2, dtype=torch.uint8)
    unhealthy, covid, other = [1, 1], [1, 1], [0, 0]
    if off == "lung":
        masks[0, 0] = IGNORE
    elif off == "disease":
        masks[0, 1] = IGNORE
    elif off == "health":
        unhealthy[0] = -1
    else:
        other[0] = -1
    total(given, batch(unhealthy, covid, other, masks)).backward()
    for head in ("lung", "disease", "health", "covid"):
        gradient = getattr(given, head).grad
        assert gradient[1].abs().sum() > 0
        assert (gradient[0].abs().sum().item() == 0) == (head == off)


@pytest.mark.parametrize(("covid", "other"), [(-1, 0), (1, -1), (-1, -1)])
def test_covid_and_other_share_one_switch(covid, other) -> None:
    losses, active = task_losses(output(1), batch([-1], [covid], [other]))
    assert losses.abs().sum() == 0
    assert not active.any()


def test_nothing_known_is_zero_and_still_connected() -> None:
    given = output(2)
    loss = total(given, batch([-1] * 2, [-1] * 2, [-1] * 2))
    loss.backward()
    assert loss.item() == 0
    for head in ("lung", "disease", "health", "covid"):
        assert getattr(given, head).grad.abs().sum() == 0


def test_large_logits_stay_finite() -> None:
    given = output(1)
    for head in ("lung", "disease", "health", "covid"):
        setattr(given, head, (getattr(given, head).detach() * 1e4).requires_grad_())
    loss = total(given, batch([0], [0], [1], torch.zeros(1, 2, 2, 2, dtype=torch.uint8)))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(getattr(given, head).grad).all() for head in ("lung", "disease", "health", "covid"))


def test_an_absent_head_has_no_loss() -> None:
    model = COMiTNet(["covid"], 0.0625)
    given = model(torch.randn(2, 3, 32, 32))
    losses, active = task_losses(given, batch([1, 0], [1, 0], [0, 1], torch.ones(2, 2, 32, 32, dtype=torch.uint8), 32))
    assert active.any(dim=1).tolist() == [False, False, False, True]
    assert losses[:3].abs().sum() == 0


class Heads(nn.Module):
    """All four heads without batch normalisation, whose statistics would differ between workers."""

    def __init__(self) -> None:
        super().__init__()
        self.lung, self.disease = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        self.health, self.covid = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x_B1HW: torch.Tensor) -> ModelOutput:
        flat = x_B1HW.flatten(1)
        return ModelOutput(self.lung(x_B1HW), self.disease(x_B1HW), self.health(flat), self.covid(flat), flat)


def global_batch(active: str) -> tuple[torch.Tensor, Batch]:
    """Six images; `second half` has labels in rank 1's part alone, `mixed` here and there."""
    torch.manual_seed(1)
    x = torch.randn(6, 1, 2, 2)
    masks = torch.randint(0, 2, (6, 2, 2, 2), dtype=torch.uint8)
    known = torch.tensor(
        [False] * 3 + [True] * 3 if active == "second half" else [True, False, False, True, True, True]
    )
    masks[~known] = IGNORE
    masks[5, 0, 0] = IGNORE
    labels = torch.where(known, torch.tensor([1, 0, 1, 0, 1, 1]), -1)
    other = torch.where(known, 1 - labels, -1)
    return x, Batch(x[:, 0].to(torch.uint8), masks, labels, labels, other, torch.zeros(6), torch.arange(6))


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def part(labels: Batch, rows: slice) -> Batch:
    return Batch(*(tensor[rows] for tensor in vars(labels).values() if tensor is not None))


CASES = [(active, reduction) for active in ("mixed", "second half") for reduction in ("mean", "sum")]


def _one_of_two(rank: int, rendezvous: str) -> dict[tuple[str, str], list[np.ndarray]]:
    """The gradients of each case, by one of two processes of a group."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    wait = timedelta(minutes=2)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=wait)
    results = {}
    try:
        for active, reduction in CASES:
            torch.manual_seed(7)
            model = DistributedDataParallel(Heads())
            x, labels = global_batch(active)
            rows = slice(0, 3) if rank == 0 else slice(3, 6)
            losses, switches = task_losses(model(x[rows]), part(labels, rows), reduction)
            counts = collective.sum_over_workers(switches.sum(dim=1).float())
            total_loss(losses, counts, LossConfig(reduction=reduction), collective.world_size()).backward()
            results[active, reduction] = [gradient.numpy() for gradient in gradients(model)]
    finally:
        dist.destroy_process_group()
    return results


def _the_other(rendezvous: str, results: Any) -> None:
    torch.set_num_threads(1)
    results.send(_one_of_two(1, rendezvous))


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path) -> None:
    """Also where rank 0, which is this process, has no active image at all."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    other = context.Process(target=_the_other, args=(str(tmp_path / "rendezvous"), sender), daemon=True)
    other.start()
    sender.close()
    of_ranks = [_one_of_two(0, str(tmp_path / "rendezvous")), receiver.recv()]
    other.join()
    assert other.exitcode == 0
    results = {(rank, *case): found for rank, of_rank in enumerate(of_ranks) for case, found in of_rank.items()}
    assert len(results) == 2 * len(CASES)
    for active, reduction in CASES:
        torch.manual_seed(7)
        model = Heads()
        x, labels = global_batch(active)
        losses, switches = task_losses(model(x), labels, reduction)
        total_loss(losses, switches.sum(dim=1).float(), LossConfig(reduction=reduction), 1).backward()
        expected = [gradient.numpy() for gradient in gradients(model)]
        assert all(np.abs(gradient).sum() > 0 for gradient in expected)
        for rank in (0, 1):
            for given, wanted in zip(results[rank, active, reduction], expected, strict=True):
                np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)
