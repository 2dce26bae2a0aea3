from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.hannover import labels, rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import View

HEADER = (
    "patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,icu_release_offset,death_offset,"
    "modality,projection,crp_offset,crp_val\n"
)


def read(root: Path) -> list[ManifestRow]:
    return list(rows(SourceFiles(str(root)), "hannover", SourceOptions()))


def test_rows_as_the_repository_has_them(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(
        HEADER + "09ec853d,2168a917,m,,,,-21,-21.0,-11.0,,DX,pa,0.0,44.0\n"
        "09ec853d,a4318ac9,m,,,,10,10.0,20.0,,CR,ap,10.0,46.0\n"
        "88b33741,2c35005f,f,,,,23,,,,DX,pa,,\n"
        "77a9d3bc,527321ee,w,64,,,,,,14.0,CR,lateral,0.0,-inf\n"
        "77a9d3bc,527321ef,w,64,,,0,,,14.0,CT,,0.0,-inf\n"
    )
    (tmp_path / "png").mkdir()
    (tmp_path / "png" / "2168a917.png").touch()
    (tmp_path / "png" / "ffffffff.png").touch()
    day_21, day_10_before, day_23_before, lateral, ct, unlisted = read(tmp_path)
    assert (day_21.path, day_21.patient_id) == ("png/2168a917.png", "hannover/09ec853d")
    assert (day_21.illness_day, day_21.view, day_21.view_source, day_21.sex) == (21, View.PA, "projection", "M")
    assert (day_21.unhealthy, day_21.covid, day_21.other, day_21.excluded) == (1, 1, 0, None)
    assert (day_10_before.illness_day, day_10_before.view, day_10_before.covid) == (-10, View.AP, None)
    assert (day_23_before.unhealthy, day_23_before.covid, day_23_before.other) == (None, 0, None)
    assert (lateral.sex, lateral.age, lateral.illness_day) == ("F", 64.0, None)
    assert (lateral.view, lateral.excluded) == (View.LATERAL, Reason.LATERAL)
    assert ct.excluded is Reason.WRONG_MODALITY
    assert unlisted == ManifestRow(path="png/ffffffff.png", listed=False)


@pytest.mark.parametrize(
    ("illness_day", "expected"),
    [
        (0, (1, 1, 0)),
        (61, (1, 1, 0)),
        (-6, (1, 1, 0)),
        (-7, (None, None, None)),
        (-14, (None, None, None)),
        (-15, (None, 0, None)),
        (None, (None, None, None)),
    ],
)
def test_labels_follow_the_owners_rule(illness_day: int | None, expected: tuple[int | None, ...]) -> None:
    assert labels(illness_day) == expected


def test_a_wrapped_copy(tmp_path: Path) -> None:
    folder = tmp_path / "covid-19-image-repository-master"
    (folder / "png").mkdir(parents=True)
    (folder / "png" / "2168a917.png").touch()
    (folder / "data.csv").write_text(HEADER + "09ec853d,2168a917,m,,,,-21,,,,DX,pa,,\n")
    (row,) = read(tmp_path)
    assert row.path == f"{folder.name}/png/2168a917.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_id,image_id\n", r"columns image_id, .*projection in data\.csv, got: patient_id, image_id"),
        (HEADER + "09ec853d,,m,,,,-21,,,,DX,pa,,\n", r"expected image_id in every row of data\.csv, row 1"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read(tmp_path)
