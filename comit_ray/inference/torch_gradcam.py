"""Grad-CAM heat maps (Selvaraju et al., arXiv:1610.02391; figure 12 of the paper).

captum's LayerGradCam computes the map: each channel of the last feature map times the spatial mean of the log-odds'
gradient on it, summed, with negative values cut off. A map shows where the network looked, not whether that was right.
"""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from comit_ray.errors import ConfigError
from comit_ray.models.lung_crop import LungCrop
from comit_ray.models.outputs import ModelOutput
from comit_ray.tables.vocabulary import Task

MAPPED_SCORES = {Task.COVID: "covid", Task.HEALTH: "unhealthy"}
"""Head -> the score that has a map."""


def library() -> ModuleType:
    """Imports and returns the package `captum.attr`; it is only needed for heat maps.

    Raises:
        ConfigError: captum is not installed.
    """
    try:
        from captum import attr
    except ImportError as error:
        raise ConfigError(
            f"--gradcam true needs captum ({error}): pip install 'comit-ray[gradcam]', on every machine of the cluster"
        ) from error
    captum_attr: ModuleType = attr
    return captum_attr


class GradCam:
    """Computes Grad-CAM maps of a network's scores.

    Attributes:
        scores: scores that have a map: `covid`, `unhealthy` or both.

    Args:
        network: a network of `comit_ray.models.registry` in evaluation mode, so that batch normalisation is frozen and
            the map of an image depends on this image alone. The parameters are frozen here: gradients are only computed
            back to the last feature map.

    Raises:
        ConfigError: captum is not installed, or the network has no score.
    """

    def __init__(self, network: nn.Module) -> None:
        self._attr = library()
        layer, classify = getattr(network, "gradcam_layer", None), getattr(network, "classify", None)
        if layer is None or classify is None:
            raise ConfigError(
                f"Grad-CAM needs a model with a health or covid head, got {type(network).__name__} without"
            )
        assert not network.training, "an image's map would depend on the others of its batch"
        network.requires_grad_(False)
        self._layer: nn.Module = layer
        self._crop = network if isinstance(network, LungCrop) else None
        self._classify: Callable[[Tensor], ModelOutput] = classify
        self.scores = tuple(score for task, score in MAPPED_SCORES.items() if getattr(network, task) is not None)

    def maps(self, x_B3HW: Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """Returns score -> (B, H, W) maps of a normalised batch, for every score that has one."""
        return {score: self.map_BHW(x_B3HW, score) for score in self.scores}

    def map_BHW(self, x_B3HW: Tensor, score: str) -> npt.NDArray[np.float32]:
        """Returns (B, H, W) maps of `covid` or `unhealthy`, from 0 up, in log-odds times activation, bilinear.

        The target is the log-odds: of COVID-19 its logit, of the unhealthy the difference of the two. A probability
        near 0 or 1 has no gradient left; a temperature would only scale the map.
        """
        explained = self._attr.LayerGradCam(lambda x: self._classify(x).log_odds[score], self._layer)
        coarse_B1hw = explained.attribute(x_B3HW, relu_attributions=True)
        map_B1HW = self._attr.LayerAttribution.interpolate(coarse_B1hw, x_B3HW.shape[-2:], "bilinear")
        if self._crop is not None:
            map_B1HW = self._crop.to_frame(map_B1HW, x_B3HW)
        found: npt.NDArray[np.float32] = map_B1HW[:, 0].detach().float().cpu().numpy()
        return found
