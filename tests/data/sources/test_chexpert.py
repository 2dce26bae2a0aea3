import gzip
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

import pytest

from comit_ray.config.source_config import ChexpertOptions, SourceOptions
from comit_ray.data.sources.chexpert import NO_FINDING, PATHOLOGIES, SUPPORT_DEVICES, labels, rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import Split, View

OPTIONS = SourceOptions()
LABELS = (NO_FINDING, *PATHOLOGIES, SUPPORT_DEVICES)
HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS)) + "\n"
TEST_HEADER = ",".join(("Path", *LABELS)) + "\n"
FRONTAL = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"


def line(path: str = FRONTAL, described: str | None = "Female,68,Frontal,AP", **values: str) -> str:
    """A row of a table; labels by their names with `_` for spaces."""
    cells = [values.get(name.replace(" ", "_"), "") for name in LABELS]
    return ",".join([path, *([] if described is None else [described]), *cells]) + "\n"


def write(root: Path, *lines: str, name: str = "train.csv", header: str = HEADER) -> str:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(header + "".join(lines))
    return str(root)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def read(root: Path | str, uncertain: Literal["ignore", "positive", "negative"] = "ignore") -> list[ManifestRow]:
    return list(rows(SourceFiles(str(root)), "chexpert", SourceOptions(chexpert=ChexpertOptions(uncertain=uncertain))))


@pytest.mark.parametrize(
    ("uncertain", "findings", "unhealthy"),
    [
        ("ignore", ("Edema",), 1),
        ("negative", ("Edema",), 1),
        ("positive", ("Edema", "Pneumonia", SUPPORT_DEVICES), 1),
    ],
)
def test_the_policy_says_which_columns_are_findings(
    tmp_path: Path,
    uncertain: Literal["ignore", "positive", "negative"],
    findings: tuple[str, ...],
    unhealthy: int,
) -> None:
    root = write(tmp_path, line(Pneumonia="-1.0", Edema="1.0", Fracture="0.0", Support_Devices="-1.0"))
    (row,) = read(root, uncertain)
    assert (row.findings, row.unhealthy) == (findings, unhealthy)


@pytest.mark.parametrize("uncertain", ["ignore", "negative"])
def test_what_is_denied_or_uncertain_does_not_make_a_healthy_chest(
    tmp_path: Path, uncertain: Literal["ignore", "negative"]
) -> None:
    (row,) = read(write(tmp_path, line(Pneumonia="-1.0", Edema="0.0")), uncertain)
    assert (row.findings, row.unhealthy, row.covid, row.other) == ((), None, None, None)


def test_an_uncertain_no_finding_is_never_healthy(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, line(No_Finding="-1.0")), "positive")
    assert (row.findings, row.unhealthy) == ((), None)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ((NO_FINDING,), (0, 0, 0)),
        ((NO_FINDING, SUPPORT_DEVICES), (0, 0, 0)),
        (("Fracture", SUPPORT_DEVICES), (1, 0, 1)),
        ((SUPPORT_DEVICES,), (None, None, None)),
        ((), (None, None, None)),
        ((NO_FINDING, "Edema"), (None, None, None)),
    ],
)
def test_labels(findings: tuple[str, ...], expected: tuple[int | None, ...]) -> None:
    assert labels(findings) == expected


def test_tables_of_all_splits_are_read(tmp_path: Path) -> None:
    write(tmp_path, line())
    valid = line("CheXpert-v1.0/valid/patient64541/study1/view2_lateral.jpg", "Male,73,Lateral,")
    (tmp_path / "valid.csv.gz").write_bytes(gzip.compress((HEADER + valid).encode()))
    test = line("test/patient64741/study1/view1_frontal.jpg", None, Edema="1.0")
    write(tmp_path, test, name="test.csv", header=TEST_HEADER)
    train, val, tested = read(tmp_path)
    assert [row.source_split for row in (train, val, tested)] == [Split.TRAIN, Split.VAL, Split.TEST]
    assert (val.path, val.excluded) == ("valid/patient64541/study1/view2_lateral.jpg", Reason.LATERAL)
    assert (tested.path, tested.patient_id) == ("test/patient64741/study1/view1_frontal.jpg", "chexpert/patient64741")
    assert (tested.view, tested.view_source, tested.unhealthy) == (View.FRONTAL, "file name", 1)


