"""BIMCV-COVID19: frontal or lateral? From a radiograph's name and two elements of its DICOM header.

The rule was measured on the 3,178 radiographs of iteration 1, whose position was read by hand. ViewPosition and the
`vp-` token of the names, which repeats it, are wrong for laterals too often to come first. What is tried, in order:

 1. SeriesDescription names a lateral;
 2. it names an AP, portable or supine image: taken at the bedside, where there is no second, lateral image;
 3. the `acq-` number of the name: the images of one examination are numbered, the frontal first. It comes before a PA
    in SeriesDescription, because consoles copy that to the lateral (56 of the 67 such images with acq-2 are laterals);
 4. SeriesDescription names a PA;
 5. PatientOrientation: rows that run to the front or back are lateral, to the left or right frontal;
 6. the `vp-` token.

Called frontal or unknown against lateral, it agrees with the readers on 97.9%: 23 frontals are taken for laterals, 10
laterals for frontals, and 95 (32 of them laterals) stay unknown. With PatientOrientation before `acq-`, and any AP or
PA of SeriesDescription before both, it would be 94.0%, with 97 frontals taken for laterals.
"""

import re

from comit_ray.data.images.views import plain
from comit_ray.tables.vocabulary import View

READ_BY_HAND = "Position_Manual"
"""`view_source` of the views that a person read: the quality sheet's column."""

_LATERAL = re.compile(r"\bLAT(?!\w*\W*DECUB)|\bPERFIL|\bPROFIL")
_AP = re.compile(r"\bAP\b")
_PA = re.compile(r"\bPA\b")
_BEDSIDE = re.compile(r"\bPORTA[BT]|\bSUPIN")
_TOKENS = {"PA": View.PA, "AP": View.AP, "LL": View.LATERAL, "LATERAL": View.LATERAL}


def view_of(name: str, series: str, orientation: str) -> tuple[View, str]:
    """The view of a radiograph and the evidence for it.

    Args:
        name: of the file.
        series: SeriesDescription (0008,103E) of the image itself, in any language and case; blank if unknown.
        orientation: first value of PatientOrientation (0020,0020): where rows run to; blank if unknown.

    Returns:
        The view, and `SeriesDescription`, `PatientOrientation`, `file name: acq`, `file name: vp` or `none`.
    """
    described = _described(series)
    at_bedside = described is View.AP or _BEDSIDE.search(plain(series)) is not None
    if described is View.LATERAL or (described is not None and at_bedside):
        return described, "SeriesDescription"
    acquisition = re.search(r"_acq-(\d+)_", name, re.IGNORECASE)
    if acquisition is not None and int(acquisition[1]) > 1:
        return View.LATERAL, "file name: acq"
    if described is not None:
        return described, "SeriesDescription"
    if acquisition is not None:
        return View.FRONTAL, "file name: acq"
    towards = {"A": View.LATERAL, "P": View.LATERAL, "L": View.FRONTAL, "R": View.FRONTAL}.get(plain(orientation)[:1])
    if towards is not None:
        return towards, "PatientOrientation"
    token = re.search(r"_vp-([a-z]+)_", name, re.IGNORECASE)
    view = _TOKENS.get(token[1].upper()) if token else None
    return (View.UNKNOWN, "none") if view is None else (view, "file name: vp")


def read_by_hand(position: str, series: str) -> View | None:
    """The view that the quality sheet states, or None if it states none.

    Its `PA` means no more than frontal (supine images have it too), so the projection is SeriesDescription's.

    Args:
        position: `Position_Manual`: PA, L or blank.
        series: as in `view_of`.
    """
    stated = position.strip().upper()
    if stated == "L":
        return View.LATERAL
    if stated != "PA":
        return None
    described = _described(series)
    return described if described in (View.PA, View.AP) else View.FRONTAL


def _described(series: str) -> View | None:
    """The one view that a description names; None if it names none, or a lateral and a frontal."""
    words = plain(series)
    lateral, ap, pa = (bool(pattern.search(words)) for pattern in (_LATERAL, _AP, _PA))
    if lateral:
        return None if ap or pa else View.LATERAL
    if ap or pa:
        return View.FRONTAL if ap and pa else View.AP if ap else View.PA
    return View.FRONTAL if _BEDSIDE.search(words) else None
