"""What an adapter gives: one `ManifestRow` an image, and the small conversions that all sources share.

An adapter is a module of this package with one function,

    def rows(root: str, dataset: str) -> Iterator[ManifestRow]

where `root` is the URI of the dataset's directory (normalised: no trailing slash) and `dataset` the name its rows bear.
It reads and lists through `comit_ray.storage`, yields rows one by one in the order of the archive, never opens
pixels, and raises `ManifestError` where a table does not have its form. It gives every image of the source,
unusable ones with their reason in `excluded`. Registering it in `registry.py` makes it known to the command line;
`tests/data/sources/test_contract.py` holds every adapter to this text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from comit_ray.errors import Reason
from comit_ray.schema import Split, View

MAX_AGE = 120  # years; older ages are typing errors in every source that has them
_AGE_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # the units of DICOM's age string


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image as its source knows it; the meanings are those of the columns of `comit_ray.schema.MANIFEST`.

    Args:
        path: of the file, `/`-separated, relative to the root. `image_id` becomes `dataset/path`, `uri` `root/path`.
        patient_id: `scoped(dataset, the source's id)`, so that merged sources never collide; a keyed hash for DICOM.
        study_id: as `patient_id`.
        view_source: the evidence for `view`: a column or DICOM tag, or `none`.
        age: years; see `parse_age`.
        findings: the source's own labels, unchanged.
        unhealthy: 1, 0 or None (unknown); so are `covid` and `other`.
        lung_mask: URI of a mask image, or `comit_ray.data.masks.boxes_reference`; so is `disease_mask`.
        excluded: why the source itself says that the image is no frontal chest radiograph.
        source_split: the split the source itself puts the image in, where it has one.
    """

    path: str
    site: str | None = None
    patient_id: str | None = None
    study_id: str | None = None
    view: View = View.UNKNOWN
    view_source: str = "none"
    sex: str | None = None
    age: float | None = None
    device: str | None = None
    acquired_on: date | None = None
    illness_day: int | None = None
    findings: tuple[str, ...] = ()
    unhealthy: int | None = None
    covid: int | None = None
    other: int | None = None
    lung_mask: str | None = None
    disease_mask: str | None = None
    checksum: str | None = None
    excluded: Reason | None = None
    source_split: Split | None = None


class Adapter(Protocol):
    """The one function of a source's module."""

    def __call__(self, root: str, dataset: str) -> Iterator[ManifestRow]:
        """Every image below `root`, in the order of the archive."""
        ...


def scoped(dataset: str, identifier: str) -> str | None:
    """`dataset/identifier`, or None for a blank one."""
    identifier = identifier.strip()
    return f"{dataset}/{identifier}" if identifier else None


def parse_sex(text: str) -> str | None:
    """M or F from `M`, `male`, `F`, `female` in any case; else None."""
    return {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}.get(text.strip().upper())


def parse_age(text: str) -> float | None:
    """Years from `58`, `58.0`, `058Y`, `018M`, `006W` or `012D`; None if blank, unreadable or above 120 years."""
    text = text.strip().upper()
    unit = _AGE_UNITS.get(text[-1:])
    try:
        years = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        return None
    return years if 0 <= years <= MAX_AGE else None
