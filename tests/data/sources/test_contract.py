"""Every adapter keeps the promises of comit_ray/data/sources/row.py, on real files where there are any."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from comit_ray import storage
from comit_ray.config import SplitConfig
from comit_ray.data import phantom_archive
from comit_ray.data.manifest import training_hash
from comit_ray.data.manifest_build import finish, read_source
from comit_ray.data.sources.files import SourceFiles
from comit_ray.data.sources.registry import SOURCES, adapter
from comit_ray.data.sources.row import ManifestRow
from comit_ray.errors import NotFoundError, Reason
from comit_ray.schema import Split, View
from comit_ray.source_options import SourceOptions

KEY = "a key for tests alone"
REAL = {
    "covid-chestxray": "covid_chestxray",
    "dicom": "dicom",
    "images": "figure1_covid",
    "nih": "nih_chestxray14",
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("phantoms") / "archive")
    phantom_archive.write(root, count=24, seed=0)
    return root


@pytest.fixture(params=sorted(SOURCES))
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(source: str, cxr: Path, phantoms: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COMIT_ID_KEY", KEY)
    return str(cxr / REAL[source]) if source in REAL else phantoms


def test_rows_are_streamed_and_well_formed(source: str, root: str) -> None:
    stream = adapter(source)(SourceFiles(root), "mine", SourceOptions())
    assert isinstance(stream, Iterator)
    rows = list(stream)
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


def test_labels_agree_with_each_other(source: str, root: str) -> None:
    for row in adapter(source)(SourceFiles(root), "mine", SourceOptions()):
        if row.covid == 1 or row.other == 1:
            assert row.unhealthy == 1, row
        if row.unhealthy == 0:
            assert row.covid == row.other == 0, row
        if row.view is View.LATERAL:
            assert row.excluded is Reason.LATERAL, row


def test_every_image_at_hand_is_a_row(source: str, root: str) -> None:
    rows = {row.path for row in adapter(source)(SourceFiles(root), "mine", SourceOptions())}
    images = {
        entry.path
        for entry in storage.list_files(root)
        if entry.path.lower().endswith((".png", ".jpg", ".jpeg", ".dcm")) and "masks/" not in entry.path
    }
    assert images
    assert images <= rows


def test_mask_references_can_be_found(source: str, root: str) -> None:
    for row in adapter(source)(SourceFiles(root), "mine", SourceOptions()):
        for reference in (row.lung_mask, row.disease_mask):
            assert reference is None or reference.startswith('{"boxes"') or storage.exists(reference), row


def test_rows_make_a_manifest_that_does_not_depend_on_the_mount(source: str, root: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mounted elsewhere"
    elsewhere.symlink_to(root)
    here, there = (
        finish(read_source(adapter(source), files, "mine", SourceOptions()).table, SplitConfig(), 512)
        for files in (SourceFiles(root), SourceFiles(str(elsewhere)))
    )
    assert training_hash(here) == training_hash(there)
    assert here.column("split").equals(there.column("split"))
    assert here.column("patient_id").equals(there.column("patient_id"))
    assert there.column("uri")[0].as_py().startswith(f"{elsewhere}/")


def test_a_root_that_is_not_there_is_named(source: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        list(adapter(source)(SourceFiles(str(tmp_path / "nowhere")), "mine", SourceOptions()))
