"""Sheets of radiographs: tiles in rows, with a title, a legend of what is shown and the words "not for diagnosis"."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from comit_ray.evaluation.tile import (
    DASH,
    DISEASE,
    FILL,
    LUNG,
    TRUE_DISEASE,
    TRUE_LUNG,
    Blank,
    Colour,
    Mask,
    Pixels,
    Tile,
    heat_colours,
    paint,
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER: Colour = (24, 24, 24)
INK: Colour = (235, 235, 235)
GROUND: Colour = (52, 52, 52)  # of a place without a radiograph
MARGIN = 10  # pixels
SWATCH = 26  # pixels: a sample of a line in the legend
NOT_FOR_DIAGNOSIS = "Research software: not for diagnosis."


@dataclass(frozen=True)
class LegendEntry:
    """What one colour of the sheet means, and how it is drawn."""

    text: str
    colour: Colour
    manner: Literal["line", "fill", "dashes", "heat"]


def overlay_sheet(
    tiles: Sequence[Tile | Blank], columns: int, tile_px: int, title: str, heads: Sequence[str] = ()
) -> bytes:
    """`sheet` as PNG."""
    buffer = io.BytesIO()
    sheet(tiles, columns, tile_px, title, heads).save(buffer, "PNG")
    return buffer.getvalue()


def sheet(
    tiles: Sequence[Tile | Blank], columns: int, tile_px: int, title: str, heads: Sequence[str] = ()
) -> Image.Image:
    """Tiles in rows of `columns`, with a title, a legend of what is shown and the words "not for diagnosis".

    Predicted lungs are a line, predicted disease a translucent fill, annotated lungs and disease dashed lines.

    Args:
        tiles: what to show, in reading order; none gives a sheet that says so.
        columns: tiles in a row.
        tile_px: side of the square each radiograph is fitted into, its aspect ratio kept; pixels.
        title: names the run.
        heads: one heading a column, or none.
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
    note = NOT_FOR_DIAGNOSIS if tiles else f"no images; {NOT_FOR_DIAGNOSIS}"
    head += [(text, font) for text in _wrap(note, font, width - 2 * MARGIN)]
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
    """A radiograph in the middle of its place of width x height pixels, or the reason there is none."""
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
    """The entries of what the tiles show, in as many lines as `width` pixels need."""
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
    """`text`, cut with an ellipsis where it is wider than `width` pixels; of an image id the end stays."""
    if font.getlength(text) <= width:
        return text
    is_id = "/" in text and " " not in text
    while text and font.getlength(f"{text}...") > width:
        text = text[1:] if is_id else text[:-1]
    return f"...{text}" if is_id else f"{text}..."
