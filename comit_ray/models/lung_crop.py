"""Shows a network only the lungs: another network finds them, and their box is enlarged to the frame.

The lung network is a trained one that does not learn any more; its weights are part of the checkpoint, so screens and
Python crop the same way. Around the lungs a margin stays, so that the lung bases and apices are kept. What lies outside
the box, such as letters, borders and shoulders, cannot decide a score.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comit_ray.models.outputs import ModelOutput

LEAST_LUNGS = 0.05
"""Least fraction of the frame that must be lung; with less, no lungs were found. The queue's default is the same."""
TRIM = 0.01
"""Fraction of the lung pixels that each side of the box leaves out, so that a few stray pixels do not widen it."""
OUTSIDE = 4.0
"""Log-odds of background over lung or disease at places that the network does not see: a probability of 0.02."""


class LungCrop(nn.Module):
    """A network that sees the box around the lungs, and puts its masks back into the frame.

    Where no lungs are found the network sees the whole frame. In evaluation mode its lung mask is then empty, so that
    the table's `lung_area` is 0 and the review reason is `no_lungs_found`.

    Args:
        network: any network of `comit_ray.models.registry` without a loss of its own; its heads are those of this one.
        lungs: the network that finds the lungs. It stays in evaluation mode, and its parameters are frozen.
        margin: fraction of the box's longer side that is added at each of the four sides.

    Example:
        >>> crop = LungCrop(COMiTNet(width=0.1), COMiTNet(["lung"], width=0.1), margin=0.1).eval()
        >>> crop(torch.zeros(2, 3, 64, 64)).lung.shape
        torch.Size([2, 2, 64, 64])
    """

    def __init__(self, network: nn.Module, lungs: nn.Module, margin: float) -> None:
        super().__init__()
        self.network, self.lungs, self.margin = network, lungs.requires_grad_(False).eval(), margin

    def train(self, mode: bool = True) -> "LungCrop":
        """Changes the mode of the network alone: the lung network does not learn."""
        super().train(mode)
        self.lungs.eval()
        return self

    @property
    def health(self) -> nn.Module | None:
        """The network's branch for health; None without one."""
        return getattr(self.network, "health", None)

    @property
    def covid(self) -> nn.Module | None:
        """The network's branch for COVID-19; None without one."""
        return getattr(self.network, "covid", None)

    @property
    def gradcam_layer(self) -> nn.Module | None:
        """The network's layer for Grad-CAM; `to_frame` puts its maps back into the frame."""
        return getattr(self.network, "gradcam_layer", None)

    @torch.no_grad()
    def boxes(self, x_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the box around the lungs of each image, and whether lungs were found.

        Returns:
            (B, 3) x and y of the centre and half of the side, in units of half the frame, from -1 to 1; and (B,) bool.
            A box is a square inside the frame. Where no lungs were found it is the whole frame.
        """
        logits_B2HW = self.lungs(x_B3HW).lung.float()
        mask_BHW = (logits_B2HW[:, 1] > logits_B2HW[:, 0]).float()
        found_B = mask_BHW.mean(dim=(1, 2)) >= LEAST_LUNGS
        low_x_B, high_x_B = _extent(mask_BHW.sum(dim=1))
        low_y_B, high_y_B = _extent(mask_BHW.sum(dim=2))
        longer_B = torch.maximum(high_x_B - low_x_B, high_y_B - low_y_B)
        half_B = ((0.5 + self.margin) * longer_B).clamp(max=1)
        room_B = 1 - half_B
        x_B = torch.clamp((low_x_B + high_x_B) / 2, -room_B, room_B)
        y_B = torch.clamp((low_y_B + high_y_B) / 2, -room_B, room_B)
        whole_3 = torch.tensor([0.0, 0.0, 1.0], device=mask_BHW.device)
        return torch.where(found_B[:, None], torch.stack([x_B, y_B, half_B], dim=1), whole_3), found_B

    def classify(self, x_B3HW: Tensor) -> ModelOutput:
        """Runs what the network needs for its scores, on the box around the lungs."""
        output: ModelOutput = self.network.classify(_cut(x_B3HW, self.boxes(x_B3HW)[0]))  # type: ignore[operator]
        return output

    def forward(self, x_B3HW: Tensor) -> ModelOutput:
        """Returns the logits of a normalised batch; masks are in the frame, background outside the box.

        Raises:
            ConfigError: a side is not a multiple of 32.
        """
        box_B3, found_B = self.boxes(x_B3HW)
        output: ModelOutput = self.network(_cut(x_B3HW, box_B3))
        lung, disease = (None if head is None else _put_back(head, box_B3) for head in (output.lung, output.disease))
        if lung is not None and not self.training:
            lung = torch.where(found_B[:, None, None, None], lung, _background(lung))
        return ModelOutput(
            lung=lung, disease=disease, health=output.health, covid=output.covid, embedding=output.embedding
        )

    def to_frame(self, map_B1HW: Tensor, x_B3HW: Tensor) -> Tensor:
        """Puts maps (B, 1, H, W) of what the network saw back into the frame of `x_B3HW`, 0 outside the box."""
        grid_BHW2 = _grid_of_frame(self.boxes(x_B3HW)[0], map_B1HW.shape)
        return F.grid_sample(map_B1HW, grid_BHW2, padding_mode="border", align_corners=False) * _inside(grid_BHW2)


def _extent(count_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first and the last edge, -1 to 1, between which all but `TRIM` of the pixels at each end lie.

    Args:
        count_BN: number of lung pixels in each column or row.
    """
    places = count_BN.shape[1]
    share_BN = count_BN.cumsum(dim=1) / count_BN.sum(dim=1, keepdim=True).clamp(min=1)
    first_B = (share_BN <= TRIM).sum(dim=1)
    last_B = (share_BN < 1 - TRIM).sum(dim=1).clamp(max=places - 1)
    return 2 * first_B / places - 1, 2 * (last_B + 1) / places - 1


def _cut(x_BCHW: Tensor, box_B3: Tensor) -> Tensor:
    """Returns what lies in the boxes, enlarged to the size of `x_BCHW`, bilinear."""
    x_B, y_B, half_B = box_B3.to(x_BCHW.dtype).unbind(1)
    grid_BHW2 = _grid(half_B, x_B, y_B, x_BCHW.shape)
    return F.grid_sample(x_BCHW, grid_BHW2, padding_mode="border", align_corners=False)


def _grid_of_frame(box_B3: Tensor, shape: torch.Size) -> Tensor:
    """Returns (B, H, W, 2) for each place of the frame its place in the box, -1 to 1 inside."""
    x_B, y_B, half_B = box_B3.unbind(1)
    scale_B = 1 / half_B
    return _grid(scale_B, -x_B * scale_B, -y_B * scale_B, shape)


def _grid(scale_B: Tensor, x_B: Tensor, y_B: Tensor, shape: torch.Size) -> Tensor:
    """Returns (B, H, W, 2) the places of a grid that is scaled and then moved by x and y, in units of half its side."""
    zero_B = torch.zeros_like(scale_B)
    affine_B23 = torch.stack([scale_B, zero_B, x_B, zero_B, scale_B, y_B], dim=1).view(-1, 2, 3)
    return F.affine_grid(affine_B23, list(shape), align_corners=False)


def _inside(grid_BHW2: Tensor) -> Tensor:
    """Returns (B, 1, H, W) bool: whether a place of the frame lies in the box."""
    return (grid_BHW2.abs() <= 1).all(dim=3).unsqueeze(1)


def _put_back(logits_B2HW: Tensor, box_B3: Tensor) -> Tensor:
    grid_BHW2 = _grid_of_frame(box_B3, logits_B2HW.shape)
    found_B2HW = F.grid_sample(logits_B2HW.float(), grid_BHW2, padding_mode="border", align_corners=False)
    return torch.where(_inside(grid_BHW2), found_B2HW, _background(found_B2HW))


def _background(logits_B2HW: Tensor) -> Tensor:
    odds_2 = torch.tensor([OUTSIDE / 2, -OUTSIDE / 2], device=logits_B2HW.device)
    return odds_2.view(1, 2, 1, 1).expand_as(logits_B2HW)
