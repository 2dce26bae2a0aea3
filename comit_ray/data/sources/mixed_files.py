"""Source `files`: any folder or bucket with DICOM, PNG and JPEG files, and archives of them.

Every file is a row or is passed over with a reason. A file is an image if its name says so, or its first bytes do.
"""

import heapq
from collections.abc import Iterator

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.images.dicom_file import looks_like_dicom
from comit_ray.data.images.raster import JPEG_SIGNATURE, PNG_SIGNATURE
from comit_ray.data.sources import dicom_files, image_files
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles

NAME = "files"
"""Of the source; also `dataset` of its rows, unless another name is given."""


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Every PNG and JPEG file as the source `images` has it, and every other image as the source `dicom` has it.

    Patients and studies of DICOM files are known where `COMIT_ID_KEY` is set. Nothing is printed where it is not: a
    screen needs no patients. An empty or broken file whose name is that of an image is a row, so that screening
    records it as failed. Masks are found as `MaskFiles` says. Rows are in the order of the listing.

    Raises:
        ManifestError: if it is not clear which mask belongs to which image.
        ConfigError: if the key is too short to protect anybody.
        StorageError: if the storage refuses a file.
    """
    masks = image_files.MaskFiles(files)
    named = image_files.rows_of(files, masks)
    others = dicom_files.rows_of(files, masks, dicom_files.read_key(), _is_image, image_files.is_image_name)
    return heapq.merge(named, others, key=lambda row: row.position)


def has_dicom(name: str) -> bool:
    """Whether a row of this file name was read as DICOM: any that is not named as a PNG or JPEG file."""
    return not image_files.is_image_name(name)


def _is_image(head: bytes) -> bool:
    return head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)) or looks_like_dicom(head)
