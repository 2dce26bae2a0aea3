"""Is it a frontal chest radiograph? The rules, on plain strings of a DICOM header.

Every rule is conservative: an absent or unknown value is no reason to exclude, and free text counts only through the
words below. Nothing of the free text itself is returned: it may hold names.

The order of evidence for the view was measured on the 3,178 radiographs of BIMCV-COVID19+ (iteration 1) whose
position was read by hand. ViewPosition alone is wrong for 228 of the 1,714 that have one, nearly always laterals that
claim PA or AP: of the 71 whose SeriesDescription says lateral all but one are. So a lateral in either wins.
"""

import re
import unicodedata
from collections.abc import Sequence

from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View

RADIOGRAPHS = frozenset({"CR", "DX", "DR", "RG"})
"""Modalities that are projection radiographs (PS3.3 C.7.3.1.1.1; DR is common, though not a defined term)."""

UNSTATED = frozenset({"", "OT", "SC", "XR", "XC"})
"""Modalities that say nothing of how the picture was made: accepted where the header names the chest."""

_CHEST = re.compile(r"CHEST|T\W?H?O?\W?RAX|PECHO|PULMO|LUNG|\bCXR\b")
_SPINE = re.compile(r"SPINE|COLUMNA|VERTEBR")
_OTHER_PARTS = re.compile(
    r"EXTREMIT\w*|\b(HANDS?|MANOS?|FOOT|FEET|PIES?|KNEES?|RODILLAS?|ANKLES?|TOBILLOS?|ELBOWS?|CODOS?|WRISTS?|MUNECAS?|FINGERS?"
    r"|THUMBS?|TOES?|HIPS?|CADERAS?|PELVIS|FEMUR|TIBIA|FIBULA|PERONE|HUMERUS|HUMERO|FOREARM|ANTEBRAZO|CALCANEUS"
    r"|CALCANEO|SHOULDERS?|HOMBROS?|CLAVICLES?|CLAVICULAS?|SCAPULAS?|ESCAPULAS?|PATELLA|LEGS?|ARMS?|ABDOMEN|KUB"
    r"|SKULL|CRANEO|CRANIUM|HEAD|FACIAL|SINUS(ES)?|ORBITS?|NASAL|MANDIBLE|JAW|TEETH|DENTAL|NECK|CUELLO|BREAST|MAMA"
    r"|[CTLS]\W?SPINE|SACRUM|COCCYX|COXIS)\b"
)
_UNRELIABLE_PARTS = frozenset({"SKULL"})
"""Values of BodyPartExamined that chests carry by a console's default: all 22 SKULL of BIMCV-COVID19+ are chests."""

_LATERAL = re.compile(r"\bLAT(?!\w*\W*DECUB)|\bPERFIL|\bPROFIL")
_AP = re.compile(r"\bA\W?P\b|\bANTERO\W?POST")
_PA = re.compile(r"\bP\W?A\b|\bPOSTERO\W?ANT")
_FRONTAL = re.compile(r"\bFRONT|\bPORTAB|\bPORTAT|\bSUPIN")
_OBLIQUE = re.compile(r"\bOBLI|\bLAT\w*\W*DECUB")
_POSITIONS = {
    "PA": View.PA,
    "AP": View.AP,
    "POSTEROANTERIOR": View.PA,
    "ANTEROPOSTERIOR": View.AP,
    "LL": View.LATERAL,
    "RL": View.LATERAL,
}
_NOT_FRONTAL_POSITIONS = frozenset({"LLD", "RLD", "LLO", "RLO", "LPO", "RPO", "LAO", "RAO"})


def plain(text: str) -> str:
    """Upper case, without accents, underscores as blanks: what the words are compared with."""
    decomposed = unicodedata.normalize("NFKD", text.upper())
    return "".join(" " if c == "_" else c for c in decomposed if not unicodedata.combining(c)).strip()


def names_chest(*texts: str) -> bool:
    """Whether one of the texts names the chest (and not the thoracic spine)."""
    return any(_CHEST.search(plain(text)) and not _SPINE.search(plain(text)) for text in texts)


