import gzip
import re
from pathlib import Path

import pandas as pd
import pytest

from comit_ray.data.images.views import for_processing, no_picture, not_a_chest, not_frontal, view_of, wrong_modality
from comit_ray.errors import Reason
from comit_ray.tables.vocabulary import View


@pytest.mark.parametrize(
    ("position", "series", "code", "orientation", "expected"),
    [
        ("PA", "", "", [], (View.PA, "ViewPosition")),
        ("ap", "", "", [], (View.AP, "ViewPosition")),
        ("LL", "Chest PA", "", [], (View.LATERAL, "ViewPosition")),
        ("LATERAL", "", "", [], (View.LATERAL, "ViewPosition")),
        ("PA", "W034 Tórax Lat.", "", ["L", "F"], (View.LATERAL, "SeriesDescription")),
        ("", "Tòrax AP", "", [], (View.AP, "SeriesDescription")),
        ("", "TORAX_PA", "", [], (View.PA, "SeriesDescription")),
        ("", "PORTATIL", "", [], (View.FRONTAL, "SeriesDescription")),
        ("", "Chest PA and LAT", "", [], (View.UNKNOWN, "none")),
        ("", "bilateral apices", "", [], (View.UNKNOWN, "none")),
        ("", "", "postero-anterior", [], (View.PA, "ViewCodeSequence")),
        ("", "", "left lateral", [], (View.LATERAL, "ViewCodeSequence")),
        ("", "Chest", "", ["L", "F"], (View.FRONTAL, "PatientOrientation")),
        ("", "Chest", "", ["P", "F"], (View.LATERAL, "PatientOrientation")),
        ("", "", "", [], (View.UNKNOWN, "none")),
    ],
)
def test_view(position: str, series: str, code: str, orientation: list[str], expected: tuple[View, str]) -> None:
    assert view_of(position, series, code, orientation) == expected


@pytest.mark.parametrize("position", ["LLD", "RAO", "OBLIQUE"])
def test_oblique_and_decubitus_are_not_frontal(position: str) -> None:
    view, source = view_of(position, "", "", [])
    excluded = not_frontal(view, source, position, "", "")
    assert excluded is not None
    assert excluded.reason is Reason.NOT_FRONTAL


def test_lateral_decubitus_in_words_is_not_frontal_and_supine_decubitus_is() -> None:
    assert view_of("", "Lateral decubitus", "", [])[0] is View.UNKNOWN
    excluded = not_frontal(View.UNKNOWN, "none", "", "Lateral decubitus", "")
    assert excluded is not None
    assert excluded.reason is Reason.NOT_FRONTAL
    assert not_frontal(View.AP, "SeriesDescription", "", "AP decúbito supino", "") is None


@pytest.mark.parametrize(
    ("body_part", "series", "study", "excluded"),
    [
        ("CHEST", [], "", False),
        ("T?RAX", [], "", False),
        ("TÒRAX", [], "", False),
        ("", [], "", False),
        ("SKULL", ["PA"], "", False),
        ("SKULL", ["Skull AP"], "", True),
        ("EXTREMITY", [], "Non-ossifying fibroma of distal tibia", True),
        ("EXTREMITY", ["Chest PA"], "", False),
        ("ABDOMEN", ["AP"], "XR chest and abdomen", True),
        ("", ["AP"], "XR chest and abdomen", False),
        ("", ["Rodilla AP"], "", True),
        ("CSPINE", [], "", True),
        ("", ["Thoracic spine"], "", True),
        ("", ["AP"], "XR left hip", True),
        ("SOMETHING ELSE", [], "", False),
    ],
)
def test_body_part(body_part: str, series: list[str], study: str, excluded: bool) -> None:
    found = not_a_chest(body_part, series, study)
    assert (found is not None) == excluded
    if found is not None:
        assert found.reason is Reason.NOT_A_CHEST


@pytest.mark.parametrize(
    ("modality", "body_part", "accepted"),
    [
        ("CR", "", True),
        ("DX", "", True),
        ("DR", "", True),
        ("XR", "CHEST", True),
        ("OT", "CHEST", False),
        ("OT", "", False),
        ("", "", False),
    ]
    + [(other, "CHEST", False) for other in ("CT", "MR", "MG", "SR", "SEG", "<b>")],
)
def test_modality(modality: str, body_part: str, accepted: bool) -> None:
    found = wrong_modality(modality, body_part, [])
    assert (found is None) == accepted
    if found is not None:
        assert found.reason is Reason.WRONG_MODALITY
        assert "<" not in found.detail


CAPTURE, CR_IMAGE = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1"


@pytest.mark.parametrize(
    ("modality", "sop_class", "accepted"),
    [
        ("CR", CAPTURE, True),  # real archives of converted radiographs have it
        ("OT", CR_IMAGE, True),
        ("SC", CR_IMAGE + ".1", True),
        ("OT", CAPTURE, False),
        ("XR", CAPTURE + ".2", False),
        ("", CAPTURE, False),
        ("", "", True),
    ],
)
def test_something_else_is_a_radiograph_by_its_sop_class_alone(modality: str, sop_class: str, accepted: bool) -> None:
    assert (wrong_modality(modality, "CHEST", [], sop_class) is None) == accepted


