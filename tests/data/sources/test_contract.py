"""Every adapter keeps the promises of comit_ray/data/sources/source_registry.py, on real files where there are any."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions, TableOptions
from comit_ray.data.images.load import Place, wanted
from comit_ray.data.manifest.manifest import training_hash
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.masks.mask_references import referenced_files
from comit_ray.data.phantom import phantom_archive
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import SOURCES, adapter
from comit_ray.errors import NotFoundError, Reason
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables.vocabulary import Split, View
from tests.data import bimcv_tree
from tests.data.small_phantoms import small_phantoms
from tests.data.sources import roots
from tests.support import some_of_nih

KEY = "a key for tests alone"
OPTIONS = SourceOptions(table=TableOptions(mapping="covidx"))
REAL = {
    "covid-chestxray": "covid_chestxray",
    "dicom": "dicom",
    "files": "dicom",
    "figure1": "figure1_covid",
    "images": "figure1_covid",
}
SAME_IN_ARCHIVES = ["patient_id", "view", "view_source", "unhealthy", "covid", "other", "excluded", "findings", "site"]
IMAGES = (".png", ".jpg", ".jpeg", ".dcm")


@pytest.fixture(scope="module")
def made(cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Root of each source that is written here."""
    base = tmp_path_factory.mktemp("roots")
    with small_phantoms():
        phantom_archive.write(str(base / "phantom"), count=24, seed=0)
    bimcv_tree.build(base / "bimcv", cxr / "bimcv_covid19" / "image_metadata_v1.tsv.gz")
    some_of_nih(cxr, base / "nih", every=20)  # all of its 112,120 rows are read in manifest/test_whole_tables.py
    for source, write in roots.MADE.items():
        (base / source).mkdir()
        write(base / source)
    return {path.name: str(path) for path in base.iterdir()}


# dicomweb has no tree of files to look at: its promises are held in tests/dicom
@pytest.fixture(params=sorted(set(SOURCES) - {"dicomweb"}))
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(source: str, cxr: Path, made: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COMIT_ID_KEY", KEY)
    return str(cxr / REAL[source]) if source in REAL else made[source]


@pytest.fixture(scope="module")
def listed() -> dict[str, list[ManifestRow]]:
    """Source -> the rows of its root, once they have been read."""
    return {}


@pytest.fixture
def rows(source: str, root: str, listed: dict[str, list[ManifestRow]]) -> list[ManifestRow]:
    if source not in listed:
        stream = adapter(source)(SourceFiles(root), "mine", OPTIONS)
        assert isinstance(stream, Iterator), "rows are streamed"
        listed[source] = list(stream)
    return listed[source]


@pytest.fixture(params=["tgz", "zip", "tar"])
def packed(request: pytest.FixtureRequest, root: str, tmp_path: Path) -> str:
    """The same root, all of it in one archive."""
    form = {"tgz": "gztar", "zip": "zip", "tar": "tar"}[request.param]
    archive = Path(shutil.make_archive(str(tmp_path / "made"), form, root))
    (tmp_path / "packed").mkdir()
    archive.rename(tmp_path / "packed" / f"all.{request.param}")
    return str(tmp_path / "packed")


def test_rows_are_streamed_and_well_formed(rows: list[ManifestRow]) -> None:
    assert rows
    assert len({row.path for row in rows}) == len(rows)
    for row in rows:
        assert isinstance(row, ManifestRow)
        assert not row.path.startswith(("/", ".")), row
        assert ".." not in row.path.split("/"), row
        assert isinstance(row.view, View), row
        assert row.view_source, row
        assert (row.view is View.UNKNOWN) or row.view_source != "none", f"a view without evidence: {row}"
        assert row.excluded is None or isinstance(row.excluded, Reason), row
        assert row.source_split is None or isinstance(row.source_split, Split), row
        assert {row.unhealthy, row.covid, row.other} <= {None, 0, 1}, row
        assert row.sex in (None, "M", "F"), row
        for identifier in (row.patient_id, row.study_id):
            assert identifier is None or re.fullmatch(r"mine/.+|[0-9a-f]{32}", identifier), row


def test_labels_agree_with_each_other(source: str, rows: list[ManifestRow]) -> None:
    for row in rows:
        # BIMCV's COVID label is that of a test: a radiograph without findings may have it
        by_radiograph = source != "bimcv"
        if row.other == 1 or (row.covid == 1 and by_radiograph):
            assert row.unhealthy != 0, row
        if row.unhealthy == 0:
            assert row.other in (0, None), row
            assert row.covid == 0 or not by_radiograph, row
        if row.view is View.LATERAL:
            assert row.excluded is Reason.LATERAL, row


def test_every_image_at_hand_is_a_row(rows: list[ManifestRow], root: str) -> None:
    images = {
        entry.path
        for entry in storage.list_files(root)
        if entry.path.lower().endswith(IMAGES) and "masks/" not in entry.path
    }
    assert images
    assert images <= {row.path for row in rows}


def test_mask_references_can_be_found(rows: list[ManifestRow]) -> None:
    for row in rows:
        for reference in (row.lung_mask, row.disease_mask):
            for file in () if reference is None else referenced_files(reference):
                assert storage.exists(file.uri), row


def test_an_archive_gives_the_same_rows_as_the_tree_in_it(
    source: str, root: str, rows: list[ManifestRow], packed: str
) -> None:
    """Labels, views and masks do not depend on how a dataset is packed; every member can be read."""
    loose = {row.path: row for row in rows}
    files = SourceFiles(packed)
    found = [
        row for row in adapter(source)(files, "mine", OPTIONS) if row.path.startswith("all.") or row.member is None
    ]
    inside = {(row.member or row.path).removeprefix("./"): row for row in found}
    assert set(inside) == set(loose)
    for name, row in inside.items():
        expected = loose[name]
        for field in (
            "patient_id",
            "view",
            "view_source",
            "unhealthy",
            "covid",
            "other",
            "excluded",
            "findings",
            "site",
        ):
            assert getattr(row, field) == getattr(expected, field), (name, field)
        for mask in ("lung_mask", "disease_mask"):
            assert (getattr(row, mask) is None) == (getattr(expected, mask) is None), (name, mask)
        assert (row.sidecar is None) == (expected.sidecar is None), name
    table = read_source(adapter(source), files, "mine", OPTIONS).table.to_pylist()
    places = [Place.of(row) for row in table if row["member"] is not None][:20]
    with FileReader(10**9, wanted(places)) as reader:
        for place in places:
            data = reader.read(place.file)
            assert data == Path(root, str(place.file.member).removeprefix("./")).read_bytes()


def test_rows_make_a_manifest_that_does_not_depend_on_the_mount(source: str, root: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mounted elsewhere"
    elsewhere.symlink_to(root)
    here, there = (
        finish(read_source(adapter(source), files, "mine", OPTIONS).table, SplitConfig(), 512)
        for files in (SourceFiles(root), SourceFiles(str(elsewhere)))
    )
    assert training_hash(here) == training_hash(there)
    assert here.column("split").equals(there.column("split"))
    assert here.column("patient_id").equals(there.column("patient_id"))
    assert there.column("uri")[0].as_py().startswith(f"{elsewhere}/")


def test_a_root_that_is_not_there_is_named(source: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        list(adapter(source)(SourceFiles(str(tmp_path / "nowhere")), "mine", OPTIONS))
