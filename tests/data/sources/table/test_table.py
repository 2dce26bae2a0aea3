import gzip
import zipfile
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from comit_ray.config.image_config import FrameConfig
from comit_ray.config.manifest_config import SplitConfig
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.masks.masks import read_mask
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.table.table import rows
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import Split, View
from tests.data.sources.table_trees import labels, options, read, write

LEAST = "tables: [{name: list.csv}]\nimage: {at: ['images/{file}']}\n"

OWN = """
tables: [{name: list.tsv, split: val}]
format: tsv
encoding: latin-1
image: {at: ['images/{file}']}
optional_columns: [ward]
patient: '{hospital}-{patient}'
study: '{study}'
site: 'Hospital {hospital}'
view: {column: position, values: {PA: PA, LL: lateral, '': unknown}}
excluded:
  - {column: ward, values: {icu: not_in_protocol, '': null}}
  - {column: modality, values: {DX: null, CT: wrong_modality}}
sex: {column: sex, values: {0: F, 1: M, '': null}}
age: {column: age}
acquired_on: {column: date, format: '%d.%m.%Y'}
illness_day: {column: day}
findings: {columns: [Edema, Mass], equals: 1}
labels:
  unhealthy: {one_if: {any_of: [Edema, Mass], equals: 1}, zero_if: {any_of: [Normal], equals: 1}}
  covid: 0
lung_mask: {files: ['masks/{file|stem}.png', 'masks/{file|stem}_mask.png']}
disease_mask: {boxes: {left: l, top: t, right: r, bottom: b, frame: {height: rows, width: columns}}}
"""
OWN_HEADER = "FILE hospital patient study Position modality sex age date day Edema Mass Normal l t r b rows columns"
OWN_LINES = [
    "a.png 1 7 s1 pa DX 1 058Y 29.02.2020 3.0 1 1 0 10 20 30 60 200 100",
    "b.png 1 7 _ LL DX 0 414 _ x 0 0 1 _ _ _ _ 200 100",
    "c.png é _ s3 _ CT _ _ _ _ 0 0 0 _ _ _ _ 200 100",
]


def own_table(*lines: str, header: str = OWN_HEADER) -> bytes:
    """Words as cells, `_` a blank one."""
    return "".join(line.replace(" ", "\t").replace("_", "") + "\n" for line in (header, *lines)).encode("latin-1")


def test_a_mapping_of_ones_own_with_everything(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "top/list.tsv.gz": gzip.compress(own_table(*OWN_LINES)),
        "top/images/a.png": "",
        "top/images/b.png": "",
        "top/masks/a_mask.png": "",
        "top/masks/d.png": "",
    }
    first, second, third, stray = read(tmp_path, files, OWN)
    mask = tmp_path / "tree" / "top" / "masks" / "a_mask.png"
    assert first == ManifestRow(
        path="top/images/a.png",
        site="Hospital 1",
        patient_id="mine/1-7",
        study_id="mine/s1",
        view=View.PA,
        view_source="position",
        sex="M",
        age=58.0,
        acquired_on=date(2020, 2, 29),
        illness_day=3,
        findings=("Edema", "Mass"),
        unhealthy=1,
        covid=0,
        lung_mask=str(mask),
        disease_mask='{"boxes":[[10.0,20.0,20.0,40.0]],"frame":[200,100]}',
        source_split=Split.VAL,
    )
    assert (second.view, second.excluded, second.sex, second.age) == (View.LATERAL, Reason.LATERAL, "F", None)
    assert (second.study_id, second.acquired_on, second.illness_day) == (None, None, None)
    assert (second.unhealthy, second.findings, second.lung_mask) == (0, (), None)
    assert (third.path, third.site, third.patient_id) == ("top/images/c.png", "Hospital é", None)
    assert (third.view, third.view_source, third.excluded) == (View.UNKNOWN, "none", Reason.WRONG_MODALITY)
    assert (third.unhealthy, third.disease_mask) == (None, None)
    assert stray == ManifestRow(path="top/masks/d.png", listed=False), "the mask that was taken is no image"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png 1 7 s AP DX 1 5 _ _ 0 0 0 _ _ _ _ 2 1", "column 'position': expected one of 'pa', 'll', '', got 'AP'"),
        ("a.png 1 7 s PA MR 1 5 _ _ 0 0 0 _ _ _ _ 2 1", "column 'modality': .*got 'MR'"),
        ("a.png 1 7 s PA DX 2 5 _ _ 0 0 0 _ _ _ _ 2 1", "column 'sex': expected one of '0', '1', '', got '2'"),
        ("a.png 1 7 s PA DX 1 5 2020-02-29 _ 0 0 0 _ _ _ _ 2 1", r"column 'date': expected a day as '%d.%m.%Y'$"),
        ("a.png 1 7 s PA DX 1 5 _ _ 1 0 1 _ _ _ _ 2 1", "one_if and zero_if both hold"),
        ("a.png 1 7 s PA DX 1 5 _ _ 0 0 0 5 5 4 9 2 1", "expected a box of positive size in l, t, r, b"),
        ("a.png 1 7 s PA DX 1 5 _ _ 0 0 0 _ _ _ _ _ 1", r"expected pixels in rows and columns, got \['', '1'\]"),
        ("a.png 1 7 s PA DX 1 5 _ _ 0 0 0 _ _ _ _ 2.5 1", "expected pixels in rows and columns"),
        ("b.png 1 7 s PA DX 1 5 _ _ 0 0 0 _ _ _ _ 2 1", "expected each image once, got images/b.png again; .*many"),
    ],
)
def test_cells_that_a_mapping_does_not_know_are_named(tmp_path: Path, line: str, message: str) -> None:
    files = {"list.tsv": own_table(OWN_LINES[1], line), "images/a.png": b"", "images/b.png": b""}
    with pytest.raises(ManifestError, match=rf"^list\.tsv, row 2: .*{message}"):
        read(tmp_path, files, OWN)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            OWN_HEADER.replace("sex", "gender").replace("Mass", "Tumour"),
            "expected columns Mass, sex in list.tsv, got: FILE",
        ),
        (OWN_HEADER + " SEX", "expected one column sex in list.tsv, got: FILE, hospital"),
    ],
)
def test_columns_that_are_absent_or_twice_are_named(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, {"list.tsv": own_table(header=header)}, OWN)


