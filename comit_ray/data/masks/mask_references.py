"""Mask references, the text in a mask column of the manifest: parses them strictly and makes them.

A reference is the URI of a mask image, or JSON of exactly one of these forms. Coordinates are pixels from the top left
corner of the stated frame, `[height, width]`; a `null` frame is that of the radiograph itself, whatever its size.

    {"uri": ..., "member": ...}                                 a mask image inside an archive (`FileRef`)
    {"boxes": [[x, y, width, height], ...], "frame": ...}       filled boxes
    {"polygons": [[x1, y1, x2, y2, ...], ...], "frame": ...}    filled polygons
    {"rle": [{"counts": ..., "size": [height, width]}, ...]}    COCO's run lengths, compressed (text) or not (list)
    {"siim": ["gap run gap run ...", ...], "frame": ...}        SIIM-ACR's relative run lengths, column after column
    {"pasted": [{"uri": ..., "member": ..., "top": ..., "left": ..., "height": ..., "width": ...}, ...], "frame": ...}
                                                                mask images, each of a rectangle of the frame

The union of several shapes is one mask. An empty list is a mask that shows nothing; a null in the manifest means that
there is no mask. COCO's forms are those of its API (Lin et al., "Microsoft COCO", 2014); SIIM-ACR's is that of its
Pneumothorax Segmentation challenge (2019).
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from comit_ray.config.config_base import Config, PositiveInt
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileRef

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
Part = tuple[FileRef, int, int, int, int]
"""A mask image, and top, left, height and width of its place in the frame."""

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Frame = tuple[PositiveInt, PositiveInt]


class _Form(Config):
    model_config = ConfigDict(strict=True)


class ImageForm(_Form):
    """A mask image that is a member of an archive."""

    uri: str
    member: str | None = None
    offset: int | None = None

    @property
    def file(self) -> FileRef:
        """The reference to the image's bytes."""
        return FileRef(self.uri, self.member, self.offset)


class BoxesForm(_Form):
    """Boxes as x, y, width, height."""

    boxes: tuple[tuple[_Number, _Number, _Number, _Number], ...]
    frame: _Frame | None


class PolygonsForm(_Form):
    """Polygons, each a flat list of x and y; each closes itself."""

    polygons: tuple[Annotated[tuple[_Number, ...], Field(min_length=6)], ...]
    frame: _Frame | None


class Runs(_Form):
    """Run lengths in COCO's form: alternately of 0 and 1, beginning with 0, column after column."""

    counts: str | tuple[int, ...]
    size: _Frame


class RleForm(_Form):
    """At least one set of run lengths in COCO's form; each states the frame."""

    rle: Annotated[tuple[Runs, ...], Field(min_length=1)]


class SiimForm(_Form):
    """Relative run lengths in SIIM-ACR's form."""

    siim: tuple[str, ...]
    frame: _Frame | None


class PastedPart(ImageForm):
    """A mask image for one rectangle of the frame."""

    top: int
    left: int
    height: PositiveInt
    width: PositiveInt


class PastedForm(_Form):
    """Mask images, each for one rectangle of the frame."""

    pasted: tuple[PastedPart, ...]
    frame: _Frame | None


DrawnForm = PolygonsForm | RleForm | SiimForm | PastedForm
"""Forms that are drawn pixel by pixel in their own frame."""

_FORMS: dict[str, type[_Form]] = {
    "uri": ImageForm,
    "boxes": BoxesForm,
    "polygons": PolygonsForm,
    "rle": RleForm,
    "siim": SiimForm,
    "pasted": PastedForm,
}
"""Key that identifies a form -> the form."""
_SHOWN = {
    "uri": '{"uri": ..., "member": ...}',
    "boxes": '{"boxes": [[x, y, width, height], ...], "frame": [height, width] or null}',
    "polygons": '{"polygons": [[x1, y1, x2, y2, x3, y3, ...], ...], "frame": [height, width] or null}',
    "rle": '{"rle": [{"counts": text or list, "size": [height, width]}, ...]}',
    "siim": '{"siim": ["gap run ...", ...], "frame": [height, width] or null}',
    "pasted": '{"pasted": [{"uri", "member", "top", "left", "height", "width"}], "frame": [height, width] or null}',
}


