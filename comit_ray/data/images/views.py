"""Decides from the DICOM header whether an image is a frontal chest radiograph.

Every rule is conservative: an absent or unknown value is no reason to exclude, and free text counts only through the
words below. The free text itself is never returned, since it may hold names.

The order of evidence for the view was measured on the 3,178 radiographs of BIMCV-COVID19+ (iteration 1) whose
position was read by hand. ViewPosition alone is wrong for 228 of the 1,714 that have one, nearly always laterals that
claim PA or AP. Of the 71 whose SeriesDescription says lateral, all but one are laterals. So a lateral in either wins.
"""

import re
import unicodedata
from collections.abc import Sequence

from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View

RADIOGRAPHS = frozenset({"CR", "DX", "DR", "RG"})
"""Modalities that are projection radiographs (PS3.3 C.7.3.1.1.1; DR is common, though not a defined term)."""

UNSTATED = frozenset({"", "OT", "SC", "XR", "XC"})
"""Modalities that do not say how the picture was made: accepted if the header names the chest, and ..."""
_OTHER = frozenset({"OT", "SC", "XC"})
"""... of these, those that mean "something else", only in a file of a radiograph's SOP class."""
_RADIOGRAPH_CLASS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.1(\.1(\.1)?)?")
_CAPTURE_CLASS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.7(\.[1-4])?")
_PROCESSING_CLASS = "1.2.840.10008.5.1.4.1.1.1.1.1"
"""SOP classes (PS3.4 B.5): CR and DX images, secondary captures, DX for processing."""