def wrong_modality(modality: str, body_part: str, descriptions: Sequence[str]) -> DecodeError | None:
    """The exclusion of an image that another device made, or that nothing says is a chest radiograph."""
    stated = plain(modality)
    if stated in RADIOGRAPHS:
        return None
    if stated in UNSTATED:
        if names_chest(body_part, *descriptions):
            return None
        return DecodeError(
            Reason.WRONG_MODALITY,
            f"expected a CR or DX radiograph, got modality {stated or 'blank'} and a header that names no chest",
        )
    known = stated if re.fullmatch(r"[A-Z]{2,8}", stated) else "unknown"
    return DecodeError(Reason.WRONG_MODALITY, f"expected a CR or DX radiograph, got modality {known}")


def not_a_chest(body_part: str, series: Sequence[str], study: str) -> DecodeError | None:
    """The exclusion of another body part.

    BodyPartExamined is often wrong, so a series-level text that names the chest outweighs it. StudyDescription may
    cover several images, so it is asked only where these say nothing.
    """
    own = list(series) if plain(body_part) in _UNRELIABLE_PARTS else [body_part, *series]
    for texts in (own, [study]):
        if names_chest(*texts):
            return None
        for text in texts:
            found = _OTHER_PARTS.search(plain(text)) or _SPINE.search(plain(text))
            if found:
                return DecodeError(Reason.NOT_A_CHEST, f"expected a chest, the header names {found[0].lower()}")
    return None


def view_of(position: str, series: str, view_code: str, orientation: Sequence[str]) -> tuple[View, str]:
    """The view and the tag that says so.

    Args:
        position: ViewPosition (0018,5101).
        series: SeriesDescription (0008,103E).
        view_code: meaning of the first ViewCodeSequence (0054,0220) item.
        orientation: PatientOrientation (0020,0020): where rows and columns point; L or R rows are frontal.
    """
    by_position, by_series = _position(position), _described(series)
    if by_position is View.LATERAL:
        return View.LATERAL, "ViewPosition"
    if by_series is View.LATERAL:
        return View.LATERAL, "SeriesDescription"
    towards = plain(orientation[0])[:1] if orientation else ""
    by_orientation = {"L": View.FRONTAL, "R": View.FRONTAL, "A": View.LATERAL, "P": View.LATERAL}.get(towards)
    for view, source in (
        (by_position, "ViewPosition"),
        (by_series, "SeriesDescription"),
        (_described(view_code), "ViewCodeSequence"),
        (by_orientation, "PatientOrientation"),
    ):
        if view is not None:
            return view, source
    return View.UNKNOWN, "none"


def not_frontal(view: View, source: str, position: str, series: str, view_code: str) -> DecodeError | None:
    """The exclusion of lateral, oblique and decubitus views."""
    if view is View.LATERAL:
        return DecodeError(Reason.LATERAL, f"expected a frontal view, {source} says lateral")
    stated = plain(position)
    if stated in _NOT_FRONTAL_POSITIONS:
        return DecodeError(Reason.NOT_FRONTAL, f"expected a frontal view, ViewPosition says {stated}")
    for text, tag in ((position, "ViewPosition"), (series, "SeriesDescription"), (view_code, "ViewCodeSequence")):
        if _OBLIQUE.search(plain(text)):
            return DecodeError(Reason.NOT_FRONTAL, f"expected a frontal view, {tag} says oblique or decubitus")
    return None


def _position(text: str) -> View | None:
    stated = re.sub(r"\W", "", plain(text))
    if stated.startswith("LAT"):
        return View.LATERAL
    return _POSITIONS.get(stated)


def _described(text: str) -> View | None:
    """The one view a description names; None if it names none, or several that contradict each other."""
    words = plain(text)
    lateral, ap, pa = (bool(pattern.search(words)) for pattern in (_LATERAL, _AP, _PA))
    if lateral:
        return None if ap or pa else View.LATERAL
    if ap or pa:
        return View.FRONTAL if ap and pa else View.AP if ap else View.PA
    return View.FRONTAL if _FRONTAL.search(words) else None
