import copy

import numpy as np
import pyarrow as pa
import pytest
import torch

from comit_ray.config.train_config import OptimConfig, TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.prepare.frames import FRAMES, FrameStore
from comit_ray.tables.vocabulary import ALL_TASKS, Split, Task
from comit_ray.training import sources
from comit_ray.training.batches import collate
from comit_ray.training.losses import switches
from comit_ray.training.sources import GroupWeights, source_distance

HEALTH, COVID = ALL_TASKS.index(Task.HEALTH), ALL_TASKS.index(Task.COVID)


def store(split: Split = Split.TRAIN) -> FrameStore:
    """Source `a` has both classes of COVID-19, `b` none with it, `c` none without it."""
    known = [("a", 1, 0), ("a", 0, 1), ("b", 0, 0), ("b", 0, 1), ("c", 1, 0)]
    rows = [
        {
            "image_id": f"i{n}",
            "dataset": dataset,
            "split": split,
            "pixels": bytes(32 * 32),
            "unhealthy": max(covid, other),
            "covid": covid,
            "other": other,
        }
        for n, (dataset, covid, other) in enumerate(known)
    ]
    return FrameStore([pa.Table.from_pylist(rows, schema=FRAMES)], split, 32)


def recipe(within_unhealthy: bool = False, **options: str) -> TrainConfig:
    values = {"data": "d", "storage": "s", "name": "n", "train": options}
    return TrainConfig.parse(values | {"model": {"within_unhealthy": within_unhealthy}}, origin="test")


def on(config: TrainConfig) -> np.ndarray:
    training = store()
    sources.mark(training, store(Split.VAL), config)
    batch = collate(training, np.stack([np.arange(5), np.zeros(5, int)], axis=1))
    return switches(batch, ALL_TASKS).numpy()


def test_the_covid_head_learns_from_sources_with_both_classes_and_the_others_from_all() -> None:
    everything, chosen = on(recipe()), on(recipe(covid_from="both_classes"))
    assert everything[COVID].tolist() == [True] * 5
    assert chosen[COVID].tolist() == [True, True, False, False, False]
    assert chosen[HEALTH].tolist() == everything[HEALTH].tolist() == [True] * 5


def test_the_health_head_learns_from_sources_with_healthy_and_unhealthy_images() -> None:
    chosen = on(recipe(health_from="both_classes"))
    assert chosen[HEALTH].tolist() == [False, False, True, True, False]
    assert chosen[COVID].tolist() == [True] * 5


def test_within_unhealthy_the_covid_head_learns_from_unhealthy_images_alone() -> None:
    chosen = on(recipe(within_unhealthy=True))
    assert chosen[COVID].tolist() == [True, True, False, True, True]
    assert chosen[HEALTH].tolist() == [True] * 5


@pytest.mark.parametrize(
    ("config", "head", "message"),
    [
        (recipe(health_from="both_classes"), "health", "no source has healthy and unhealthy images"),
        (recipe(within_unhealthy=True), "covid", "no image that is known to be unhealthy"),
    ],
)
def test_a_head_without_any_image_is_refused_with_what_to_do(config, head, message) -> None:
    with pytest.raises(ConfigError, match=message):
        sources.check({head: {}}, config)


def test_the_label_of_another_disease_may_decide_too() -> None:
    assert on(recipe(other_from="both_classes"))[COVID].tolist() == [True, True, True, True, False]


def test_a_validation_image_has_the_switch_of_the_training_and_keeps_its_label() -> None:
    validation = store(Split.VAL)
    sources.mark(store(), validation, recipe(covid_from="both_classes"))
    assert validation.teaches.tolist() == [True, True, False, False, False]
    assert validation.labels["covid"].tolist() == [1, 0, 0, 0, 1]


def test_groups_are_classes_of_sources() -> None:
    training = store()
    names = sources.mark(training, store(Split.VAL), recipe())
    assert len(names) == len(set(names)) == 5
    assert sorted(training.groups[:, 0].tolist()) == [0, 1, 2, 3, 4]
    assert training.groups[:, 1].tolist() == [0, 0, 1, 1, 2]
    assert training.groups[0, 2] == training.groups[4, 2]


def losses(covid: list[float]) -> torch.Tensor:
    found = torch.zeros(4, len(covid))
    found[COVID] = torch.tensor(covid)
    return found


