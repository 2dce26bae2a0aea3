import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from comit_ray.errors import ConfigError
from comit_ray.models.mask_rcnn import ANCHORS, RATIOS, FrameAnchors, MaskRCNN
from comit_ray.tables.vocabulary import Task

UNKNOWN = 255


def model_of(task: Task = Task.DISEASE, width: float = 0.0625) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN((task,), width)


def bright_rectangles(count: int, size: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of dim noise with one bright rectangle each, and its mask."""
    random = torch.Generator().manual_seed(seed)
    x_B3HW = 0.1 * torch.randn(count, 3, size, size, generator=random)
    mask_BHW = torch.zeros(count, size, size, dtype=torch.uint8)
    for i in range(count):
        top, left = torch.randint(2, size // 2, (2,), generator=random).tolist()
        height, width = torch.randint(size // 4, size // 2, (2,), generator=random).tolist()
        mask_BHW[i, top : top + height, left : left + width] = 1
    return x_B3HW + 3 * mask_BHW.unsqueeze(1), mask_BHW


@pytest.mark.slow
def test_it_learns_where_a_region_is() -> None:
    model = model_of().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    x_B3HW, mask_BHW = bright_rectangles(4)
    losses = []
    for _ in range(40):
        loss = model.instance_loss(x_B3HW, mask_BHW)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    with torch.no_grad():
        predicted = model.train()(x_B3HW).p_disease_BHW >= 0.5
    truth = mask_BHW == 1
    iou = (predicted & truth).sum() / (predicted | truth).sum()
    assert iou > 0.5


def test_all_the_five_losses_of_a_batch_with_a_negative_are_finite_and_counted() -> None:
    model = model_of().train()
    x_B3HW, mask_BHW = bright_rectangles(3)
    mask_BHW[1] = 0
    torch.manual_seed(1)
    loss = model.instance_loss(x_B3HW, mask_BHW)
    assert loss.isfinite()
    assert loss > 5 * 0.2  # log 2 each for the objectness, the class and the mask of random weights


def test_images_without_a_known_pixel_are_left_out() -> None:
    """The loss is that of the others alone, so also their batch statistics and sampled boxes are."""
    model = model_of().train()
    x_B3HW, mask_BHW = bright_rectangles(4)
    mask_BHW[2:] = UNKNOWN
    torch.manual_seed(1)
    loss = model.instance_loss(x_B3HW, mask_BHW)
    torch.manual_seed(1)
    assert torch.equal(loss, model.instance_loss(x_B3HW[:2], mask_BHW[:2]))


@pytest.mark.parametrize("count", [0, 2])
def test_without_any_known_mask_the_loss_is_zero_with_gradients(count) -> None:
    model = model_of().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loss = model.instance_loss(torch.randn(count, 3, 64, 64), torch.full((count, 64, 64), UNKNOWN, dtype=torch.uint8))
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_batch_of_negatives_alone_gives_every_parameter_a_gradient() -> None:
    model = model_of().train()
    model.instance_loss(torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.uint8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_predicting_leaves_modes_statistics_and_gradients_alone() -> None:
    model = model_of().train()
    frozen = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in frozen:
        module.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    output = model(torch.randn(2, 3, 64, 64))
    assert not output.disease.requires_grad
    assert model.training
    assert model.network.rpn.training
    assert not any(module.training for module in frozen)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.instance_loss(*bright_rectangles(2)).backward()
    assert not any(module.training for module in frozen)
    assert torch.equal(
        model.state_dict()["network.backbone.body.bn1.running_mean"], before["network.backbone.body.bn1.running_mean"]
    )


def test_the_loss_in_evaluation_mode_is_one_too() -> None:
    model = model_of().eval()
    loss = model.instance_loss(*bright_rectangles(2))
    assert loss > 0
    assert not any(module.training for module in model.modules())


def test_the_tasks_head_is_the_one_that_is_given() -> None:
    with torch.no_grad():
        lung, disease = (model_of(task)(torch.randn(1, 3, 64, 64)) for task in (Task.LUNG, Task.DISEASE))
    assert (lung.lung is None, lung.disease is None) == (False, True)
    assert (disease.lung is None, disease.disease is None) == (True, False)


@pytest.mark.parametrize("shape", [(32, 32), (64, 100), (64, 32)])
def test_frames_it_cannot_take_are_refused(shape) -> None:
    with pytest.raises(ConfigError, match=f"multiples of 32 pixels, at least 64, got {shape[0]}x{shape[1]}"):
        model_of()(torch.randn(1, 3, *shape))


@pytest.mark.parametrize("size", [96, 224])
def test_anchors_cover_lungs_and_lesions_in_frames_of_any_size(size) -> None:
    """At least one anchor overlaps a lung, and lesions of an eighth of the frame or more, by half."""
    levels = [torch.zeros(1, 1, *[-(-size // stride)] * 2) for stride in (4, 8, 16, 32, 64)]
    image_list = ImageList(torch.zeros(1, 3, size, size), [(size, size)])
    (anchors,) = FrameAnchors(ANCHORS, (RATIOS,) * 5)(image_list, levels)
    lungs = [[0.1, 0.15, 0.43, 0.85], [0.57, 0.15, 0.9, 0.85]]
    lesions = [[x, 0.5, x + side, 0.5 + side * 1.2] for side in (0.125, 0.2, 0.3) for x in (0.13, 0.6)]
    best = box_iou(torch.tensor(lungs + lesions) * size, anchors).amax(dim=1)
    assert best.min() > 0.5
