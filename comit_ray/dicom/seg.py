"""Lungs and disease as a DICOM Segmentation (PS3.3 A.51): BINARY, one frame per segment.

A radiograph of the classes CR and DX has no frame of reference. So the object refers to its source by
ReferencedSeriesSequence and DerivationImageSequence, and has exactly one frame per segment. Its shared functional
groups still have one item with pixel measures (PS3.3 C.7.6.16.2.1), because OHIF 3.13 shows nothing without them.
"""

import numpy as np
from pydicom.dataset import Dataset

from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.dicom import concepts
from comit_ray.dicom.concepts import Concept
from comit_ray.dicom.result import MODEL_NAME, ImageResult, Naming, coded, common, to_bytes
from comit_ray.dicom.uids import uid
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import Task

SEGMENTS: dict[str, tuple[str, Concept, Concept]] = {
    Task.LUNG: ("Lungs", concepts.ANATOMY, concepts.LUNG),
    Task.DISEASE: ("Abnormal opacities", concepts.ABNORMAL_STRUCTURE, concepts.OPACITY),
}
"""Task -> label, category and type of its segment (PS3.3 C.8.20.2)."""
COLOURS = {Task.LUNG: (86, 180, 233), Task.DISEASE: (213, 94, 0)}
"""RGB colours that viewers are asked to use: sky blue and vermillion of Okabe and Ito, as in the secondary capture."""


def segment_numbers(result: ImageResult) -> dict[str, int]:
    """Task -> number of its segment and of its frame, from 1, for the heads that the model has."""
    return {task: number for number, task in enumerate((t for t in SEGMENTS if t in result.masks), start=1)}


def make_seg(header: Dataset, result: ImageResult, naming: Naming) -> bytes:
    """Make the file of a Segmentation. An empty mask gets a frame of zeros, so that a viewer can show "nothing found".

    Args:
        header: header of the source.
        result: result of the image, with at least one mask.
        naming: names and numbers of the series.

    Raises:
        DecodeError: `no_pixels` if the result has no mask, `bad_geometry` if the source is not the image that was
            screened.
    """
    numbers = segment_numbers(result)
    if not numbers:
        raise DecodeError(
            Reason.NO_PIXELS, "the result has no mask: the model has no mask head, or the image has no scores"
        )
    height, width = result.checked_size(int(header.Rows), int(header.Columns))
    frames = np.stack([result.original_mask(task, height, width) for task in numbers], axis=-1)
    with decoder_guard():
        from highdicom.color import CIELabColor
        from highdicom.content import AlgorithmIdentificationSequence
        from highdicom.seg import Segmentation, SegmentDescription

        algorithm = AlgorithmIdentificationSequence(
            name=MODEL_NAME, family=coded(concepts.AI), version=f"{naming.software}, model {result.model_id}"
        )
        made = Segmentation(
            source_images=[header],
            pixel_array=frames[np.newaxis].astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[
                SegmentDescription(
                    segment_number=number,
                    segment_label=SEGMENTS[task][0],
                    segmented_property_category=coded(SEGMENTS[task][1]),
                    segmented_property_type=coded(SEGMENTS[task][2]),
                    algorithm_type="AUTOMATIC",
                    algorithm_identification=algorithm,
                    tracking_uid=uid("tracking", str(header.SOPInstanceUID), result.model_id, task),
                    tracking_id=f"{MODEL_NAME} {task}",
                    display_color=CIELabColor.from_rgb(*COLOURS[Task(task)]),
                )
                for task, number in numbers.items()
            ],
            omit_empty_frames=False,
            content_label="COMIT_NET",
            content_description="Lungs and abnormal opacities. Research, not for diagnosis",
            content_creator_name=None,
            **common(header, result, naming, "seg"),
        )
        made.SharedFunctionalGroupsSequence = [_shared(header)]
        made.PatientOrientation = header.get("PatientOrientation") or None  # type 2C: needed without a plane's position
        return to_bytes(made, result.screened_at)


def _shared(header: Dataset) -> Dataset:
    """Return the group that all frames share: the pixel size, of the patient or the detector, as the source states it.

    The PixelSpacing of a projection may be that of the detector (PS3.3 section 10.7.1.3). No size is invented.
    """
    measures, shared = Dataset(), Dataset()
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if spacing:
        measures.PixelSpacing = spacing
        measures.SliceThickness = 1  # nominal: a projection has no slices, but highdicom needs a value
        shared.PixelMeasuresSequence = [measures]
    return shared
