import numpy as np
import pytest
import torch

from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.training.augmentation import RANGES, draw, vary

ITEMS = np.array([[0, 0], [0, 3], [7, 0]])


def square() -> tuple[torch.Tensor, torch.Tensor]:
    """A bright square with its mask, and a mask about which nothing is known."""
    frames = torch.zeros(1, 64, 64, dtype=torch.uint8)
    frames[0, 16:32, 24:48] = 200
    masks = torch.full((1, 2, 64, 64), IGNORE, dtype=torch.uint8)
    masks[0, 0] = (frames[0] > 0).to(torch.uint8)
    return frames, masks


def moved(**changes: float) -> tuple[torch.Tensor, torch.Tensor]:
    frames, masks = square()
    parameters = torch.tensor([[changes.get(name, 0.0) for name in RANGES]])
    return vary(frames, masks, parameters)


def test_each_image_copy_and_epoch_has_its_own_parameters_whatever_the_batch():
    whole = draw(3, 1, ITEMS)
    assert whole.shape == (3, len(RANGES))
    assert (np.abs(whole) <= list(RANGES.values())).all()
    assert np.array_equal(whole[2:], draw(3, 1, ITEMS[2:]))
    assert len(np.unique(np.concatenate([whole, draw(3, 2, ITEMS), draw(4, 1, ITEMS)])[:, 0])) == 9


def test_no_change_changes_nothing():
    frames, masks = moved()
    assert torch.equal(frames, square()[0])
    assert torch.equal(masks, square()[1])


def test_a_shift_moves_image_and_mask_together_and_what_comes_in_is_unknown():
    frames, masks = moved(right=8 / 64, down=4 / 64)
    assert torch.equal(frames[0, 4:, 8:], square()[0][0, :-4, :-8])
    assert torch.equal(masks[0, 0, 4:, 8:], square()[1][0, 0, :-4, :-8])
    assert not frames[0, :4].any()
    assert (masks[0, 0, :4] == IGNORE).all()
    assert (masks[0, 1] == IGNORE).all()


def test_a_positive_angle_turns_clockwise():
    """The square lies above the centre; turned a quarter clockwise it lies right of it."""
    frames, _ = moved(angle=90)
    rows, columns = np.nonzero(frames[0].numpy())
    assert columns.mean() > 36
    assert abs(rows.mean() - 36) < 1.5  # its columns, 24 to 47, have become its rows


def test_scale_and_gamma():
    _, masks = moved(log_scale=float(np.log(2)))
    assert int((masks[0, 0] == 1).sum()) == pytest.approx(4 * 16 * 24, rel=0.05)
    darker, _ = moved(log_gamma=0.3)
    assert int(darker.max()) == round(255 * (200 / 255) ** np.exp(0.3))


def test_masks_keep_their_values():
    _, masks = moved(angle=7, log_scale=0.1, right=0.03)
    assert set(masks.unique().tolist()) == {0, 1, IGNORE}