def test_a_group_with_greater_losses_gains_weight_as_the_algorithm_says() -> None:
    weights = GroupWeights.begin(0.5, ["a", "b", "c"], [], torch.device("cpu"))
    assert weights is not None
    group_B = torch.tensor([0, 0, 1, 1])
    weights.renew(losses([2, 4, 1, 9]), group_B, torch.tensor([True, True, True, False]))
    raised = np.exp(0.5 * np.array([3.0, 1.0, 0.0]))
    np.testing.assert_allclose(weights.weight_G.numpy(), 3 * raised / raised.sum())
    weighted = weights.weighted(losses([1, 1, 1, 1]) + 1, group_B)
    np.testing.assert_allclose(weighted[COVID].numpy(), 2 * weights.weight_G.numpy()[[0, 0, 1, 1]], rtol=1e-6)
    assert (weighted[ALL_TASKS.index(Task.LUNG)] == 1).all()


def test_weights_go_on_from_the_last_epoch_exactly() -> None:
    weights = GroupWeights.begin(0.3, ["a", "b"], [], torch.device("cpu"))
    assert weights is not None
    weights.renew(losses([0.2, 0.9]), torch.tensor([0, 1]), torch.tensor([True, True]))
    again = GroupWeights.begin(0.3, ["a", "b"], [copy.deepcopy(weights.figures())], torch.device("cpu"))
    assert again is not None
    assert torch.equal(again.weight_G, weights.weight_G)
    assert GroupWeights.begin(0, ["a"], [], torch.device("cpu")) is None


def test_sources_apart_cost_and_alike_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    alike = torch.randn(400, 3, generator=generator)
    source_B, class_B = torch.arange(400) % 2, torch.zeros(400, dtype=torch.int64)
    apart = alike + 3 * source_B.unsqueeze(1)
    assert float(source_distance(alike, source_B, class_B)) < 0.05
    assert float(source_distance(apart, source_B, class_B)) > 0.5
    # The same values, but each source has a class of its own: nothing is compared.
    assert float(source_distance(apart, source_B, source_B)) == 0
    assert float(source_distance(10 * apart, source_B, class_B)) == pytest.approx(
        float(source_distance(apart, source_B, class_B)), rel=1e-5
    )


def test_a_step_against_the_penalty_brings_sources_together() -> None:
    generator = torch.Generator().manual_seed(1)
    values = (torch.randn(40, 4, generator=generator) + torch.arange(40).unsqueeze(1) % 2 * 2).requires_grad_()
    source_B, class_B = torch.arange(40) % 2, torch.zeros(40, dtype=torch.int64)
    before = source_distance(values, source_B, class_B)
    before.backward()
    assert values.grad is not None
    after = source_distance((values - 5 * values.grad).detach(), source_B, class_B)
    assert float(after) < float(before.detach())


def test_what_each_head_learns_from_is_counted_and_one_sided_sources_are_told() -> None:
    training = store()
    sources.mark(training, store(Split.VAL), recipe())
    found = sources.lessons(training, ["lung", "health", "covid"])
    assert found == {
        "lung": {},
        "health": {"a": (2, 0), "b": (1, 1), "c": (1, 0)},
        "covid": {"a": (1, 1), "b": (0, 2), "c": (1, 0)},
    }
    lines = sources.lesson_lines(found, OptimConfig())
    assert lines[0] == "lung learns from: no image"
    assert lines[2].startswith("covid learns from: a 1 with COVID-19 and 1 without, b 0 with COVID-19 and 2 without")
    assert lines[3].startswith("NOTE: from a, c the health head sees only one class")
    assert lines[4].startswith("NOTE: from b, c the COVID-19 head sees only one class")


def test_the_covid_heads_lessons_are_those_of_its_switch_and_none_is_refused() -> None:
    training, both = store(), recipe(covid_from="both_classes")
    sources.mark(training, store(Split.VAL), both)
    found = sources.lessons(training, ["health", "covid"])
    assert found["covid"] == {"a": (1, 1)}
    assert len(sources.lesson_lines(found, both.train)) == 3
    sources.check(found, both)
    with pytest.raises(ConfigError, match="expected a source with images of both classes"):
        sources.check({"covid": {}}, both)


def test_a_training_without_any_source_of_both_classes_warns() -> None:
    lines = sources.lesson_lines({"covid": {"nih": (0, 700), "bimcv": (300, 0)}}, OptimConfig())
    assert lines[-1].startswith("WARNING: no source has images with COVID-19 and images without it")