_NO_PICTURE = re.compile(
    r"\b(DOSE|DOSIS|DOSIMETR\w*)\W*(REPORT|INFO|SUMMARY|SHEET|RECORD|PAGE|BERICHT|PROTOKOLL|INFORME|RESUMEN)"
    r"|\b(REPORT|RAPPORT|INFORME|RESUMEN|RIEPILOGO|REFERTO|BERICHT|RELATORIO)\W+(DE |DI |OF |DES? |DA )?(DOSE|DOSIS)"
    r"|\bDOSISBERICHT|\bSCREEN\W?(SAVE|SHOT|CAPTURE)|\bSECONDARY CAPTURE|\bCSA REPORT|\bPATIENT PROTOCOL"
    r"|\bEXPOSURE REPORT"
)
_CHEST = re.compile(
    r"CHEST|T\W?H?O?\W?RAX|TORAKS|TORACE|PECHO|PULMO|LUNG|POLMON|POUMON|POITRINE|BRUSTKORB|BORSTKAS|KEUHKO"
    r"|KLATKA|HRUDN|\bGOGUS|\bAKCIGER|ГРУД|ЛЕГК|胸|肺|흉부|\bCXR\b"
)
_SPINE = re.compile(
    r"SPINE|COLUMNA|COLUNA|COLONNA|VERTEBR|WIRBEL|RACHIS|\b[BHL]?WS\b|WERVEL|RYGGRAD|KREGOSLUP|OMURGA|ПОЗВОН|脊|椎"
)
_OTHER_PARTS = re.compile(
    r"EXTREMIT\w*"
    # English, and the defined terms of PS3.16 annex L
    r"|\b(HANDS?|FOOT|FEET|KNEES?|ANKLES?|ELBOWS?|WRISTS?|FINGERS?|THUMBS?|TOES?|HIPS?|PELVIS|FEMURS?|TIBIA|FIBULA"
    r"|HUMERUS|FOREARMS?|CALCANEUS|SHOULDERS?|SHLDR|CLAVICLES?|SCAPULAS?|PATELLA|[LR]?LEGS?|ARMS?|ABDOMEN|ABDO?|KUB|SKULL|CRANIUM|HEAD"
    r"|FACIAL|SINUS(ES)?|ORBITS?|NASAL|MANDIBLE|MAXILLA|ZYGOMA|TMJ|JAW|TEETH|DENTAL|NECK|BREAST|[CTLS]\W?SPINE|SACRUM"
    r"|COCCYX|RADIUS|ULNA|RADIUSULNA|TIBIAFIBULA|HEEL|WHOLE\W?BODY"
    # Spanish and Portuguese
    r"|MANOS?|PIES?|RODILLAS?|TOBILLOS?|CODOS?|MUNECAS?|DEDOS?|PULGAR|CADERAS?|PERONE|HUMERO|ANTEBRAZO|CALCANEO"
    r"|HOMBROS?|CLAVICULAS?|ESCAPULAS?|CRANEO|CUELLO|MAMA|COXIS|MUSLO|PIERNA|BRAZO|ROTULA|MANDIBULA|SENOS PARANASALES"
    r"|JOELHOS?|TORNOZELOS?|COTOVELOS?|PUNHOS?|QUADRIL|BACIA|OMBROS?|CRANIO|PESCOCO|PERNA|PELVE|MAOS?|COXA"
    # German
    r"|BECKEN\w*|KNIE\w*|HAND(GELENK)?E?|FUSS\w*|FUESSE|SPRUNGGELENK|ELLENBOGEN|ELLBOGEN|FINGER|DAUMEN|ZEHEN?|HUFTE?N?"
    r"|HUEFTE?|OBERSCHENKEL|UNTERSCHENKEL|OBERARM|UNTERARM|SCHULTER\w*|SCHLUSSELBEIN|SCHULTERBLATT|SCHADEL|SCHAEDEL"
    r"|KOPF|HALS|BAUCH|KIEFER|UNTERKIEFER|NASENBEIN|NASENNEBENHOHLEN|FERSE|MITTELFUSS|VORFUSS|BEIN|ARM"
    # French
    r"|BASSIN|GENOUX?|MAINS|PIEDS?|CHEVILLES?|COUDES?|POIGNETS?|DOIGTS?|POUCE|ORTEILS?|HANCHES?|CUISSE|JAMBES?"
    r"|EPAULES?|CLAVICULES?|OMOPLATE|CRANE|TETE|AVANT\W?BRAS|ROTULE|MACHOIRE|SINUS DE LA FACE"
    # Italian
    r"|BACINO|GINOCCHI[OA]?|MANO|MANI|PIEDE|PIEDI|CAVIGLI[AE]|GOMITO|POLSO|DITA|DITO|POLLICE|ANCA|COSCIA|GAMBA"
    r"|SPALL[AE]|CLAVICOLA|SCAPOLA|AVAMBRACCIO|BRACCIO|ADDOME|COLLO|TESTA|MANDIBOLA|OMERO|FEMORE|CALCAGNO"
    # Dutch, Danish, Norwegian, Swedish
    r"|BEKKEN|VOET(EN)?|ENKELS?|ELLEBOOG|POLS|VINGERS?|DUIM|TENEN|HEUP(EN)?|BOVENBEEN|ONDERBEEN|BOVENARM|ONDERARM|SCHOUDERS?"
    r"|SLEUTELBEEN|SCHEDEL|BUIK|NEK|HOFD|KNAE?|KNA|HAND|FOD|FOT|HOFTE?|HOFT|ANKEL|ALBUE|ARMBAGE|HANDLED|HANDLEDD|SKULDER"
    r"|SKULDRA|BACKEN|BAEKKEN|BUK|KRANIE|SKALLE|UNDERBEN|UNDERARM|OVERARM"
    # Polish, Czech, Turkish
    r"|MIEDNICA|KOLANO|REKA|DLON|STOPA|LOKIEC|NADGARSTEK|BIODRO|CZASZKA|BRZUCH|PANEV|KOLENO|RUKA|NOHA|RAMENO|LOKET"
    r"|LEBKA|BRICHO|KYCEL|AYAK|DIRSEK|OMUZ|KALCA|PELVIS|KARIN|KAFA|AYAK BILEGI|EL BILEGI)\b"
    r"|КОЛЕН|КИСТ|СТОП[АЫ]|ТАЗ\b|ЧЕРЕП|ПЛЕЧ|ЖИВОТ|БРЮШН|膝|手|足|骨盆|頭|头|腹|肩"  # noqa: RUF001 Cyrillic letters
)
_PART_ONLY = re.compile(r"(MAIN|BRAS|COU|DOS|COL|FACE|NEZ|BACK|RUG|RUCKEN|EL|DIZ|BARK|AXEL|ANCHE)( [DGLR])?")
"""Words that are body parts as the whole of BodyPartExamined, but not in a description ("main series")."""
_UNRELIABLE_PARTS = frozenset({"SKULL"})
"""Values of BodyPartExamined that consoles set by default: all 22 SKULL of BIMCV-COVID19+ are chests."""