def test_rows_stream_where_an_image_has_one(tmp_path: Path) -> None:
    """The first row is given before the second one, which is broken, is looked at."""
    write(tmp_path, {"my.yaml": OWN, "tree/list.tsv": own_table(OWN_LINES[0], OWN_LINES[1].replace("LL", "XX"))})
    stream = rows(SourceFiles(str(tmp_path / "tree")), "mine", options(str(tmp_path / "my.yaml")))
    assert next(stream).path == "images/a.png"
    with pytest.raises(ManifestError, match="row 2"):
        next(stream)


def test_a_repeated_image_that_is_not_at_hand_is_found_by_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, {"my.yaml": LEAST, "tree/list.csv": "file\na.png\na.png\n"})
    with pytest.raises(ManifestError, match=r"mine/images/a\.png"):
        read_source(rows, SourceFiles(str(tmp_path / "tree")), "mine", options(str(tmp_path / "my.yaml")))


def test_an_optional_column_is_read_where_it_is(tmp_path: Path) -> None:
    files = {"list.tsv": own_table(OWN_LINES[0] + " ICU", header=OWN_HEADER + " Ward")}
    (row,) = read(tmp_path, files, OWN)
    assert row.excluded is Reason.NOT_IN_PROTOCOL


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected utf-8-sig text in .*list\.csv"):
        read(tmp_path, {"list.csv": "file\né.png\n".encode("latin-1")}, LEAST)


def test_labels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    mapping = LEAST + "labels: {unhealthy: 0, covid: {column: pcr, values: {1: 1, 0: 0}}}\n"
    assert labels(read(tmp_path, {"list.csv": "file,pcr\na.png,0\n"}, mapping)[0]) == (0, 0, None)
    with pytest.raises(ManifestError, match=r"list\.csv, row 2: the labels say unhealthy 0, and covid or other 1"):
        read(tmp_path, {"list.csv": "file,pcr\na.png,0\nb.png,1\n"}, mapping)


JOINED = (
    LEAST
    + """rows_per_image: many
patient: '{patient}'
sex: {column: sex}
findings: {column: finding, none: normal}
labels: {unhealthy: {column: finding, values: {normal: 0, unclear: null}, otherwise: 1}}
lung_mask: {files: ['{mask}']}
"""
)


