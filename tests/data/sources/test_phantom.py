"""The adapter of phantom archives, on an archive as the job writes it, and on tables that break its form."""

import gzip
from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.phantom.phantom_archive import PhantomFile, write
from comit_ray.data.phantom.phantom_drawing import PhantomKind
from comit_ray.data.sources.phantom import COLUMNS, rows
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError, NotFoundError
from comit_ray.tables.vocabulary import View
from tests.data.small_phantoms import small_phantoms

OPTIONS = SourceOptions()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[PhantomFile]]:
    root = str(tmp_path_factory.mktemp("archive"))
    with small_phantoms():
        return root, write(root, 30, 1)


def with_table(root: Path, text: str) -> str:
    (root / "labels.csv").write_text(text)
    return str(root)


def test_every_file_is_a_row_with_its_labels(archive: tuple[str, list[PhantomFile]]) -> None:
    root, entries = archive
    found = list(rows(SourceFiles(root), "phantom", OPTIONS))
    assert [row.path for row in found] == [entry.file for entry in entries]
    for row, entry in zip(found, entries, strict=True):
        assert (row.patient_id, row.study_id) == (f"phantom/{entry.patient}", f"phantom/{entry.study}")
        assert row.excluded is None
        if entry.kind is None:
            assert (row.unhealthy, row.covid, row.other, row.findings) == (None, None, None, ())
            assert (row.view, row.view_source) == (View.UNKNOWN, "none")
            assert row.lung_mask is row.disease_mask is None
        else:
            assert row.unhealthy == int(entry.kind is not PhantomKind.HEALTHY)
            assert row.covid in (None, int(entry.kind is PhantomKind.COVID))
            assert row.view in (View.PA, View.AP)
            assert row.sex in ("M", "F")
            assert row.age is not None
            assert 5 < row.age < 95


def test_masks_are_found(archive: tuple[str, list[PhantomFile]]) -> None:
    root, entries = archive
    found = list(rows(SourceFiles(root), "phantom", OPTIONS))
    stems = {row.path: entry.stem for row, entry in zip(found, entries, strict=True)}
    lungs = [row for row in found if row.lung_mask]
    lesions = [row for row in found if row.disease_mask]
    assert len(lungs) == len(list(Path(root, "lung_masks").iterdir())) > 0
    assert len(lesions) == len(list(Path(root, "disease_masks").iterdir())) > 0
    assert all(row.lung_mask == f"{root}/lung_masks/{stems[row.path]}.png" for row in lungs)
    assert all(row.unhealthy == 1 for row in lesions)


def test_no_directory_and_no_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        list(rows(SourceFiles(str(tmp_path / "nowhere")), "phantom", OPTIONS))
    with pytest.raises(ManifestError, match=r"expected one labels\.csv"):
        list(rows(SourceFiles(str(tmp_path)), "phantom", OPTIONS))


def test_the_table_may_be_compressed(archive: tuple[str, list[PhantomFile]], tmp_path: Path) -> None:
    root, _ = archive
    data = Path(root, "labels.csv").read_bytes()
    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(data))
    (tmp_path / "images").symlink_to(Path(root, "images"))
    compressed, plain = (
        list(rows(SourceFiles(str(tmp_path)), "phantom", OPTIONS)),
        list(rows(SourceFiles(root), "phantom", OPTIONS)),
    )
    assert [(row.path, row.covid) for row in compressed] == [(row.path, row.covid) for row in plain]
    (tmp_path / "labels.csv").write_bytes(data)
    with pytest.raises(
        ManifestError, match=r"expected one labels\.csv\[\.gz\] in .*, found labels\.csv, labels\.csv\.gz"
    ):
        list(rows(SourceFiles(str(tmp_path)), "phantom", OPTIONS))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    root = with_table(tmp_path, "file,patient,study,view,sex,age,covid,unhealthy,findings\n")
    with pytest.raises(ManifestError, match="missing: other"):
        list(rows(SourceFiles(root), "phantom", OPTIONS))


@pytest.mark.parametrize(("column", "value"), [("covid", "yes"), ("unhealthy", "2"), ("view", "LL")])
def test_a_value_of_another_kind_is_refused(tmp_path: Path, column: str, value: str) -> None:
    cells = {"file": "images/p/p.png", column: value}
    root = with_table(tmp_path, ",".join(COLUMNS) + "\n" + ",".join(cells.get(name, "") for name in COLUMNS) + "\n")
    with pytest.raises(ManifestError, match=f"expected {column} of images/p/p.png"):
        list(rows(SourceFiles(root), "phantom", OPTIONS))
