import torch

from comit_ray.models.instances import LEAST_PROBABILITY, has_known_pixel, pixel_logits, targets_of


def mask(*regions: tuple[slice, slice]) -> torch.Tensor:
    mask_HW = torch.zeros(32, 48, dtype=torch.uint8)
    for region in regions:
        mask_HW[region] = 1
    return mask_HW


def test_two_lungs_are_two_instances_with_their_boxes() -> None:
    mask_HW = mask((slice(2, 20), slice(3, 10)), (slice(4, 24), slice(30, 48)))
    target = targets_of(mask_HW)
    assert target["boxes"].tolist() == [[3, 2, 10, 20], [30, 4, 48, 24]]
    assert target["labels"].tolist() == [1, 1]
    assert target["masks"].dtype == torch.uint8
    assert torch.equal(target["masks"].sum(dim=0), mask_HW)
    assert [int(m.sum()) for m in target["masks"]] == [18 * 7, 20 * 18]


def test_regions_that_touch_at_a_corner_are_one() -> None:
    assert targets_of(mask((slice(2, 6), slice(2, 6)), (slice(6, 10), slice(6, 10))))["boxes"].tolist() == [
        [2, 2, 10, 10]
    ]


def test_a_line_has_a_box_with_an_area_and_crumbs_have_none() -> None:
    target = targets_of(mask((slice(5, 6), slice(0, 48)), (slice(20, 21), slice(20, 23))))
    assert target["boxes"].tolist() == [[0, 5, 48, 6]]


def test_unknown_pixels_are_background() -> None:
    mask_HW = mask((slice(2, 20), slice(3, 10)))
    mask_HW[:, 8:] = 255
    assert targets_of(mask_HW)["boxes"].tolist() == [[3, 2, 8, 20]]


def test_an_empty_mask_is_a_negative() -> None:
    target = targets_of(mask())
    assert [target[key].shape for key in ("boxes", "labels", "masks")] == [(0, 4), (0,), (0, 32, 48)]


def test_what_is_known() -> None:
    mask_BHW = torch.full((3, 4, 4), 255, dtype=torch.uint8)
    mask_BHW[1, 0, 0], mask_BHW[2, 0, 0] = 0, 1
    assert has_known_pixel(mask_BHW).tolist() == [False, True, True]


def test_a_pixel_has_the_highest_probability_of_its_instances() -> None:
    masks = torch.zeros(3, 1, 2, 3)
    masks[0, 0, 0], masks[1, 0, 0, 1:], masks[2, 0, 0, 2] = 0.2, 0.7, 1.0
    logits = pixel_logits([masks, torch.zeros(0, 1, 2, 3)])
    assert logits.shape == (2, 2, 2, 3)
    p = torch.softmax(logits, dim=1)[:, 1]
    torch.testing.assert_close(p[0, 0], torch.tensor([0.2, 0.7, 1 - LEAST_PROBABILITY]))
    torch.testing.assert_close(p[0, 1], torch.full((3,), LEAST_PROBABILITY))
    torch.testing.assert_close(p[1], torch.full((2, 3), LEAST_PROBABILITY))