@pytest.mark.parametrize(
    "text",
    [
        *("Dose Report", "DOSE_INFO", "Dosisbericht", "DERIVED SECONDARY SCREEN SAVE", "Rapport de dose", "Screenshot"),
        *("Riepilogo dose", "Dosis Resumen"),
    ],
)
def test_reports_and_screens_are_no_radiographs(text: str) -> None:
    found = no_picture(["Chest PA", text])
    assert found is not None
    assert found.reason is Reason.WRONG_MODALITY
    assert no_picture(["Chest PA low dose", "ORIGINAL SECONDARY", "DERIVED PRIMARY"]) is None


def test_raw_values_are_for_processing() -> None:
    for intent, sop_class in (("FOR PROCESSING", ""), ("", "1.2.840.10008.5.1.4.1.1.1.1.1")):
        found = for_processing(intent, sop_class)
        assert found is not None
        assert found.reason is Reason.FOR_PROCESSING
    assert for_processing("FOR PRESENTATION", "1.2.840.10008.5.1.4.1.1.1.1") is None


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (position, Reason.LATERAL)
        for position in ("L", "LL", "R LAT", "LLAT", "RLAT", "RT LATERAL", "LEFT LATERAL", "ML")
    ]
    + [
        (position, Reason.LATERAL)
        for position in ("XTABLE LATERAL", "CROSS-TABLE LATERAL", "SWIMMERS", "SWIMMERS VIEW")
    ]
    + [
        (position, Reason.LATERAL)
        for position in ("Perfil izquierdo", "PROFIL", "seitlich", "BOCZNE", "LATERALE", "側面")
    ]
    + [(position, Reason.LATERAL) for position in ("XTLAT", "LL ERECT", "CHEST RL", "DLAT", "Side view", "PA/LAT")]
    + [(position, Reason.NOT_FRONTAL) for position in ("LAO45", "SHOOT THROUGH", "HBL", "DLD", "側臥位", "デクビタス")]
    + [(position, Reason.NOT_FRONTAL) for position in ("PA LLD", "AP RLD", "LLD", "LDECUB", "RLAT DECUB", "DECUBITUS")]
    + [
        (position, Reason.NOT_FRONTAL)
        for position in ("Linksseitenlage", "LAO", "RPO", "OBL", "Schräg", "OAD", "XTABLE")
    ]
    + [(position, None) for position in ("PA", "AP", "AP SUPINE", "AP AXIAL", "AP/PA", "LORDOTIC", "PORTABLE", "")]
    + [(position, None) for position in ("AP DECUBITO SUPINO", "DECUBITUS DORSALIS", "SUPINE", "SOMETHING ELSE")],
)
def test_the_vocabulary_of_positions(position: str, expected: Reason | None) -> None:
    view, source = view_of(position, "", "", [])
    excluded = not_frontal(view, source, position, "", "")
    assert (excluded.reason if excluded else None) == expected
    assert excluded is None or excluded.detail.startswith("expected a frontal view, ViewPosition says ")


@pytest.mark.parametrize(
    ("position", "view"),
    [
        ("AP SUPINE", View.AP),
        ("AP AXIAL", View.AP),
        ("AP/PA", View.FRONTAL),
        ("PA ERECT", View.PA),
        ("PORTABLE", View.FRONTAL),
    ],
)
def test_positions_keep_what_they_say(position: str, view: View) -> None:
    assert view_of(position, "", "", []) == (view, "ViewPosition")


@pytest.mark.parametrize(
    "body_part",
    [
        *("BECKEN", "KNIE", "MAIN", "MAIN D", "Hüfte", "Schädel", "GENOU", "BASSIN", "CHEVILLE", "GINOCCHIO", "BACINO"),
        *("MANO", "JOELHO", "PERNA", "VOET", "BEKKEN", "KOLANO", "MIEDNICA", "HWS", "LWS", "Wirbelsäule", "КОЛЕНО"),
    ],
)
def test_body_parts_in_other_languages(body_part: str) -> None:
    found = not_a_chest(body_part, ["AP"], "")
    assert found is not None
    assert found.reason is Reason.NOT_A_CHEST
    assert not_a_chest(body_part, ["Thorax pa"], "") is None


@pytest.mark.parametrize(
    ("body_part", "series"),
    [
        ("TORAKS", ""),
        ("TORACE", ""),
        ("POUMONS", ""),
        ("BORSTKAS", ""),
        ("胸部", ""),
        ("", "main series"),
        ("", "de cou"),
    ],
)
def test_the_chest_in_other_languages_and_words_that_are_parts_only_alone(body_part: str, series: str) -> None:
    assert not_a_chest(body_part, [series], "") is None


def test_against_the_positions_read_by_hand(cxr: Path) -> None:
    """BIMCV-COVID19+: more laterals are caught than by ViewPosition first, and no chest is called another body part."""
    with gzip.open(cxr / "bimcv_covid19" / "image_metadata_v1.tsv.gz", "rt") as text:
        sheet = pd.read_csv(text, sep="\t", dtype=str, keep_default_na=False)
    radiographs = sheet[sheet["Type"].isin(["cr", "dx"])]
    assert len(radiographs) == 3178
    excluded_frontals = scored_laterals = 0
    for row in radiographs.to_dict("records"):
        view, _ = view_of(
            row["View Position"], row["Series Description"], "", re.findall(r"\w+", row["Patient Orientation"])
        )
        excluded_frontals += view is View.LATERAL and row["Position_Manual"] == "PA"
        scored_laterals += view is not View.LATERAL and row["Position_Manual"] == "L"
        if row["Series Description"] != "Escapula Y":
            assert not_a_chest(row["Body Part Examined"], [row["Series Description"]], "") is None, row["File"]
    assert excluded_frontals <= 88
    assert scored_laterals <= 182
