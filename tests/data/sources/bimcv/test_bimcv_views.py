from collections import Counter
from pathlib import Path

import pytest

from comit_ray.data.sources.bimcv.bimcv_sidecars import read_by_hand, view_of
from comit_ray.tables.vocabulary import View
from tests.data import bimcv_tree


def named(*tokens: str) -> str:
    """A radiograph's name with these tokens, such as `acq-2` and `vp-pa`."""
    acquisition = "".join(f"{token}_" for token in tokens if token.startswith("acq"))
    position = "".join(f"{token}_" for token in tokens if token.startswith("vp"))
    return f"sub-S1_ses-E1_{acquisition}run-1_bp-chest_{position}dx.png"


def test_agreement_with_the_positions_read_by_hand(cxr: Path) -> None:
    """The real sheet, iteration 1. `Position_Manual` is compared with, never looked at; ViewPosition neither."""
    rows = bimcv_tree.read_rows(cxr / "bimcv_covid19" / "image_metadata_v1.tsv.gz")
    radiographs = [row for row in rows if row["Type"] != "ct.nii.gz"]
    assert len(radiographs) == 3_178
    table: Counter[tuple[str, str]] = Counter()
    for row in radiographs:
        view, source = view_of(row["File"], row["Series Description"], row["Patient Orientation"].split("'")[0])
        assert (view is View.UNKNOWN) == (source == "none")
        table["?" if view is View.UNKNOWN else "L" if view is View.LATERAL else "PA", row["Position_Manual"]] += 1
    assert table == {
        ("PA", "PA"): 2_291,
        ("PA", "L"): 10,
        ("L", "L"): 759,
        ("L", "PA"): 23,
        ("?", "PA"): 63,
        ("?", "L"): 32,
    }
    agreeing = table["PA", "PA"] + table["L", "L"]
    assert agreeing / len(radiographs) > 0.959  # an unknown view agrees with nothing
    assert (agreeing + table["?", "PA"]) / len(radiographs) > 0.979  # an unknown view is scored, as a frontal is


@pytest.mark.parametrize(
    ("series", "orientation", "tokens", "expected"),
    [
        ("W034 T\u00f3rax Lat.", "L", ["vp-pa"], (View.LATERAL, "SeriesDescription")),
        ("Lateral izq.", "", ["acq-1"], (View.LATERAL, "SeriesDescription")),
        ("torax perfil", "", [], (View.LATERAL, "SeriesDescription")),
        ("T\u00f2rax AP", "P", ["acq-2", "vp-ll"], (View.AP, "SeriesDescription")),
        ("sup.ap portable", "", [], (View.AP, "SeriesDescription")),
        ("PORT\u00c1TIL", "A", ["acq-2"], (View.FRONTAL, "SeriesDescription")),
        ("portatil PA", "", ["acq-2"], (View.PA, "SeriesDescription")),
        ("TORAX Supino", "", [], (View.FRONTAL, "SeriesDescription")),
        ("LAT DECUB AP", "", [], (View.AP, "SeriesDescription")),
        ("Erect PA", "", ["acq-2"], (View.LATERAL, "file name: acq")),
        ("Erect PA", "", ["acq-1"], (View.PA, "SeriesDescription")),
        ("W033 T\u00f3rax PA *", "A", ["vp-ll"], (View.PA, "SeriesDescription")),
        ("Chest", "P", ["acq-1", "vp-ll"], (View.FRONTAL, "file name: acq")),
        ("Chest", "P", ["acq-2", "vp-ll"], (View.LATERAL, "file name: acq")),
        ("Chest", "L", ["acq-12"], (View.LATERAL, "file name: acq")),
        ("T\u00f3rax", "P", ["vp-pa"], (View.LATERAL, "PatientOrientation")),
        ("T\u00f3rax", "A", [], (View.LATERAL, "PatientOrientation")),
        ("", "R", ["vp-ll"], (View.FRONTAL, "PatientOrientation")),
        ("", "txtLow", ["vp-ap"], (View.AP, "file name: vp")),
        ("", "", ["vp-pa"], (View.PA, "file name: vp")),
        ("", "", ["vp-ll"], (View.LATERAL, "file name: vp")),
        ("", "", ["vp-lateral"], (View.LATERAL, "file name: vp")),
        ("", "", ["vp-oblique"], (View.UNKNOWN, "none")),
        ("", "", [], (View.UNKNOWN, "none")),
        ("PA y lateral", "", ["acq-2"], (View.LATERAL, "file name: acq")),
        ("PA y lateral", "", ["acq-1"], (View.FRONTAL, "file name: acq")),
        ("AP/PA", "", [], (View.FRONTAL, "SeriesDescription")),
        # AP, PA and LAT inside other words say nothing
        ("TAP", "", [], (View.UNKNOWN, "none")),
        ("Campana", "", ["vp-ll"], (View.LATERAL, "file name: vp")),
        ("Escapula y", "", [], (View.UNKNOWN, "none")),
        ("Pared abdominal", "", [], (View.UNKNOWN, "none")),
        ("Bilateral", "", [], (View.UNKNOWN, "none")),
    ],
)
def test_the_order_of_evidence(series: str, orientation: str, tokens: list[str], expected: tuple[View, str]) -> None:
    assert view_of(named(*tokens), series, orientation) == expected


@pytest.mark.parametrize(
    ("position", "series", "expected"),
    [
        ("L", "T\u00f3rax PA", View.LATERAL),
        ("PA", "TORAX Supino AP", View.AP),
        ("PA", "Erect PA", View.PA),
        ("PA", "Chest", View.FRONTAL),
        ("PA", "W034 T\u00f3rax Lat.", View.FRONTAL),
        (" pa ", "", View.FRONTAL),
        ("", "T\u00f3rax PA", None),
        ("?", "T\u00f3rax PA", None),
    ],
)
def test_what_a_person_read(position: str, series: str, expected: View | None) -> None:
    assert read_by_hand(position, series) == expected
