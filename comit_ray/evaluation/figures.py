"""A sheet of radiographs with what the model painted, and the truth where it is known, as one PNG.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which colour-blind readers can tell apart;
predictions and truth differ in line as well as in colour.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SKY_BLUE: Colour = (86, 180, 233)
VERMILLION: Colour = (213, 94, 0)
REDDISH_PURPLE: Colour = (204, 121, 167)
YELLOW: Colour = (240, 228, 66)

LUNG, DISEASE, TRUE_LUNG, TRUE_DISEASE = SKY_BLUE, VERMILLION, REDDISH_PURPLE, YELLOW
FILL = 0.40  # opacity of predicted disease
DASH = 5  # pixels: dashes of the true outlines, and the gaps between them
PAPER: Colour = (24, 24, 24)
INK: Colour = (235, 235, 235)
MARGIN = 10  # pixels
SWATCH = 26  # pixels: a sample of a line in the legend
NOT_FOR_DIAGNOSIS = "Research software: not for diagnosis."


@dataclass(frozen=True)
class Tile:
    """One radiograph of the sheet; masks may have another size than the pixels and cover the same field.

    Args:
        pixels_HW: uint8, air dark and bone bright.
        lung_HW: predicted lungs; None if the model has no such head.
        disease_HW: predicted disease, likewise.
        true_lung_HW: annotated lungs; None if unknown.
        true_disease_HW: annotated disease; None if unknown.
        caption: one to three short lines.
    """

    pixels_HW: npt.NDArray[np.uint8]
    lung_HW: Mask | None = None
    disease_HW: Mask | None = None
    true_lung_HW: Mask | None = None
    true_disease_HW: Mask | None = None
    caption: tuple[str, ...] = ()


@dataclass(frozen=True)
class LegendEntry:
    """What one colour of the sheet means, and how it is drawn."""

    text: str
    colour: Colour
    manner: Literal["line", "fill", "dashes"]


def overlay_sheet(tiles: Sequence[Tile], columns: int, tile_px: int, title: str) -> bytes:
    """A PNG of tiles in rows of `columns`, with a title, a legend of what is shown and the words "not for diagnosis".

    Predicted lungs are a line, predicted disease a translucent fill, annotated lungs and disease dashed lines.

    Args:
        tiles: what to show, in reading order; none gives a sheet that says so.
        columns: tiles in a row.
        tile_px: side of the square each radiograph is fitted into, its aspect ratio kept; pixels.
        title: names the run.
    """
    assert columns > 0, columns
    assert tile_px >= 64, tile_px
    text_px = max(11, tile_px // 22)
    font, title_font = ImageFont.load_default(size=text_px), ImageFont.load_default(size=round(text_px * 1.4))
    line_px = round(text_px * 1.4)
    width = MARGIN + min(columns, max(1, len(tiles))) * (tile_px + MARGIN)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    lines = max((len(tile.caption) for tile in tiles), default=0)
    row_px = tile_px + line_px * lines + 2 * MARGIN

    head = [(text, title_font) for text in _wrap(title, title_font, width - 2 * MARGIN)]
    note = NOT_FOR_DIAGNOSIS if tiles else f"no images; {NOT_FOR_DIAGNOSIS}"
    head += [(text, font) for text in _wrap(note, font, width - 2 * MARGIN)]
    legend = _legend(tiles, font, width)
    top = MARGIN + round(1.4 * line_px) * len(head) + line_px * len(legend) + MARGIN
    sheet = Image.new("RGB", (width, top + row_px * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for text, its_font in head:
        draw.text((MARGIN, y), text, fill=INK, font=its_font)
        y += round(1.4 * line_px)
    for entries in legend:
        _draw_legend(draw, entries, y, font)
        y += line_px
    for row, row_tiles in enumerate(rows):
        for column, tile in enumerate(row_tiles):
            left, upper = MARGIN + column * (tile_px + MARGIN), top + row * row_px
            picture = paint(tile, tile_px)
            sheet.paste(picture, (left + (tile_px - picture.width) // 2, upper + (tile_px - picture.height) // 2))
            for number, text in enumerate(tile.caption):
                shown = _shorten(text, font, tile_px)
                draw.text((left, upper + tile_px + 3 + number * line_px), shown, fill=INK, font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def paint(tile: Tile, side: int) -> Image.Image:
    """One radiograph with its masks, as large as fits into a square of `side` pixels."""
    height, width = tile.pixels_HW.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray(tile.pixels_HW).resize(size, Image.Resampling.LANCZOS)
    picture = np.repeat(np.asarray(grey, dtype=np.float32)[..., None], 3, axis=2)
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


def _legend(tiles: Sequence[Tile], font: Font, width: int) -> list[list[LegendEntry]]:
    """The entries of what the tiles show, in as many lines as `width` pixels need."""
    shown = {
        LegendEntry("predicted lungs", LUNG, "line"): [tile.lung_HW for tile in tiles],
        LegendEntry("predicted disease", DISEASE, "fill"): [tile.disease_HW for tile in tiles],
        LegendEntry("annotated lungs", TRUE_LUNG, "dashes"): [tile.true_lung_HW for tile in tiles],
        LegendEntry("annotated disease", TRUE_DISEASE, "dashes"): [tile.true_disease_HW for tile in tiles],
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
        else:
            for start in range(x, x + SWATCH, 2 * DASH):
                draw.line((start, middle, start + DASH, middle), fill=entry.colour, width=3)
        draw.text((x + SWATCH + MARGIN // 2, y), entry.text, fill=INK, font=font)
        x += _legend_px(entry, font)


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken between words; a longer word is shortened."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_shorten(line, font, width) for line in lines]


def _shorten(text: str, font: Font, width: int) -> str:
    """`text`, cut with an ellipsis where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
