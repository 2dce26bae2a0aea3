import torch

from comit_ray.config.train_config import TrainConfig
from comit_ray.data.masks.mask_images import IGNORE
from comit_ray.models.registry import build_model
from comit_ray.training.batches import Batch
from comit_ray.training.losses import Objective, instance_losses_alone, learns_from_instances

CONFIG = TrainConfig.parse(
    {
        "data": "d",
        "storage": "s",
        "name": "n",
        "model": {"name": "mask_rcnn", "tasks": ["lung"], "width": 0.0625, "weights": "none"},
    },
    origin="test",
)


def images() -> Batch:
    """Three images with a lung, and one whose masks are unknown."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.full((4, 2, 64, 64), IGNORE, dtype=torch.uint8)
    masks[:3, 0] = 0
    masks[:3, 0, 10:50, 8:28] = 1
    unknown = torch.full((4,), -1)
    frames = torch.randint(0, 255, (4, 64, 64), dtype=torch.uint8, generator=generator)
    return Batch(frames, masks, unknown, unknown, unknown, torch.zeros(4, dtype=torch.int64), torch.arange(4))


def test_instance_losses_are_the_same_in_any_batch_and_draw_from_no_ones_random_state() -> None:
    torch.manual_seed(1)
    model = build_model(CONFIG.model).eval()
    assert learns_from_instances(model)
    before = torch.get_rng_state()
    whole_TB = instance_losses_alone(model, images(), CONFIG)
    assert torch.equal(torch.get_rng_state(), before)
    parts = [instance_losses_alone(model, part, CONFIG) for part in images().parts(2)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole_TB)
    assert (whole_TB[0, :3] > 0).all()
    assert whole_TB[0, 3] == 0
    assert (whole_TB[1:] == 0).all()


def test_a_pixel_network_has_no_loss_of_its_own() -> None:
    options = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"name": "unet"})})
    model = build_model(options.model)
    assert not learns_from_instances(model)
    loss_TB = Objective(model, options)(images())
    assert (loss_TB[0, :3] > 0).all()
    assert loss_TB[0, 3] == 0
