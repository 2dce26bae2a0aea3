"""Draws sheets of radiographs in rows, with a title, a legend and the words "not for diagnosis".

A radiograph is drawn with predicted masks, annotated masks if they are known, and a heat map. The colours are those of
Okabe and Ito (Color Universal Design, 2008), which colour-blind readers can tell apart. Predictions and annotations
differ in line style as well as in colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
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
DASH = 5  # pixels: length of the dashes of annotated outlines, and of the gaps between them


@dataclass(frozen=True)
class Tile:
    """One radiograph of a sheet. Masks may have another size than the radiograph; they cover the same field.

    Args:
        pixels_HW: the radiograph, uint8, air dark and bone bright.
        lung_HW: predicted lungs; None if the model has no lung head.
        disease_HW: predicted disease; None if the model has no disease head.
        true_lung_HW: annotated lungs; None if they are not known.
        true_disease_HW: annotated disease; None if it is not known.
        caption: a few short lines below the radiograph.
        heat_HW: uint8, how much each place contributes, 255 at most; None for no heat map.
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
    """The place of a radiograph that cannot be shown.

    Args:
        text: the reason.
        caption: a few short lines below, as for a `Tile`.
    """

    text: str
    caption: tuple[str, ...] = ()


def paint(tile: Tile, side: int) -> Image.Image:
    """Draws one radiograph with its heat map and masks, as large as fits into a square.

    Args:
        tile: the radiograph.
        side: side of the square in pixels.
    """
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
    """The colours of a heat map: matplotlib's `inferno`, whose lightness rises evenly.

    Args:
        heat: values from 0 to 1, any shape.

    Returns:
        RGB from 0 to 255, with one more axis, (..., 3).
    """
    from matplotlib import colormaps

    return np.asarray(colormaps["inferno"](heat)[..., :3] * 255, np.float32)


def _resized(mask_HW: Mask, size: tuple[int, int]) -> Mask:
    return np.asarray(Image.fromarray(mask_HW).convert("L").resize(size, Image.Resampling.BILINEAR)) >= 128


def _outline(mask_HW: Mask, outside: int) -> Mask:
    """The border of a mask, one pixel wide, and `outside` more pixels beyond it."""
    outer = binary_dilation(mask_HW, iterations=outside) if outside else mask_HW
    return np.asarray(outer & ~binary_erosion(mask_HW, border_value=1))


def _dashed(mask_HW: Mask) -> Mask:
    """The border of a mask in dashes: counted by columns where it runs across, by rows where it runs down."""
    down, across = np.gradient(gaussian_filter(mask_HW.astype(np.float32), 2))
    rows, columns = np.indices(mask_HW.shape)
    dashes = np.where(abs(down) > abs(across), columns, rows) // DASH % 2 == 0
    return np.asarray(_outline(mask_HW, 1) & dashes)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER: Colour = (24, 24, 24)
INK: Colour = (235, 235, 235)
GROUND: Colour = (52, 52, 52)  # fills a place without a radiograph
MARGIN = 10  # pixels
SWATCH = 26  # pixels: a sample of a line in the legend
NOT_FOR_DIAGNOSIS = "Research software: not for diagnosis."


@dataclass(frozen=True)
class LegendEntry:
    """An entry of the legend: the meaning of a colour, and how it is drawn."""

    text: str
    colour: Colour
    manner: Literal["line", "fill", "dashes", "heat"]


