"""Outlines of the masks as a Grayscale Softcopy Presentation State (PS3.3 A.33), for viewers without SEG.

Outlines are traced in the frame of the model, at its resolution, and then mapped to the pixels of the original. There
pixel 0 spans 0 to 1 (PS3.3 C.10.5.1.2), as in a `FrameMap`. A legend at the lower edge says how coarse they are.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from comit_ray.data.images.frame import FrameMap
from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.dicom.result import MODEL_NAME, WARNING, ImageResult, Mask, Naming, common, to_bytes
from comit_ray.dicom.seg import COLOURS, SEGMENTS
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import Task

_LAYERS = {Task.LUNG: "LUNGS", Task.DISEASE: "OPACITIES"}

Points = npt.NDArray[np.float64]


def outlines(mask_HW: Mask, frame_map: FrameMap, height: int, width: int) -> list[Points]:
    """Trace the closed outlines of a mask.

    Args:
        mask_HW: mask in the frame of the model, bool.
        frame_map: where the original lies in the frame.
        height: rows of the original.
        width: columns of the original.

    Returns:
        For each outline (N, 2) points as column and row on the original.
    """
    from contourpy import contour_generator

    padded = np.pad(mask_HW, 1).astype(np.float64)  # closes outlines that touch the border
    found = []
    for line in contour_generator(z=padded).lines(0.5):
        columns, rows = np.asarray(line).T - 0.5  # centres of padded pixels -> edges of the frame's
        columns = (columns - frame_map.left) / frame_map.columns_per_pixel
        rows = (rows - frame_map.top) / frame_map.rows_per_pixel
        found.append(np.stack([columns.clip(0, width), rows.clip(0, height)], axis=1))
    return found


def make_gsps(header: Dataset, result: ImageResult, naming: Naming) -> bytes:
    """Make the file of a presentation state. It keeps the grey levels of the source.

    Args:
        header: header of the source.
        result: result of the image, with at least one mask.
        naming: names and numbers of the series.

    Raises:
        DecodeError: `no_pixels` if the result has no mask, `bad_geometry` if the source is not the image that was
            screened.
    """
    if not result.masks or result.frame_map is None:
        raise DecodeError(
            Reason.NO_PIXELS, "the result has no mask: the model has no mask head, or the image has no scores"
        )
    height, width = result.checked_size(int(header.Rows), int(header.Columns))
    with decoder_guard():
        from highdicom.color import CIELabColor
        from highdicom.content import PresentationLUTTransformation
        from highdicom.pr import GraphicLayer, GrayscaleSoftcopyPresentationState

        inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
        layers, notes = [], []
        for order, task in enumerate((t for t in SEGMENTS if t in result.masks), start=1):
            layer = GraphicLayer(
                layer_name=_LAYERS[Task(task)],
                order=order,
                description=SEGMENTS[task][0],
                display_color=CIELabColor.from_rgb(*COLOURS[Task(task)]),
            )
            layers.append(layer)
            lines = outlines(result.masks[task], result.frame_map, height, width)
            if lines:
                notes.append(_annotation(header, layer, lines, []))
        layer = GraphicLayer("LEGEND", order=len(layers) + 1, description="What drew the outlines")
        notes.append(_annotation(header, layer, [], [f"{WARNING}: {MODEL_NAME} {result.model_id}", result.outlines]))
        made = GrayscaleSoftcopyPresentationState(
            referenced_images=[header],
            content_label="COMIT_NET",
            content_description="Outlines of lungs and opacities. Research, not for diagnosis",
            graphic_layers=[*layers, layer],
            graphic_annotations=notes,
            presentation_lut_transformation=PresentationLUTTransformation(
                presentation_lut_shape="INVERSE" if inverted else "IDENTITY"
            ),
            **common(header, result, naming, "gsps"),
        )
        made.Laterality = header.get("Laterality", "")
        return to_bytes(made, result.screened_at)


def _annotation(header: Dataset, layer: Any, lines: list[Points], texts: list[str]) -> Any:
    from highdicom.pr import GraphicAnnotation, GraphicObject, TextObject

    return GraphicAnnotation(
        referenced_images=[header],
        graphic_layer=layer,
        graphic_objects=[GraphicObject("POLYLINE", line, units="PIXEL") for line in lines] or None,
        text_objects=[
            TextObject(text, units="DISPLAY", bounding_box=(0.01, top, 0.99, top + 0.05), text_justification="LEFT")
            for text, top in zip(texts, (0.01, 0.94), strict=False)
        ]
        or None,
    )
