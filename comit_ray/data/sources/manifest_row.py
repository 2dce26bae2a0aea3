"""Defines `ManifestRow`, what a source says of one image, and helpers that fill it (age, sex, identifiers)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

from comit_ray.data.sources.readers import is_unknown
from comit_ray.data.sources.source_files import IMAGES, SourceFile, SourceFiles
from comit_ray.errors import Reason
from comit_ray.tables.vocabulary import Split, View

MAX_AGE = 120  # years; older ages are typing errors in every source that has them
_WITH_GAPS = re.compile(r"(\d+)[.,]0+")
_AGE_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # the units of DICOM's age string


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image as its source describes it; `comit_ray.tables.manifest_schema.MANIFEST` gives the meanings.

    Args:
        path: path of the file, or of the archive that holds it, relative to the root, with `/` as separator. `image_id`
            becomes `dataset/path[!member]`, and `uri` becomes `root/path`.
        member: name inside the archive, as in `SourceFile`.
        member_offset: as `offset` in `SourceFile`.
        position: as in `SourceFile`.
        sidecar: `FileRef` text of the DICOM JSON that says how to display the stored values.
        listed: whether a table of the source names the image.
        site: hospital or website, if the source tells it.
        patient_id: `scoped(dataset, the source's id)`, so that merged sources never collide; a keyed hash for DICOM.
        study_id: built like `patient_id`.
        view: projection of the radiograph.
        view_source: evidence for `view`: a column or DICOM tag, or `none`.
        sex: `M`, `F` or None.
        age: age in years; see `parse_age`.
        device: manufacturer and model.
        acquired_on: day of the radiograph.
        illness_day: days since the first symptoms, as the source counts them.
        findings: the source's own labels, unchanged.
        unhealthy: 1, 0 or None (unknown).
        covid: 1, 0 or None (unknown).
        other: another disease: 1, 0 or None (unknown).
        lung_mask: mask reference (`comit_ray.data.masks.mask_references`), or None.
        disease_mask: mask reference, or None.
        checksum: `algorithm:hex` digest of the file at `path`, if the source states it.
        excluded: why the source says that the image is not a frontal chest radiograph.
        source_split: the split that the source assigns, if it has splits.
    """

    path: str
    member: str | None = None
    member_offset: int | None = None
    position: int = field(default=0, compare=False)
    sidecar: str | None = None
    listed: bool = True
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


def located(files: SourceFiles, name: str) -> dict[str, Any]:
    """Returns the place of the image with this name, as fields of a `ManifestRow`. The file counts as named by a table.

    If no file has the name, the name is kept; the screen finds out that the file is missing.
    """
    file = files.find(name)
    return {"path": name} if file is None else place(files.take(file))


def place(file: SourceFile) -> dict[str, Any]:
    """Returns the place of the file, as fields of a `ManifestRow`."""
    return {
        "path": file.path,
        "member": file.member,
        "member_offset": file.offset,
        "position": file.position,
    }


def unlisted(files: SourceFiles, pattern: str = IMAGES) -> Iterator[ManifestRow]:
    """Returns rows without labels for all images that no table names."""
    return (ManifestRow(**place(file), listed=False) for file in files.untaken(pattern))


def plain_number(identifier: str) -> str:
    """Returns the identifier unchanged, or `2` for `2.0`, which tools write for a column of numbers with gaps."""
    found = _WITH_GAPS.fullmatch(identifier.strip())
    return found[1] if found else identifier.strip()


def scoped(dataset: str, identifier: str) -> str | None:
    """Returns `dataset/identifier`; None if the identifier is blank or says that it is not known (NaN)."""
    identifier = "" if is_unknown(identifier) else plain_number(identifier)
    return f"{dataset}/{identifier}" if identifier else None


@lru_cache(maxsize=4096)
def parse_sex(text: str) -> str | None:
    """Returns M or F from `M`, `male`, `F`, `female` in any case; else None."""
    return {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}.get(text.strip().upper())


@lru_cache(maxsize=4096)
def parse_age(text: str) -> float | None:
    """Returns years from `58`, `58.0`, `058Y`, `018M`, `006W` or `012D`; None if blank, unreadable or above 120."""
    text = text.strip().upper()
    unit = _AGE_UNITS.get(text[-1:])
    try:
        years = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        return None
    return years if 0 <= years <= MAX_AGE else None
