import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook
from PIL import Image

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.radiography import rows
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileRef
from comit_ray.tables.vocabulary import View

TOP = "COVID-19_Radiography_Dataset"
BIMCV = "https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/#1590858128006-9e640421-6711"
HANNOVER = "https://github.com/ml-workgroup/covid-19-image-repository/tree/master/png"
RSNA = "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data"


def picture(path: Path, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), 128).save(path)


def sheet(
    path: Path, *named: tuple[str, str], columns: tuple[str, ...] = ("FILE NAME", "FORMAT", "SIZE", "URL")
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    book.worksheets[0].append(columns)
    for name, url in named:
        book.worksheets[0].append((name, "PNG", "256*256", url))
    book.save(path)


def present_version(root: Path) -> None:
    """The layout and the spellings of the version of 2021."""
    for kind, stem in (("COVID", "COVID-1"), ("COVID", "COVID-2"), ("Normal", "Normal-1")):
        picture(root / kind / "images" / f"{stem}.png")
        picture(root / kind / "masks" / f"{stem}.png")
    picture(root / "Lung_Opacity" / "images" / "Lung_Opacity-1.png")
    picture(root / "Viral Pneumonia" / "images" / "Viral Pneumonia-1.png")
    sheet(root / "COVID.metadata.xlsx", ("COVID-1", BIMCV), ("COVID-2", HANNOVER), ("COVID-3", "https://sirm.org/x"))
    sheet(root / "Normal.metadata.xlsx", ("NORMAL-1", RSNA))
    sheet(root / "Lung_Opacity.metadata.xlsx", ("Lung Opacity - 1", RSNA))


def read(root: Path) -> list[ManifestRow]:
    return list(rows(SourceFiles(str(root)), "radiography", SourceOptions()))


def test_the_present_version(tmp_path: Path) -> None:
    present_version(tmp_path / TOP)
    covid, hannover, opacity, normal, viral, missing = read(tmp_path)
    assert covid.path == f"{TOP}/COVID/images/COVID-1.png"
    assert covid.lung_mask == f"{tmp_path}/{TOP}/COVID/masks/COVID-1.png"
    assert (covid.findings, covid.unhealthy, covid.covid, covid.other) == (("COVID",), 1, 1, 0)
    assert (covid.site, hannover.site, normal.site, opacity.site, viral.site) == (
        "bimcv",
        "ml-workgroup",
        "rsna-pneumonia-detection-challenge",
        "rsna-pneumonia-detection-challenge",
        None,
    )
    assert (normal.path, normal.unhealthy) == (f"{TOP}/Normal/images/Normal-1.png", 0)
    assert (normal.covid, normal.other, normal.listed) == (0, 0, True)
    assert (opacity.findings, opacity.unhealthy, opacity.covid, opacity.other) == (("Lung_Opacity",), 1, 0, 1)
    assert (viral.findings, viral.unhealthy, viral.covid, viral.other) == (("Viral Pneumonia",), 1, 0, 1)
    assert (viral.listed, viral.lung_mask) == (False, None)
    assert missing == ManifestRow(
        path=f"{TOP}/COVID/images/COVID-3.png", site="sirm", findings=("COVID",), unhealthy=1, covid=1, other=0
    )
    for row in (covid, hannover, opacity, normal, viral, missing):
        assert (row.patient_id, row.view, row.view_source, row.excluded) == (None, View.UNKNOWN, "none", None)


def test_early_versions_have_no_images_folder(tmp_path: Path) -> None:
    for kind, stem in (
        ("COVID-19", "COVID-19 (1)"),
        ("NORMAL", "NORMAL (1)"),
        ("Viral Pneumonia", "Viral Pneumonia (1)"),
    ):
        picture(tmp_path / kind / f"{stem}.png")
    sheet(tmp_path / "COVID-19.metadata.xlsx", ("COVID-19(1)", "https://github.com/ieee8023/covid-chestxray-dataset"))
    sheet(tmp_path / "NORMAL.metadata.xlsx", ("NORMAL(1)", RSNA))
    sheet(
        tmp_path / "Viral Pneumonia.matadata.xlsx", ("Viral Pneumonia(1)", "https://www.kaggle.com/paultimothymooney/x")
    )
    assert [(row.path, row.covid, row.unhealthy, row.site) for row in read(tmp_path)] == [
        ("COVID-19/COVID-19 (1).png", 1, 1, "ieee8023"),
        ("NORMAL/NORMAL (1).png", 0, 0, "rsna-pneumonia-detection-challenge"),
        ("Viral Pneumonia/Viral Pneumonia (1).png", 0, 1, "paultimothymooney"),
    ]


def test_numbers_are_not_mixed_up(tmp_path: Path) -> None:
    picture(tmp_path / "COVID/images/COVID-11.png")
    sheet(tmp_path / "COVID.metadata.xlsx", ("COVID-1", HANNOVER), ("COVID-11", BIMCV))
    here, missing = read(tmp_path)
    assert (here.site, missing.path, missing.site) == ("bimcv", "COVID/images/COVID-1.png", "ml-workgroup")


def test_a_zip_is_read_where_it_lies(tmp_path: Path) -> None:
    present_version(tmp_path / "unpacked" / TOP)
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        for path in sorted((tmp_path / "unpacked").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "unpacked"))
    inside = {row.member: row for row in read(root)}
    outside = read(tmp_path / "unpacked")
    assert set(inside) == {None if row.path.endswith("COVID-3.png") else row.path for row in outside}
    first = inside[f"{TOP}/COVID/images/COVID-1.png"]
    assert (first.path, first.site, first.covid) == ("archive.zip", "bimcv", 1)
    assert FileRef.from_text(first.lung_mask or "") == FileRef(
        f"{root}/archive.zip", f"{TOP}/COVID/masks/COVID-1.png", None
    )


def test_images_elsewhere_are_rows_without_labels(tmp_path: Path) -> None:
    picture(tmp_path / "COVID/images/COVID-1.png")
    picture(tmp_path / "COVID/masks/COVID-1.png")
    picture(tmp_path / "Tuberculosis/images/T-1.png")
    covid, elsewhere = read(tmp_path)
    assert covid.covid == 1
    assert elsewhere == ManifestRow(path="Tuberculosis/images/T-1.png", listed=False)


def test_a_tree_of_another_form_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.png")
    with pytest.raises(
        ManifestError, match="expected images in folders COVID, Normal, Lung_Opacity or Viral Pneumonia"
    ):
        read(tmp_path)


def test_a_sheet_of_another_form_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "COVID/images/COVID-1.png")
    sheet(tmp_path / "COVID.metadata.xlsx", columns=("Name", "Link"))
    with pytest.raises(ManifestError, match=r"columns FILE NAME, URL in COVID\.metadata\.xlsx, got: Name, Link"):
        read(tmp_path)


def test_a_sheet_that_is_no_workbook_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "COVID/images/COVID-1.png")
    (tmp_path / "COVID.metadata.xlsx").write_text("FILE NAME,URL\n")
    with pytest.raises(ManifestError, match=r"expected an Excel workbook .*COVID\.metadata\.xlsx"):
        read(tmp_path)