_LYING = r"(?!\w*\W*DECUB)"
_LATERAL = re.compile(
    rf"\b([LRDS]{{1,2}}|RT|LT|XT?|XTABLE|CROSSTABLE)?LAT(?!IN){_LYING}|\bPERFIL|\bPROFIL|\bSEITLICH"
    r"|\bSEITE|\bBOCZN|\bBOCN"
    r"|\bSIDE(BILLEDE|BILD|PROJE|\W?VIEW)|\bSIVUKUVA|\bZIJDELINGS|\bDWARS\b|\bYAN GRAFI|\bSWIMMER"
    r"|БОКОВ|側面|侧位|側位|측면"
)
_LATERAL_CODES = frozenset({"L", "R", "LL", "RL", "ML", "LM", "LATL", "LATR", "LLAT", "RLAT", "SWIMMERS"})
"""Values of ViewPosition as a whole that mean a lateral, including the letter of a side alone."""
_LATERAL_WORD = re.compile(r"\b(LL|RL|LLAT|RLAT|LATL|LATR)\b")
"""Those of these codes that also mean a lateral beside other words (`LL ERECT`), unless an AP or PA stands there."""
_AP = re.compile(r"\bA\W?P\b|\bANTERO\W?POST")
_PA = re.compile(r"\bP\W?A\b|\bPOSTERO\W?ANT")
_FRONTAL = re.compile(r"\bFRONT|\bPORTAB|\bPORTAT|\bSUPIN")
_ON_THE_BACK = re.compile(r"SUPIN|DORSAL|PRON[OE]|VENTRAL|RUCKEN")
_DECUBITUS = re.compile(
    r"\b[LR]{0,2}DECUB|\bDEC\W?LAT|LAT\w*\W*DECUB|SEITENLAGE|\b[LR]LD\b|\bDL[DEI]\b|\bLATERAL RECUMB|ZIJLIGGING"
    r"|側臥|侧卧|テクヒ"
)
_OBLIQUE = re.compile(
    r"\bOBL\b|\bOBLI|\b[LR][AP]O(?![A-Z])|\b[LRM]LO\b|\bO[AP][DGI]\b|\bSCHRAG|\bSKRA\b|\bSKOS|\bSCHUIN|КОС[АО]"  # noqa: RUF001 as above
)
_CROSS_TABLE = re.compile(r"\bX\W?TABLE|\bCROSS\W?TABLE|\bXTL\b|\bHBL\b|\bHORIZONTAL BEAM|\bSHOOT\W?THROUGH")


def plain(text: str) -> str:
    """Returns the text in upper case, without accents, with blanks for underscores, to compare it with the words."""
    decomposed = unicodedata.normalize("NFKD", text.upper())
    return "".join(" " if c == "_" else c for c in decomposed if not unicodedata.combining(c)).strip()


def names_chest(*texts: str) -> bool:
    """Returns whether one of the texts names the chest (and not the thoracic spine)."""
    return any(_CHEST.search(plain(text)) and not _SPINE.search(plain(text)) for text in texts)


def wrong_modality(
    modality: str, body_part: str, descriptions: Sequence[str], sop_class: str = ""
) -> DecodeError | None:
    """Returns the exclusion of an image that another device made, or that nothing identifies as a chest radiograph.

    Args:
        modality: Modality (0008,0060).
        body_part: BodyPartExamined (0018,0015).
        descriptions: descriptions of series, protocol, anatomy and study.
        sop_class: SOPClassUID (0008,0016); an empty one says nothing.
    """
    stated = plain(modality)
    if stated in RADIOGRAPHS:
        return None
    if stated not in UNSTATED:
        known = stated if re.fullmatch(r"[A-Z]{2,8}", stated) else "unknown"
        return DecodeError(Reason.WRONG_MODALITY, f"expected a CR or DX radiograph, got modality {known}")
    came = f"expected a CR or DX radiograph, got modality {stated or 'blank'}"
    if not names_chest(body_part, *descriptions):
        return DecodeError(Reason.WRONG_MODALITY, f"{came} and a header that names no chest")
    if _RADIOGRAPH_CLASS.fullmatch(sop_class):
        return None
    if stated in _OTHER or _CAPTURE_CLASS.fullmatch(sop_class):
        return DecodeError(Reason.WRONG_MODALITY, f"{came} and an SOPClassUID that is no radiograph's")
    return None


