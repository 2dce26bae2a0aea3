"""Grad-CAM: where in the radiograph a score comes from (Selvaraju et al., arXiv:1610.02391; figure 12 of the paper).

captum's LayerGradCam makes the map: each channel of the last feature map times the spatial mean of the log-odds'
gradient on it, summed, negative values cut off. A map shows where the network looked, not whether it was right to.
"""

import io
from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor, nn

from comit_ray.errors import ConfigError
from comit_ray.models.outputs import ModelOutput
from comit_ray.tables.schema import SCORES_OF

MAPPED = {task: scores[0] for task, scores in SCORES_OF.items()}
"""Head -> its score that has a map; the column of the `gradcam` table is `<score>_png`."""


def library() -> ModuleType:
    """The package `captum.attr`, imported only where maps are asked for.

    Raises:
        ConfigError: it is not installed.
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
    """Maps of a network's scores.

    Attributes:
        scores: those that have a map: `covid`, `unhealthy` or both.

    Args:
        model: of `comit_ray.models.registry`, in evaluation mode, so that batch normalisation is frozen and an image's
            map its own. Its parameters are frozen here: no gradient goes further back than the last feature map.

    Raises:
        ConfigError: captum is not installed, or the model has no score.
    """

    def __init__(self, model: nn.Module) -> None:
        self._attr = library()
        layer, classify = getattr(model, "gradcam_layer", None), getattr(model, "classify", None)
        if layer is None or classify is None:
            raise ConfigError(f"Grad-CAM needs a model with a health or covid head, got {type(model).__name__} without")
        assert not model.training, "an image's map would depend on the others of its batch"
        model.requires_grad_(False)
        self._layer: nn.Module = layer
        self._classify: Callable[[Tensor], ModelOutput] = classify
        self.scores = tuple(score for task, score in MAPPED.items() if getattr(model, task) is not None)

    def rows(self, x_B3HW: Tensor) -> list[dict[str, bytes | None]]:
        """For each image of a normalised batch, the columns of the `gradcam` table that the model has a head for.

        A column is an 8-bit PNG as large as the frame, or None where the map is not finite.
        """
        maps = {f"{score}_png": self.map_BHW(x_B3HW, score) for score in self.scores}
        return [{column: to_png(map_BHW[index]) for column, map_BHW in maps.items()} for index in range(len(x_B3HW))]

    def map_BHW(self, x_B3HW: Tensor, score: str) -> npt.NDArray[np.float32]:
        """(B, H, W) maps of `covid` or `unhealthy`, from 0 up, in log-odds times activation; bilinear from the layer.

        The target is the log-odds: of COVID-19 its logit, of the unhealthy the difference of the two. A probability
        near 0 or 1 has no gradient left; a temperature would only scale the map.
        """
        explained = self._attr.LayerGradCam(lambda x: self._classify(x).log_odds[score], self._layer)
        coarse_B1hw = explained.attribute(x_B3HW, relu_attributions=True)
        map_B1HW = self._attr.LayerAttribution.interpolate(coarse_B1hw, x_B3HW.shape[-2:], "bilinear")
        found: npt.NDArray[np.float32] = map_B1HW[:, 0].detach().float().cpu().numpy()
        return found


def to_png(map_HW: npt.NDArray[np.float32]) -> bytes | None:
    """A map as 8-bit grey PNG, 255 its highest value, all 0 where it is nowhere positive; None if it is not finite."""
    if not np.isfinite(map_HW).all():
        return None
    highest = float(map_HW.max())
    share_HW = map_HW / np.float64(highest) if highest > 0 else np.zeros(map_HW.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * share_HW).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