def sheet(
    tiles: Sequence[Tile | Blank], columns: int, tile_px: int, title: str, heads: Sequence[str] = (), note: str = ""
) -> Image.Image:
    """Draws tiles in rows, with a title, a legend and the words "not for diagnosis".

    Predicted lungs are a line, predicted disease a translucent fill, annotated lungs and disease dashed lines.

    Args:
        tiles: the tiles in reading order; an empty sheet says that it has no images.
        columns: number of tiles in a row.
        tile_px: side, in pixels, of the square into which each radiograph is fitted with its aspect ratio kept.
        title: title of the sheet.
        heads: one heading for each column, or none.
        note: a sentence below the words "not for diagnosis", such as what the outlines are; empty for none.
    """
    assert columns > 0, columns
    assert tile_px >= 64, tile_px
    assert len(heads) in (0, columns), heads
    text_px = max(11, tile_px // 22)
    font, title_font = ImageFont.load_default(size=text_px), ImageFont.load_default(size=round(text_px * 1.4))
    line_px = round(text_px * 1.4)
    width = MARGIN + min(columns, max(1, len(tiles))) * (tile_px + MARGIN)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]

    head = [(text, title_font) for text in _wrap(title, title_font, width - 2 * MARGIN)]
    caution = NOT_FOR_DIAGNOSIS if tiles else f"There are no images. {NOT_FOR_DIAGNOSIS}"
    for said in filter(None, (caution, note)):
        head += [(text, font) for text in _wrap(said, font, width - 2 * MARGIN)]
    legend = _legend([tile for tile in tiles if isinstance(tile, Tile)], font, width)
    top = MARGIN + round(1.4 * line_px) * len(head) + line_px * (len(legend) + bool(heads)) + MARGIN
    painted = [[paint(tile, tile_px) if isinstance(tile, Tile) else tile for tile in row] for row in rows]
    tallest = [max((it.height for it in row if not isinstance(it, Blank)), default=tile_px // 2) for row in painted]
    lines = [max(len(tile.caption) for tile in row) for row in rows]
    heights = [high + line_px * count + 2 * MARGIN for high, count in zip(tallest, lines, strict=True)]
    image = Image.new("RGB", (width, top + sum(heights)), PAPER)
    draw = ImageDraw.Draw(image)
    y = MARGIN
    for text, its_font in head:
        draw.text((MARGIN, y), text, fill=INK, font=its_font)
        y += round(1.4 * line_px)
    for entries in legend:
        _draw_legend(draw, entries, y, font)
        y += line_px
    for column, text in enumerate(heads):
        centre = MARGIN + column * (tile_px + MARGIN) + tile_px // 2
        draw.text((centre, top - line_px - 3), _shorten(text, font, tile_px), fill=INK, font=font, anchor="ma")
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            place = (MARGIN + column * (tile_px + MARGIN), top + sum(heights[:number]))
            _draw_tile(image, painted[number][column], place, (tile_px, tallest[number]), font)
            for line, text in enumerate(tile.caption):
                below = place[1] + tallest[number] + 3 + line * line_px
                draw.text((place[0], below), _shorten(text, font, tile_px), fill=INK, font=font)
    return image


def _draw_tile(
    image: Image.Image, what: Image.Image | Blank, place: tuple[int, int], size: tuple[int, int], font: Font
) -> None:
    """Draws a radiograph in the middle of its place of width x height pixels, or the reason why there is none."""
    (left, upper), (width, height) = place, size
    if isinstance(what, Image.Image):
        image.paste(what, (left + (width - what.width) // 2, upper + (height - what.height) // 2))
        return
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, upper, left + width - 1, upper + height - 1), fill=GROUND)
    text = "\n".join(_wrap(what.text, font, width - 2 * MARGIN))
    draw.multiline_text(
        (left + width // 2, upper + height // 2), text, fill=INK, font=font, anchor="mm", align="center"
    )


def _legend(tiles: Sequence[Tile], font: Font, width: int) -> list[list[LegendEntry]]:
    """The entries for everything that the tiles show, in as many lines as `width` pixels need."""
    shown: dict[LegendEntry, list[Mask | Pixels | None]] = {
        LegendEntry("predicted lungs", LUNG, "line"): [tile.lung_HW for tile in tiles],
        LegendEntry("predicted disease", DISEASE, "fill"): [tile.disease_HW for tile in tiles],
        LegendEntry("annotated lungs", TRUE_LUNG, "dashes"): [tile.true_lung_HW for tile in tiles],
        LegendEntry("annotated disease", TRUE_DISEASE, "dashes"): [tile.true_disease_HW for tile in tiles],
        LegendEntry("heat: 0 to each map's highest", INK, "heat"): [tile.heat_HW for tile in tiles],
    }
    lines: list[list[LegendEntry]] = []
    used = width
    for entry, masks in shown.items():
        if all(mask is None for mask in masks):
            continue
        needed = _legend_px(entry, font)
        if used + needed > width - MARGIN:
            lines.append([])
            used = MARGIN
        lines[-1].append(entry)
        used += needed
    return lines


def _legend_px(entry: LegendEntry, font: Font) -> int:
    return SWATCH + MARGIN // 2 + round(font.getlength(entry.text)) + 2 * MARGIN


def _draw_legend(draw: ImageDraw.ImageDraw, entries: list[LegendEntry], y: int, font: Font) -> None:
    x = MARGIN
    height = round(font.getbbox("Ag")[3])
    middle = y + height // 2 + 1
    for entry in entries:
        if entry.manner == "fill":
            muted = tuple(round(FILL * value + (1 - FILL) * 90) for value in entry.colour)
            draw.rectangle((x, y + 2, x + SWATCH, y + height), fill=muted, outline=entry.colour)
        elif entry.manner == "line":
            draw.line((x, middle, x + SWATCH, middle), fill=entry.colour, width=2)
        elif entry.manner == "heat":
            colours: list[list[int]] = heat_colours(np.linspace(0, 1, SWATCH)).astype(int).tolist()
            for step, (red, green, blue) in enumerate(colours):
                draw.line((x + step, y + 2, x + step, y + height), fill=(red, green, blue))
        else:
            for start in range(x, x + SWATCH, 2 * DASH):
                draw.line((start, middle, start + DASH, middle), fill=entry.colour, width=3)
        draw.text((x + SWATCH + MARGIN // 2, y), entry.text, fill=INK, font=font)
        x += _legend_px(entry, font)


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """The text in lines of at most `width` pixels, broken between words; a longer word is shortened."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_shorten(line, font, width) for line in lines]


def _shorten(text: str, font: Font, width: int) -> str:
    """The text, cut to `width` pixels with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
