import pytest
import torch

from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.training.augmentation import COPIES, augment


def moved(copy: int, size: int = 224) -> tuple[torch.Tensor, torch.Tensor]:
    """A frame with one bright square below and right of the centre, and its mask, moved as `copy` says."""
    frame = torch.zeros(1, size, size, dtype=torch.uint8)
    frame[:, size // 2 : size // 2 + 40, size // 2 : size // 2 + 40] = 200
    masks = (frame > 0).to(torch.uint8).unsqueeze(1)
    frames, masks = augment(frame, masks, torch.tensor([copy]))
    return frames[0], masks[0, 0]


def centre(weights: torch.Tensor) -> tuple[float, float]:
    rows, columns = torch.meshgrid(*(torch.arange(n).float() for n in weights.shape), indexing="ij")
    return float((rows * weights).sum() / weights.sum()), float((columns * weights).sum() / weights.sum())


def test_copy_zero_is_the_image() -> None:
    frame, mask = moved(0)
    assert (frame > 0).sum() == 1600
    assert set(mask.unique().tolist()) == {0, 1}


@pytest.mark.parametrize(("copy", "down", "right"), [(3, 0, 10), (4, 10, 0), (5, 10, 10)])
@pytest.mark.parametrize("size", [224, 448])
def test_shifts_are_ten_pixels_of_the_224_frame(copy, down, right, size) -> None:
    (row_0, column_0), (row, column) = centre(moved(0, size)[0].float()), centre(moved(copy, size)[0].float())
    assert row - row_0 == pytest.approx(down * size / 224, abs=0.01)
    assert column - column_0 == pytest.approx(right * size / 224, abs=0.01)


def test_rotations_are_ten_degrees_either_way() -> None:
    middle = torch.tensor([111.5, 111.5])
    start = torch.tensor(centre(moved(0)[0].float())) - middle
    turned = [torch.tensor(centre(moved(copy)[0].float())) - middle for copy in (1, 2)]
    for vector in turned:
        cosine = torch.dot(start, vector) / (start.norm() * vector.norm())
        assert torch.rad2deg(torch.acos(cosine)) == pytest.approx(10, abs=0.3)
    assert torch.dot(turned[0], turned[1]) < torch.dot(start, turned[0])


@pytest.mark.parametrize("copy", range(1, len(COPIES)))
def test_masks_move_with_the_image_and_stay_labels(copy) -> None:
    frame, mask = moved(copy)
    assert set(mask.unique().tolist()) == {0, 1, IGNORE}
    inside, bright = mask == 1, frame > 100
    assert (inside & bright).sum() / (inside | bright).sum() > 0.95


def test_what_comes_from_outside_is_black_and_unknown() -> None:
    frames, masks = augment(
        torch.full((1, 224, 224), 90, dtype=torch.uint8),
        torch.zeros(1, 1, 224, 224, dtype=torch.uint8),
        torch.tensor([5]),
    )
    assert (frames[0, :10] == 0).all()
    assert (masks[0, 0, :10] == IGNORE).all()
    assert (masks[0, 0, 10:, 10:] == 0).all()


def test_an_absent_mask_stays_absent_and_the_input_untouched() -> None:
    frames = torch.randint(0, 255, (6, 64, 64), dtype=torch.uint8)
    masks = torch.full((6, 2, 64, 64), IGNORE, dtype=torch.uint8)
    before = frames.clone()
    after, after_masks = augment(frames, masks, torch.arange(6))
    assert (after_masks == IGNORE).all()
    assert torch.equal(frames, before)
    assert torch.equal(after[0], before[0])
    assert all(not torch.equal(after[i], before[i]) for i in range(1, 6))
