from collections.abc import Sequence
from pathlib import Path

import pytest
from openpyxl import Workbook

from comit_ray.data.sources.bimcv.bimcv_tables import sheet_rows
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError

HEADER = ["Subject", "Session", "mod", "File", "Position_Manual", "Exclude", "Series Description", "Study Date"]


def write_workbook(path: Path, *rows: Sequence[object]) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(list(row))
    book.create_sheet("another")
    book.save(path)


def test_the_real_sheet(cxr: Path) -> None:
    found = sheet_rows(SourceFiles(str(cxr / "bimcv_covid19")))
    assert len(found) == 5_380  # of 5,525 rows
    assert sum(row.excluded for row in found.values()) == 12
    row = found["sub-S03427_ses-E06828_acq-2_run-1_bp-chest_vp-ll_dx.png"]
    assert (row.position, row.excluded, row.series, row.orientation) == ("L", False, "Chest", "P")
    assert (row.study_day, row.device, row.sex, row.age) == ("20200229", "GE Healthcare Thunder Platform", "M", "")


def test_a_workbook_with_its_header_on_row_2(tmp_path: Path) -> None:
    write_workbook(
        tmp_path / "COVID19_POSI_v1.0.xlsx",
        ["QUALITY CONTROL"],
        HEADER,
        ["sub-S1", "ses-E1", "mod-rx", "a.png", "PA", False, "T\u00f3rax PA", 20200320],
        ["sub-S1", "ses-E1", "mod-rx", "b.png", "L", True, None, 20200320.0],
        ["sub-S1", "ses-E1", "mod-rx", "c_ct.nii.gz", None, None, None, None],
    )
    found = sheet_rows(SourceFiles(str(tmp_path)))
    assert [(row.file, row.position, row.excluded) for row in found.values()] == [
        ("a.png", "PA", False),
        ("b.png", "L", True),
        ("c_ct.nii.gz", "", False),
    ]
    assert (found["a.png"].series, found["a.png"].study_day) == ("T\u00f3rax PA", "20200320")


def test_a_workbook_with_its_header_on_row_1(tmp_path: Path) -> None:
    row = ["sub-S1", "ses-E1", "mod-rx", "a.png", "PA", 0, "", ""]
    write_workbook(tmp_path / "covid19_neg.xlsx", HEADER, row)
    assert sheet_rows(SourceFiles(str(tmp_path)))["a.png"].position == "PA"


def test_sheets_that_say_the_same_are_one_and_contradictions_are_named(tmp_path: Path) -> None:
    write_workbook(tmp_path / "COVID19_POSI_v1.0.xlsx", ["File", "Position_Manual"], ["a.png", "PA"], ["b.png", "L"])
    table = tmp_path / "image_metadata_v1.tsv"
    table.write_text("File\tPosition_Manual\tExclude\na.png\tPA\tFalse\na.png\tPA\tFalse\nc.png\tL\tTrue\n")
    assert set(sheet_rows(SourceFiles(str(tmp_path)))) == {"a.png", "b.png", "c.png"}
    for line in ("a.png\tL\tFalse\n", "a.png\tPA\tTrue\n"):
        table.write_text(f"File\tPosition_Manual\tExclude\n{line}")
        with pytest.raises(
            ManifestError, match=r"one Position_Manual and Exclude of a\.png, image_metadata_v1\.tsv has"
        ):
            sheet_rows(SourceFiles(str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("File\tLabels\n", r"expected columns position_manual in image_metadata\.tsv, got: File, Labels"),
        ("a\n", r"expected columns file, position_manual in image_metadata\.tsv, got: a"),
        (
            "File\tPosition_Manual\tExclude\na\tPA\tTrue\nb\tPA\tperhaps\n",
            r"under Exclude in image_metadata\.tsv, row 2",
        ),
        ("", r"header line in .*image_metadata\.tsv"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "image_metadata.tsv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        sheet_rows(SourceFiles(str(tmp_path)))


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "COVID19_POSI_v1.0.xlsx").write_bytes(b"no workbook")
    with pytest.raises(ManifestError, match=r"COVID19_POSI_v1\.0\.xlsx"):
        sheet_rows(SourceFiles(str(tmp_path)))
