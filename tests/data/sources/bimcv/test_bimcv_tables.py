from datetime import date
from pathlib import Path

import pytest

from comit_ray.data.sources.bimcv import bimcv_tables as tables
from comit_ray.data.sources.bimcv.bimcv_labels import CovidTest, Report
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError

ENGLISH = "label\tsubject\tdate\ttest\tresult\tparticipant\tUnnamed: 6\n"
SPANISH = "\tfecha\tprueba\tresultado\tparticipant\n"


def write(root: Path, name: str, text: str) -> SourceFiles:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return SourceFiles(str(root))


def test_participants(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        "wrapped/covid19_posi/participants.tsv",
        "participant\tmodality_dicom\tbody_parts\tage\tgender\n"
        "sub-S1\t\"['CR', 'DX']\"\t[]\t[80]\tM\n"
        "derivatives\t[]\t[]\t[]\tNone\n"
        'sub-S2\t[]\t[]\t"[80, 81]"\tNone\n'
        "sub-S3\t[]\t[]\t[]\tF\n"
        "sub-S4\t[]\t[]\t['058Y']\tF\n"
        "sub-S5\t[]\t[]\t[80, 80]\n",
    )
    assert tables.participants(files) == {
        "sub-S1": ("M", 80.0),
        "sub-S2": (None, None),
        "sub-S3": ("F", None),
        "sub-S4": ("F", 58.0),
        "sub-S5": (None, 80.0),
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "derivatives/EHR/sil_reg_covid_posi.tsv",
            f"{ENGLISH}1\t1\t20.03.2020\tPCR\tPOSITIVO\tsub-S1\t\n2\t2\t01.04.2020\tIGG\tNEGATIVO\tsub-S1\tNaN\n",
        ),
        (
            "derivatives/EHR/sil_reg_covid.tsv",
            f"{SPANISH}1\t20.03.2020\tPCR\tPOSITIVO\tsub-S1\n2\t1.4.2020\tIGG\tNEGATIVO\tsub-S1\n",
        ),
        (
            "covid19_posi/derivatives/EHR/SIL_REG_COVID_POSI_iter123.txt",
            "participant\tDATE\tTest\tresult\nsub-S1\t20.03.2020\tPCR\tPOSITIVO\nsub-S1\t01.04.2020\tIGG\tNEGATIVO\n",
        ),
    ],
)
def test_tests_of_every_iteration(tmp_path: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = [
        CovidTest(date(2020, 3, 20), "PCR", "POSITIVO"),
        CovidTest(date(2020, 4, 1), "IGG", "NEGATIVO"),
    ]
    assert tables.covid_tests(write(tmp_path, name, text)) == {"sub-S1": expected}
    assert capsys.readouterr().err == ""


def test_tests_of_two_collections_are_one(tmp_path: Path) -> None:
    write(tmp_path, "covid19_posi/sil_reg_covid_posi.tsv", f"{ENGLISH}1\t1\t20.03.2020\tPCR\tPOSITIVO\tsub-S1\t\n")
    files = write(tmp_path, "covid19_neg/sil_reg_covid_neg.tsv", f"{ENGLISH}1\t1\t2.03.2020\tPCR\tNEGATIVO\tsub-S1\t\n")
    found = tables.covid_tests(files)
    assert sorted(test.result for test in found["sub-S1"]) == ["NEGATIVO", "POSITIVO"]


def test_tests_without_use_are_counted_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write(
        tmp_path,
        "sil_reg_covid.tsv",
        SPANISH
        + "1\t31.02.2020\tPCR\tPOSITIVO\tsub-S1\n2\t2020-03-01\tPCR\tPOSITIVO\tsub-S1\n3\t\tPCR\tPOSITIVO\tsub-S1\n"
        + "4\t01.03.2020\tELISA\tPOSITIVO\tsub-S1\n5\t01.03.2020\tPCR\tDETECTADO\tsub-S1\n"
        + "6\t01.03.2020\tACT\tINDETERMINADO\tsub-S1\n",
    )
    assert [test.taken_on for test in tables.covid_tests(files)["sub-S1"]] == [None] * 3 + [date(2020, 3, 1)] * 3
    assert capsys.readouterr().err == (
        "sil_reg_covid.tsv: tests left out: 3 without a day dd.mm.YYYY, 1 of other kinds than ACT, IGG, IGM, PCR, "
        "1 with other results than INDETERMINADO, NEGATIVO, POSITIVO\n"
    )


@pytest.mark.parametrize(
    "name", ["labels_covid19_posi.tsv", "labels_covid_posi.tsv", "Labels_covid_123.tsv", "labels_SARS-cov-2_nega.tsv"]
)
def test_reports_of_every_iteration(tmp_path: Path, name: str) -> None:
    files = write(
        tmp_path,
        f"derivatives/labels/{name}",
        "\tPatientID\tReportID\tReport\tLabels\tLocalizations\n"
        '0\tsub-S1\tses-E1\t"torax\tsin\n""hallazgos"""\t"[\'normal\']"\t[]\n'
        "1\tsub-S1\tses-E1\ttorax\t\"[' pneumonia', 'normal']\"\t[]\n"
        "2\tsub-S2\tses-E2\ttorax\t\"['nodule', 'pneu\"\t[]\n"
        "3\tsub-S3\tses-E3\n",
    )
    assert tables.report_labels(files) == {
        ("sub-S1", "ses-E1"): Report(("normal", "pneumonia"), True),
        ("sub-S2", "ses-E2"): Report(("nodule",), False),
        ("sub-S3", "ses-E3"): Report((), True),
    }


def test_sessions() -> None:
    table = SourceFile("sub-S1/sub-S1_sessions.tsv", "a.tgz", 0)
    text = "session_id\tstudy_date\tmedical_evaluation\nses-E1\t20200320\t['T\u00f3rax']\nses-E2\t20200321.0\t\n"
    text += "ses-E3\tnan\t\nses-E4\t\t\nses-E5\nses-E6\t20201340\t\n"
    expected = [("ses-E1", date(2020, 3, 20)), ("ses-E2", date(2020, 3, 21))]
    for encoding in ("utf-8", "utf-8-sig", "latin-1"):
        assert list(tables.parse_sessions(text.encode(encoding), table)) == expected
    with pytest.raises(
        ManifestError, match=r"columns session_id, study_date in sub-S1/sub-S1_sessions\.tsv, got: a, b"
    ):
        list(tables.parse_sessions(b"a\tb\n", table))
    with pytest.raises(ManifestError, match=r"sub-S1_sessions\.tsv"):
        list(tables.parse_sessions(b"", table))
    with pytest.raises(ManifestError, match=r"sub-S1_sessions\.tsv, got: field larger"):
        list(tables.parse_sessions(text.encode() + b"ses-E7\t" + b"x" * 200_000, table))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20.03.2020", date(2020, 3, 20)),
        (" 1.3.2020 ", date(2020, 3, 1)),
        ("03.20.2020", None),
        ("20/03/2020", None),
        ("20.03.20", None),
        ("2020.03.20", None),
        ("nan", None),
        ("", None),
    ],
)
def test_days_of_tests(text: str, expected: date | None) -> None:
    assert tables.parse_test_day(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20200320", date(2020, 3, 20)),
        ("20200320.0", date(2020, 3, 20)),
        (" '20200320' ", date(2020, 3, 20)),
        ("20200230", None),
        ("2020-03-20", None),
        ("20200320.5", None),
        ("202003", None),
        ("nan", None),
        ("", None),
    ],
)
def test_days_of_studies(text: str, expected: date | None) -> None:
    assert tables.parse_study_day(text) == expected


@pytest.mark.parametrize(
    ("name", "read", "expected"),
    [
        ("participants.tsv", tables.participants, "participant, gender, age"),
        ("sil_reg_covid.tsv", tables.covid_tests, "participant, date, test, result"),
        ("labels_covid_posi.tsv", tables.report_labels, "PatientID, ReportID, Labels"),
    ],
)
def test_unknown_columns_are_named(tmp_path: Path, name: str, read, expected: str) -> None:
    assert read(SourceFiles(str(tmp_path))) == {}
    files = write(tmp_path, name, "a\tb\nDOE\t4711\n")
    with pytest.raises(ManifestError, match=f"expected columns {expected} in {name}, got: a, b$"):
        read(files)