def no_picture(descriptions: Sequence[str]) -> DecodeError | None:
    """Returns the exclusion of a report or a screen that was stored as an image, by ImageType and descriptions."""
    for text in descriptions:
        found = _NO_PICTURE.search(plain(text))
        if found:
            return DecodeError(Reason.WRONG_MODALITY, f"expected a radiograph, the header says {found[0].lower()}")
    return None


def for_processing(intent: str, sop_class: str) -> DecodeError | None:
    """Returns the exclusion of raw values not meant for viewing (PS3.3 C.8.11.1), whose grey levels are undefined."""
    if plain(intent) == "FOR PROCESSING" or sop_class == _PROCESSING_CLASS:
        return DecodeError(
            Reason.FOR_PROCESSING, "expected an image for presentation, PresentationIntentType says FOR PROCESSING"
        )
    return None


def not_a_chest(body_part: str, series: Sequence[str], study: str) -> DecodeError | None:
    """Returns the exclusion of another body part.

    BodyPartExamined is often wrong, so a series-level text that names the chest outweighs it. StudyDescription may
    cover several images, so it is used only if these say nothing.
    """
    own = list(series) if plain(body_part) in _UNRELIABLE_PARTS else [body_part, *series]
    for texts in (own, [study]):
        if names_chest(*texts):
            return None
        for text in texts:
            words = plain(text)
            found = _OTHER_PARTS.search(words) or _SPINE.search(words)
            if text is body_part and not found:
                found = _PART_ONLY.fullmatch(words)
            if found:
                return DecodeError(Reason.NOT_A_CHEST, f"expected a chest, the header names {found[0].lower()}")
    return None


def view_of(position: str, series: str, view_code: str, orientation: Sequence[str]) -> tuple[View, str]:
    """Returns the view and the tag that states it.

    Args:
        position: ViewPosition (0018,5101).
        series: SeriesDescription (0008,103E).
        view_code: meaning of the first ViewCodeSequence (0054,0220) item.
        orientation: PatientOrientation (0020,0020), the directions of rows and columns; L or R rows are frontal.
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
    """Returns the exclusion of lateral, oblique and decubitus views."""
    if view is View.LATERAL:
        return DecodeError(Reason.LATERAL, f"expected a frontal view, {source} says {_said(position, series, source)}")
    for text, tag in ((position, "ViewPosition"), (series, "SeriesDescription"), (view_code, "ViewCodeSequence")):
        words = plain(text)
        on_the_side = None if _ON_THE_BACK.search(words) else _DECUBITUS.search(words)
        found = on_the_side or _OBLIQUE.search(words) or _CROSS_TABLE.search(words)
        if found:
            return DecodeError(Reason.NOT_FRONTAL, f"expected a frontal view, {tag} says {found[0]}")
    return None


def _said(position: str, series: str, source: str) -> str:
    """Returns the word of a tag that says lateral; always a word of the vocabulary, never the text around it."""
    words = plain({"ViewPosition": position, "SeriesDescription": series}.get(source, ""))
    found = _LATERAL.search(words) or (_LATERAL_WORD.search(words) if source == "ViewPosition" else None)
    return found[0] if found else words if words in _LATERAL_CODES else "lateral"


def _position(text: str) -> View | None:
    """Returns the view of a ViewPosition; it describes one image, so any lateral in it makes the image a lateral."""
    words = plain(text)
    code = re.sub(r"[\W_]", "", words)
    if _DECUBITUS.search(words) and not _ON_THE_BACK.search(words):
        return None
    if code in _LATERAL_CODES or _LATERAL.search(words):
        return View.LATERAL
    described = _described(text)
    return View.LATERAL if described is None and _LATERAL_WORD.search(words) else described


def _described(text: str) -> View | None:
    """Returns the one view that a description names; None if it names none, or several that contradict each other."""
    words = plain(text)
    lateral, ap, pa = (bool(pattern.search(words)) for pattern in (_LATERAL, _AP, _PA))
    if lateral:
        return None if ap or pa else View.LATERAL
    if ap or pa:
        return View.FRONTAL if ap and pa else View.AP if ap else View.PA
    return View.FRONTAL if _FRONTAL.search(words) else None