def parse_reference(reference: str) -> FileRef | BoxesForm | DrawnForm:
    """Parses a mask column: the file of a mask image, or one of the other forms.

    Raises:
        ManifestError: the text is JSON of no known form.
    """
    if not reference.startswith(("{", "[")):
        return FileRef(reference)
    try:
        fields = json.loads(reference)
    except ValueError:
        fields = None
    keys = [key for key in _FORMS if isinstance(fields, dict) and key in fields]
    if len(keys) != 1:
        raise ManifestError(
            f"expected a mask reference: the URI of a mask image, or one of {', '.join(_SHOWN.values())}; "
            f"got {reference[:200]}"
        )
    try:
        form = _FORMS[keys[0]].model_validate_json(reference)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ManifestError(
            f"expected a mask reference of the form {_SHOWN[keys[0]]}, got {reference[:200]}: {where}: {first['msg']}"
        ) from None
    if isinstance(form, ImageForm):
        return form.file
    assert isinstance(form, BoxesForm | DrawnForm), form
    return form


def referenced_files(reference: str) -> tuple[FileRef, ...]:
    """Returns the files that a mask needs; none for boxes, polygons and run lengths.

    Raises:
        ManifestError: as `parse_reference`.
    """
    form = parse_reference(reference)
    if isinstance(form, FileRef):
        return (form,)
    return tuple(part.file for part in form.pasted) if isinstance(form, PastedForm) else ()


def boxes_reference(boxes: Sequence[Box], frame_height: int | None, frame_width: int | None) -> str:
    """Returns the reference of the filled `boxes`: x, y, width, height in pixels of the frame (None: the image's)."""
    return _text({"boxes": [_rounded(box) for box in boxes], "frame": _frame(frame_height, frame_width)})


def polygons_reference(polygons: Sequence[Sequence[float]], frame_height: int | None, frame_width: int | None) -> str:
    """Returns the mask reference of the filled union of `polygons`, each x1, y1, x2, y2, ... in pixels of the frame."""
    return _text({"polygons": [_rounded(points) for points in polygons], "frame": _frame(frame_height, frame_width)})


def rle_reference(runs: Sequence[dict[str, Any]]) -> str:
    """Returns the mask reference of the union of COCO run lengths, each `counts` (text, bytes or list) and `size`."""
    plain = [
        {"counts": run["counts"].decode("ascii") if isinstance(run["counts"], bytes) else run["counts"]}
        | {"size": list(run["size"])}
        for run in runs
    ]
    return _text({"rle": plain})


def siim_reference(runs: Sequence[str], frame_height: int | None = 1024, frame_width: int | None = 1024) -> str:
    """Returns the mask reference of the union of SIIM-ACR's relative run lengths, `gap run gap run ...`."""
    return _text({"siim": list(runs), "frame": _frame(frame_height, frame_width)})


def pasted_reference(parts: Sequence[Part], frame_height: int | None, frame_width: int | None) -> str:
    """Returns the mask reference of mask images pasted at their places in the frame."""
    pasted = []
    for file, top, left, height, width in parts:
        place = {"top": top, "left": left, "height": height, "width": width}
        offset = {} if file.offset is None else {"offset": file.offset}
        pasted.append({"uri": file.uri, "member": file.member, **offset, **place})
    return _text({"pasted": pasted, "frame": _frame(frame_height, frame_width)})


def _frame(height: int | None, width: int | None) -> list[int] | None:
    return None if height is None or width is None else [height, width]


def _rounded(numbers: Sequence[float]) -> list[float]:
    return [round(number, 2) for number in numbers]


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))
