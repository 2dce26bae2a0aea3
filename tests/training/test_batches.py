import time
import zlib

import numpy as np
import pyarrow as pa
import pytest
import torch

from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.prepare.frames import FRAMES, FrameStore
from comit_ray.tables.vocabulary import Split
from comit_ray.training import batches as order
from comit_ray.training.batches import collate, training_batches, unlabelled, validation_batches


@pytest.fixture
def store() -> FrameStore:
    rows = [
        {
            "image_id": f"i{i}",
            "split": "train",
            "pixels": bytes([i]) * 32 * 32,
            "lung_mask": zlib.compress(bytes([1]) * 32 * 32) if i % 2 else None,
            "unhealthy": i % 2,
            "covid": 1 if i == 3 else None,
        }
        for i in range(5)
    ]
    return FrameStore([pa.Table.from_pylist(rows, schema=FRAMES)], Split.TRAIN, 32)


def test_collate_puts_labels_and_masks_beside_their_images(store) -> None:
    batch = collate(store, np.array([[3, 2], [0, 0]]))
    assert batch.frames_BHW[:, 0, 0].tolist() == [3, 0]
    assert batch.frames_BHW.dtype == torch.uint8
    assert batch.masks_BMHW.shape == (2, 2, 32, 32)
    assert (batch.masks_BMHW[0, 0] == 1).all()
    assert (batch.masks_BMHW[0, 1] == IGNORE).all()
    assert (batch.masks_BMHW[1] == IGNORE).all()
    assert batch.unhealthy_B.tolist() == [1, 0]
    assert batch.covid_B.tolist() == [1, -1]
    assert batch.other_B.tolist() == [-1, -1]
    assert batch.copy_B.tolist() == [2, 0]
    assert batch.index_B.tolist() == [3, 0]


def test_augmented_moves_only_copies(store) -> None:
    batch = collate(store, np.array([[3, 3], [3, 0]])).augmented()
    assert (batch.frames_BHW[0, :, 0] == 0).all()
    assert (batch.frames_BHW[1] == 3).all()


def test_unlabelled_keeps_the_image_alone(store) -> None:
    batch = unlabelled(collate(store, np.array([[3, 0]])))
    assert (batch.frames_BHW == 3).all()
    assert (batch.masks_BMHW == IGNORE).all()
    assert [label.item() for label in (batch.unhealthy_B, batch.covid_B, batch.other_B)] == [-1, -1, -1]


def test_a_worker_without_images_stays_in_step(store) -> None:
    """Five images in batches of two for two workers: the last step has one image, for rank 0."""
    steps = [np.array([[0, 0], [1, 0]]), np.array([[2, 0], [3, 0]]), np.array([[4, 0]])]
    by_rank = [list(training_batches(store, steps, [order.share(s, r, 2) for s in steps])) for r in (0, 1)]
    assert [len(batches) for batches in by_rank] == [3, 3]
    assert [b.index_B.tolist() for b in by_rank[0]] == [[0], [2], [4]]
    assert by_rank[1][2].unhealthy_B.tolist() == [-1]
    assert by_rank[1][1].unhealthy_B.tolist() == [1]
    assert by_rank[1][2].index_B.tolist() == [-1], "a stand-in is not counted as seen"


@pytest.mark.parametrize("prefetch", [1, 2, 9])
def test_batches_made_ahead_are_the_same(store, prefetch) -> None:
    steps = order.global_batches(order.items(np.array([1, 1, 1, 6, 1])), 3)
    plain = list(training_batches(store, steps, steps, (0, 1)))
    ahead = list(training_batches(store, steps, steps, (0, 1), prefetch))
    assert len(plain) == len(ahead) == len(steps)
    for a, b in zip(plain, ahead, strict=True):
        assert all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items())


def test_batches_are_made_while_the_step_before_computes(store) -> None:
    steps = [np.array([[0, 0]]), np.array([[1, 0]]), np.array([[2, 0]])]
    made: list[int] = []
    inner = store.pixels_HW

    def noted(index: int) -> np.ndarray:
        made.append(int(index))
        return inner(index)

    store.pixels_HW = noted
    batches = training_batches(store, steps, steps, prefetch=1)
    next(batches)
    deadline = time.monotonic() + 60
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1], "one ahead, not two"


def test_an_error_in_a_batch_made_ahead_is_raised(store) -> None:
    beyond = [np.array([[99, 0]])]
    with pytest.raises(IndexError):
        list(training_batches(store, beyond, beyond, prefetch=2))


@pytest.mark.parametrize(("count", "sizes"), [(1, [5]), (2, [2, 3]), (5, [1] * 5), (9, [1] * 5)])
def test_parts_are_the_batch(store, count, sizes) -> None:
    batch = collate(store, order.items(np.ones(5, dtype=np.int64)))
    parts = batch.parts(count)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat([part.masks_BMHW for part in parts]), batch.masks_BMHW)
    assert [i for part in parts for i in part.index_B.tolist()] == list(range(5))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_validation_sees_every_image_once(store, world_size) -> None:
    seen = [
        index
        for rank in range(world_size)
        for batch in validation_batches(store, rank, world_size, batch_size=2)
        for index in batch.index_B.tolist()
    ]
    assert sorted(seen) == list(range(5))
