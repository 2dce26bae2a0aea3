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
"""Name of the source, and `dataset` of its rows unless another name is given."""


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields PNG and JPEG files as the source `images` does, and all other images as the source `dicom` does.

    Patients and studies of DICOM files are known if `COMIT_ID_KEY` is set. Without it nothing is printed, because a
    screen needs no patients. An empty or broken file with the name of an image is a row, so that the screen records it
    as failed. `MaskFiles` says how masks are found. Rows are in the order of the listing.

    Raises:
        ManifestError: it is not clear which mask belongs to which image.
        ConfigError: the key is too short to protect anybody.
        StorageError: the storage refuses a file.
    """
    masks = image_files.MaskFiles(files)
    named = image_files.rows_of(files, masks)
    others = dicom_files.rows_of(files, masks, dicom_files.read_key(), _is_image, image_files.is_image_name)
    return heapq.merge(named, others, key=lambda row: row.position)


def has_dicom(name: str) -> bool:
    """Whether a row of this file name was read as DICOM: any name that is not a PNG or JPEG name."""
    return not image_files.is_image_name(name)


def _is_image(head: bytes) -> bool:
    return head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)) or looks_like_dicom(head)
