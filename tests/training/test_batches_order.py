import numpy as np
import pytest

from comit_ray.training import batches


@pytest.fixture
def everything() -> batches.Items:
    return batches.items(np.array([1, 6, 1, 1, 6, 1, 1]))


def as_set(items: np.ndarray) -> set[tuple[int, int]]:
    return {tuple(item) for item in items.tolist()}


def test_items_are_every_image_with_each_of_its_copies(everything) -> None:
    assert len(everything) == 17
    assert [tuple(item) for item in everything[:7].tolist()] == [(0, 0), *[(1, copy) for copy in range(6)]]


def test_an_order_belongs_to_its_seed_and_epoch(everything) -> None:
    first = batches.shuffled(everything, 0, 0)
    assert np.array_equal(first, batches.shuffled(everything, 0, 0))
    assert not np.array_equal(first, batches.shuffled(everything, 0, 1))
    assert not np.array_equal(first, batches.shuffled(everything, 1, 0))
    assert as_set(first) == as_set(everything)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 16, 17, 40])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_item_is_seen_once_and_the_global_batches_do_not_depend_on_the_workers(
    everything, batch_size, world_size
) -> None:
    steps = batches.global_batches(batches.shuffled(everything, 0, 0), batch_size)
    assert len(steps) == -(-17 // batch_size)
    sizes = [len(step) for step in steps]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    for step in steps:
        shares = [batches.share(step, rank, world_size) for rank in range(world_size)]
        assert np.array_equal(np.concatenate(shares), step)
        assert len(shares[0]) >= 1
    assert sum(sizes) == len(as_set(np.concatenate(steps))) == 17


def test_no_items_no_batches() -> None:
    assert batches.global_batches(np.empty((0, 2), dtype=np.int64), 4) == []


def test_a_balanced_order_has_every_group_equally_often(everything) -> None:
    """Seven images, two of them of a rare group with six copies each."""
    groups = ["covid" if image in (1, 4) else "healthy" for image in range(7)]
    drawn = np.concatenate([batches.balanced(everything, groups, 0, epoch) for epoch in range(300)])
    assert len(drawn) == 300 * len(everything)
    assert as_set(drawn) == as_set(everything)
    covid = np.isin(drawn[:, 0], (1, 4))
    assert covid.mean() == pytest.approx(0.5, abs=0.03)
    counts = np.unique(drawn[~covid, 0], return_counts=True)[1]
    assert counts.max() / counts.min() < 1.3, "within a group all alike"


def test_a_balanced_order_belongs_to_its_seed_and_epoch(everything) -> None:
    groups = list("abababa")
    first = batches.balanced(everything, groups, 0, 0)
    assert np.array_equal(first, batches.balanced(everything, groups, 0, 0))
    assert not np.array_equal(first, batches.balanced(everything, groups, 0, 1))
    assert not np.array_equal(first, batches.balanced(everything, groups, 1, 0))