@pytest.mark.parametrize(
    "folder", ["train/", "CheXpert-v1.0-small/train/", "a/b/train/", "CheXpert-v1.0 batch 2 (train 1)/"]
)
def test_images_are_found_in_any_folder(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}patient00001/study1/view1_frontal.jpg")
    (row,) = read(write(tmp_path, line()))
    assert row.path == f"{folder}patient00001/study1/view1_frontal.jpg"
    assert row.listed


def test_an_image_at_hand_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{copy}/train/patient00001/study1/view1_frontal.jpg" for copy in ("large", "small")))
    with pytest.raises(ManifestError, match=r"once in .*, got large/train/.* and small/train/"):
        read(write(tmp_path, line()))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_copy_inside_an_archive(tmp_path: Path, kind: str) -> None:
    unpacked = tmp_path / "unpacked"
    image = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    write(unpacked, line(), line(FRONTAL.replace("00001", "00002")), name="CheXpert-v1.0-small/train.csv")
    touch(unpacked, image)
    root = tmp_path / "root"
    root.mkdir()
    members = ["CheXpert-v1.0-small/train.csv", image]
    if kind == "zip":
        with zipfile.ZipFile(root / "archive.zip", "w") as archive:
            for member in members:
                archive.write(unpacked / member, member)
    else:
        with tarfile.open(root / "archive.tar.gz", "w:gz") as packed:
            for member in members:
                packed.add(unpacked / member, member)
    here, missing = read(root)
    assert (here.path, here.member) == (f"archive.{kind}", image)
    assert (missing.path, missing.member) == ("train/patient00002/study1/view1_frontal.jpg", None)


def test_images_that_no_table_lists_keep_patient_view_and_split(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "test/patient64741/study1/view1_frontal.jpg",
        "test/patient64741/study1/view2_lateral.jpg",
        "odd/patient64742/study1/view1.jpg",
    )
    odd, frontal, lateral = read(write(tmp_path))
    assert frontal == ManifestRow(
        path="test/patient64741/study1/view1_frontal.jpg",
        listed=False,
        patient_id="chexpert/patient64741",
        study_id="chexpert/patient64741/study1",
        view=View.FRONTAL,
        view_source="file name",
        source_split=Split.TEST,
    )
    assert (lateral.view, lateral.excluded) == (View.LATERAL, Reason.LATERAL)
    assert (odd.view, odd.view_source, odd.excluded, odd.source_split) == (View.UNKNOWN, "none", None, None)


@pytest.mark.parametrize(
    ("described", "view", "source", "excluded"),
    [
        ("Unknown,0,Frontal,PA", View.PA, "AP/PA", None),
        ("Female,20,Frontal,", View.FRONTAL, "Frontal/Lateral", None),
        ("Female,20,Frontal,RL", View.UNKNOWN, "none", Reason.NOT_FRONTAL),
        ("Female,20,Lateral,LL", View.LATERAL, "Frontal/Lateral", Reason.LATERAL),
    ],
)
def test_views(tmp_path: Path, described: str, view: View, source: str, excluded: Reason | None) -> None:
    (row,) = read(write(tmp_path, line(described=described)))
    assert (row.view, row.view_source, row.excluded) == (view, source, excluded)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", r"expected columns Path, Sex, .*, Support Devices in train\.csv, got: a, b"),
        (TEST_HEADER, r"expected columns Path, Sex, Age, Frontal/Lateral, AP/PA, .* in train\.csv"),
        (HEADER + line(Edema="2.0"), r"1\.0, 0\.0, -1\.0 or blank for Edema of CheXpert-.*frontal\.jpg.*got '2\.0'"),
        (
            HEADER + line("patient1.jpg"),
            r"expected paths .*train/patientN/studyN/NAME in train\.csv, got 'patient1\.jpg'",
        ),
        (HEADER + line(described="Male,20,Frontal,XX"), r"got 'Frontal' and 'XX'"),
        (HEADER + line(described="Male,20,Oblique,AP"), r"got 'Oblique' and 'AP'"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read(tmp_path)


def test_no_table_and_two_tables_of_one_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected train\.csv, valid\.csv or test\.csv .* found none"):
        read(tmp_path)
    write(tmp_path, line())
    write(tmp_path, line(), name="CheXpert-v1.0-small/train.csv")
    with pytest.raises(ManifestError, match=r"found CheXpert-v1\.0-small/train\.csv, train\.csv"):
        read(tmp_path)
