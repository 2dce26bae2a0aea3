"""One radiograph with what the model painted, the truth where it is known, and a heat map.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which colour-blind readers can tell apart;
predictions and truth differ in line as well as in colour.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]

SKY_BLUE: Colour = (86, 180, 233)
VERMILLION: Colour = (213, 94, 0)
REDDISH_PURPLE: Colour = (204, 121, 167)
YELLOW: Colour = (240, 228, 66)

LUNG, DISEASE, TRUE_LUNG, TRUE_DISEASE = SKY_BLUE, VERMILLION, REDDISH_PURPLE, YELLOW
FILL = 0.40  # opacity of predicted disease
HEAT_FILL = 0.65  # opacity of a heat map's highest value; its lowest is transparent
DASH = 5  # pixels: dashes of the true outlines, and the gaps between them


@dataclass(frozen=True)
class Tile:
    """One radiograph of a sheet; masks may have another size than the pixels and cover the same field.

    Args:
        pixels_HW: uint8, air dark and bone bright.
        lung_HW: predicted lungs; None if the model has no such head.
        disease_HW: predicted disease, likewise.
        true_lung_HW: annotated lungs; None if unknown.
        true_disease_HW: annotated disease; None if unknown.
        caption: a few short lines.
        heat_HW: uint8, how much each place counts, 255 most; None: no heat map.
    """

    pixels_HW: Pixels
    lung_HW: Mask | None = None
    disease_HW: Mask | None = None
    true_lung_HW: Mask | None = None
    true_disease_HW: Mask | None = None
    caption: tuple[str, ...] = ()
    heat_HW: Pixels | None = None


@dataclass(frozen=True)
class Blank:
    """The place of a tile that cannot be shown.

    Args:
        text: why.
        caption: as of a `Tile`.
    """

    text: str
    caption: tuple[str, ...] = ()


def paint(tile: Tile, side: int) -> Image.Image:
    """One radiograph with its heat map and masks, as large as fits into a square of `side` pixels."""
    height, width = tile.pixels_HW.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray(tile.pixels_HW).resize(size, Image.Resampling.LANCZOS)
    picture = np.repeat(np.asarray(grey, dtype=np.float32)[..., None], 3, axis=2)
    if tile.heat_HW is not None:
        heat = Image.fromarray(tile.heat_HW).resize(size, Image.Resampling.BILINEAR)
        heat_HW = np.asarray(heat, dtype=np.float32) / np.float32(255)
        share_HW1 = np.float32(HEAT_FILL) * heat_HW[..., None]
        picture = (1 - share_HW1) * picture + share_HW1 * heat_colours(heat_HW)
    if tile.disease_HW is not None:
        inside = _resized(tile.disease_HW, size)
        picture[inside] = (1 - FILL) * picture[inside] + FILL * np.array(DISEASE, np.float32)
        picture[_outline(inside, 0)] = DISEASE
    if tile.lung_HW is not None:
        picture[_outline(_resized(tile.lung_HW, size), 0)] = LUNG
    if tile.true_lung_HW is not None:
        picture[_dashed(_resized(tile.true_lung_HW, size))] = TRUE_LUNG
    if tile.true_disease_HW is not None:
        picture[_dashed(_resized(tile.true_disease_HW, size))] = TRUE_DISEASE
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def heat_colours(heat: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """RGB (..., 3), 0 to 255, of heat 0 to 1: matplotlib's `inferno`, whose lightness rises evenly."""
    from matplotlib import colormaps

    return np.asarray(colormaps["inferno"](heat)[..., :3] * 255, np.float32)


def _resized(mask_HW: Mask, size: tuple[int, int]) -> Mask:
    return np.asarray(Image.fromarray(mask_HW).convert("L").resize(size, Image.Resampling.BILINEAR)) >= 128


def _outline(mask_HW: Mask, outside: int) -> Mask:
    """The mask's border, one pixel wide, and as many pixels beyond it as `outside` says."""
    outer = binary_dilation(mask_HW, iterations=outside) if outside else mask_HW
    return np.asarray(outer & ~binary_erosion(mask_HW, border_value=1))


def _dashed(mask_HW: Mask) -> Mask:
    """The mask's border in dashes: by columns where it runs across, by rows where it runs down."""
    down, across = np.gradient(gaussian_filter(mask_HW.astype(np.float32), 2))
    rows, columns = np.indices(mask_HW.shape)
    dashes = np.where(abs(down) > abs(across), columns, rows) // DASH % 2 == 0
    return np.asarray(_outline(mask_HW, 1) & dashes)