def test_joined_rows_must_agree(tmp_path: Path) -> None:
    header, masks = "file,patient,sex,finding,mask\n", {"m.png": "", "n.png": ""}
    (row, *_) = read(tmp_path, {"list.csv": header + "a.png,1,F,mass,m.png\na.png,1,F,mass,m.png\n", **masks}, JOINED)
    assert (row.findings, row.unhealthy, row.lung_mask) == (("mass",), 1, str(tmp_path / "tree" / "m.png"))
    for line, differing in (
        ("a.png,2,F,mass,m.png", "patient_id"),
        ("a.png,1,M,mass,m.png", "sex"),
        ("a.png,1,F,normal,m.png", "unhealthy"),
        ("a.png,1,F,unclear,m.png", "unhealthy"),
        ("a.png,2,M,mass,n.png", "patient_id, sex, lung_mask"),
    ):
        text = header + f"a.png,1,F,mass,m.png\nb.png,1,F,mass,\n{line}\n"
        message = f"expected rows of one image that agree, got different {differing}$"
        with pytest.raises(ManifestError, match=rf"^list\.csv, row 3, and list\.csv, row 1: {message}"):
            read(tmp_path, {"list.csv": text, **masks}, JOINED)


@pytest.mark.parametrize(
    ("findings", "unhealthy", "kept"),
    [
        (("normal", "normal", "normal"), 0, ("normal",)),
        (("normal", "mass", "normal"), 1, ("mass",)),
        (("normal", "unclear"), None, ("unclear",)),
        (("unclear", "mass"), 1, ("unclear", "mass")),
    ],
)
def test_one_positive_is_enough_and_a_negative_needs_all(
    tmp_path: Path, findings: tuple[str, ...], unhealthy: int | None, kept: tuple[str, ...]
) -> None:
    lines = "".join(f"a.png,1,F,{finding},\n" for finding in findings)
    text = JOINED + "disagreement: any_positive\n"
    (row,) = read(tmp_path, {"list.csv": f"file,patient,sex,finding,mask\n{lines}"}, text)
    assert (row.unhealthy, row.findings) == (unhealthy, kept)


def test_shapes_of_one_image_share_a_frame(tmp_path: Path) -> None:
    mapping = (
        LEAST
        + "rows_per_image: many\n"
        + "lung_mask: {siim: {column: runs, frame: image}}\n"
        + "disease_mask: {boxes: {left: x, top: y, width: w, height: h, frame: {height: rows, width: columns}}}\n"
    )
    header = "file,runs,x,y,w,h,rows,columns\n"
    same = read(tmp_path, {"list.csv": header + "a.png,1 2,1,2,3,4,50,60\na.png,5 6,5,6,7,8,50,60\n"}, mapping)
    assert same[0].disease_mask == '{"boxes":[[1.0,2.0,3.0,4.0],[5.0,6.0,7.0,8.0]],"frame":[50,60]}'
    assert same[0].lung_mask == '{"siim":["1 2","5 6"],"frame":null}'
    with pytest.raises(ManifestError, match="got different disease_mask"):
        read(tmp_path, {"list.csv": header + "a.png,-1,1,2,3,4,50,60\na.png,-1,5,6,7,8,60,60\n"}, mapping)


def test_images_inside_archives_are_found_by_place_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with zipfile.ZipFile(tmp_path / "tree" / "all.zip", "w") as packed:
        packed.writestr("set/list.csv", "file\na.png\nb.png\n")
        packed.writestr("set/images/a.png", "")
        packed.writestr("set/deep/b.png", "")
        packed.writestr("set/masks/a.png", "")
    mapping = (
        "tables: [{name: list.csv}]\nimages: '.*(images|deep)/.*'\n"
        "image: {at: ['images/{file}'], anywhere: '{file}'}\nlung_mask: {files: ['masks/{file}']}\n"
    )
    first, second = read(tmp_path, {}, mapping)
    assert [(row.path, row.member) for row in (first, second)] == [
        ("all.zip", "set/images/a.png"),
        ("all.zip", "set/deep/b.png"),
    ]
    assert (first.lung_mask or "").endswith('/tree/all.zip", "member": "set/masks/a.png"}')
    assert second.lung_mask is None


def test_templates_may_lead_beside_the_table_but_never_above_the_root(tmp_path: Path) -> None:
    mapping = "tables: [{name: list.csv}]\nimage: {at: ['../../{file}', '../images/{file}']}\n"
    (tmp_path / "a.png").touch()
    (row,) = read(tmp_path, {"labels/list.csv": "file\na.png\n"}, mapping)
    assert row.path == "images/a.png"


def test_a_constant_view_is_evidence_of_the_mapping(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"list.csv": "file\na.png\n"}, LEAST + "view: AP\n")
    assert (row.view, row.view_source) == (View.AP, "mapping")


def test_a_table_makes_a_manifest(tmp_path: Path, cxr: Path) -> None:
    """Real covid-chestxray rows by a mapping instead of its adapter: counts as in its README."""
    source = cxr / "covid_chestxray"
    mapping = """
tables: [{name: metadata.csv}]
image: {at: ['{folder}/{filename}']}
images: 'images/.*'
patient: '{patientid}'
view: {column: view, values: {PA: PA, AP: AP, AP Supine: AP, AP Erect: AP, L: lateral}, otherwise: unknown}
excluded: [{column: modality, values: {X-ray: null, CT: wrong_modality}}]
sex: {column: sex}
age: {column: age}
illness_day: {column: offset}
findings: {column: finding, separator: ','}
labels: {covid: {column: finding, values: {COVID-19: 1, 'COVID-19, ARDS': 1}, otherwise: 0}}
lung_mask: {files: ['annotations/lung_masks/{filename|stem}.png']}
"""
    write(tmp_path, {"my.yaml": mapping})
    table = read_source(rows, SourceFiles(str(source)), "mine", options(str(tmp_path / "my.yaml"))).table
    finished = finish(table, SplitConfig(), 64).to_pylist()
    assert len(finished) == 205
    frontal = [row for row in finished if row["excluded"] is None]
    assert len(frontal) == 170
    assert sum(row["covid"] for row in frontal) == 128
    assert sum(row["findings"] == ["COVID-19", "ARDS"] for row in finished) == 7
    assert len({row["patient_id"] for row in finished}) == 115
    with_lungs = [row for row in frontal if row["lung_mask"]]
    assert len(with_lungs) == 163
    with Image.open(with_lungs[0]["uri"]) as image:
        assert read_mask(with_lungs[0]["lung_mask"], FrameConfig(size=64), image.height, image.width).any()


UNKNOWN = """
tables: [{name: list.csv}]
image: {at: ['images/{file}']}
patient: '{patient}'
study: '{patient}-{visit}'
age: {column: age}
sex: {column: sex, values: {M: M, F: F}}
acquired_on: {column: date, format: '%Y-%m-%d'}
view: {column: view, values: {PA: PA, '': unknown}}
findings: {column: finding, separator: '|', none: No Finding}
labels:
  unhealthy: {column: finding, values: {No Finding: 0}, otherwise: 1}
"""


@pytest.mark.parametrize("nothing", ["NaN", "nan", "NA", "N/A", "None", "null", "#N/A", "-", "<NA>", "NaT"])
def test_nan_and_its_cousins_are_unknown(tmp_path, nothing):
    table = f"file,patient,visit,age,sex,date,view,finding\na.png{(',' + nothing) * 7}\n"
    (row,) = read(tmp_path, {"list.csv": table, "images/a.png": b""}, UNKNOWN)
    assert (row.patient_id, row.study_id, row.age, row.sex, row.acquired_on) == (None,) * 5
    assert (row.view, row.findings, row.unhealthy) == (View.UNKNOWN, (), None)


def test_a_mapping_may_give_such_a_cell_a_meaning(tmp_path):
    mapping = UNKNOWN.replace("{No Finding: 0}", "{None: 0}").replace("none: No Finding", "none: None")
    table = "file,patient,visit,age,sex,date,view,finding\na.png,1,1,50,M,2020-01-02,PA,None\n"
    (row,) = read(tmp_path, {"list.csv": table, "images/a.png": b""}, mapping)
    assert (row.findings, row.unhealthy) == (("None",), 0)


def test_a_number_with_and_without_its_point_is_one_patient(tmp_path):
    table = "file,patient,visit,age,sex,date,view,finding\n" + "".join(
        f"{name}.png,{patient},1,50,M,2020-01-02,PA,Edema\n"
        for name, patient in zip("abc", ("2", "2.0", "2.50"), strict=True)
    )
    found = read(tmp_path, {"list.csv": table, **{f"images/{name}.png": b"" for name in "abc"}}, UNKNOWN)
    assert [row.patient_id for row in found] == ["mine/2", "mine/2", "mine/2.50"]
    assert [row.study_id for row in found] == ["mine/2-1", "mine/2-1", "mine/2.50-1"]
