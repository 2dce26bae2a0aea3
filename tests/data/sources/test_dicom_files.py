import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources import dicom_files
from comit_ray.data.sources.dicom_files import pseudonym, rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError, ManifestError, Reason, StorageError
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables.vocabulary import View
from tests.data import archives

OPTIONS = SourceOptions()

KEY = "sixteen bytes or more"
CHEST = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMIT_ID_KEY", KEY)


def by_name(root: Path) -> dict[str, ManifestRow]:
    return {row.path: row for row in rows(SourceFiles(str(root)), "d", OPTIONS)}


def changed(source: Path, target: Path, **values: str) -> Dataset:
    """A copy of a real file with other header values."""
    dataset = dcmread(source)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target)
    return dataset


def test_real_files(cxr: Path) -> None:
    found = by_name(cxr / "dicom")
    assert len(found) == 5
    assert found["RG1_J2KI.dcm"].excluded is None
    assert {found[name].excluded for name in ("RG3_J2KI.dcm", "RG3_J2KR.dcm")} == {Reason.NOT_A_CHEST}
    chest = found[CHEST]
    assert chest.excluded is None
    assert (chest.unhealthy, chest.covid, chest.other, chest.findings) == (None, None, None, ())


def test_no_raw_identifier_enters_a_row(cxr: Path, tmp_path: Path) -> None:
    original = changed(cxr / "dicom" / CHEST, tmp_path / "a.dcm", PatientID="MRN 4711", PatientName="Doe^Jane",
                       AccessionNumber="ACC 4712", PatientBirthDate="19700102")  # fmt: skip
    row = by_name(tmp_path)["a.dcm"]
    text = repr(row)
    for secret in ("4711", "Doe", "4712", "19700102", original.StudyInstanceUID):
        assert secret not in text
    assert row.patient_id == pseudonym("MRN 4711", KEY.encode(), "patient")
    assert row.study_id == pseudonym(original.StudyInstanceUID, KEY.encode(), "study")


def test_the_same_key_gives_the_same_patient_and_another_key_another(
    cxr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, patient in (("a.dcm", "1"), ("b.dcm", "1"), ("c.dcm", "2"), ("d.dcm", "")):
        changed(cxr / "dicom" / CHEST, tmp_path / name, PatientID=patient)
    first = by_name(tmp_path)
    assert first["a.dcm"].patient_id == first["b.dcm"].patient_id != first["c.dcm"].patient_id
    assert first["d.dcm"].patient_id is None
    monkeypatch.setenv("COMIT_ID_KEY", KEY + "!")
    assert by_name(tmp_path)["a.dcm"].patient_id not in (None, first["a.dcm"].patient_id)


def test_without_a_key_patients_stay_unknown_and_one_line_says_so(
    cxr: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COMIT_ID_KEY")
    found = by_name(cxr / "dicom")
    assert {(row.patient_id, row.study_id) for row in found.values()} == {(None, None)}
    assert capsys.readouterr().err.count("COMIT_ID_KEY is not set") == 1


def test_a_short_key_is_refused(cxr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMIT_ID_KEY", "short")
    with pytest.raises(ConfigError, match="at least 16 bytes, got 5"):
        by_name(cxr / "dicom")


def test_which_files_are_taken(cxr: Path, tmp_path: Path) -> None:
    taken = ["a.dcm", "b.DICOM", "IM000001", "1.2.840.113619"]
    left = ["notes.txt", "page.html", "DICOMDIR"]
    for name in taken:
        shutil.copy(cxr / "dicom" / CHEST, tmp_path / name)
    for name in left:
        (tmp_path / name).write_bytes(b"text " * 100)
    assert sorted(by_name(tmp_path)) == sorted(taken)


def test_masks_are_attached_by_stem(cxr: Path, tmp_path: Path) -> None:
    for name in ("a.dcm", "1.2.840.113619"):
        shutil.copy(cxr / "dicom" / CHEST, tmp_path / name)
    for mask in ("lung_masks/a.png", "annotations/disease_masks/1.2.840.113619.png", "lung_masks/1.2.840.png"):
        (tmp_path / mask).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mask).touch()
    found = by_name(tmp_path)
    assert {name: (row.lung_mask, row.disease_mask) for name, row in found.items()} == {
        "a.dcm": (f"{tmp_path}/lung_masks/a.png", None),
        "1.2.840.113619": (None, f"{tmp_path}/annotations/disease_masks/1.2.840.113619.png"),
    }
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a.dcm", tmp_path / "b" / "a.DICOM")
    with pytest.raises(
        ManifestError, match=r"one image of the mask lung_masks/a\.png in .*, got a\.dcm and b/a\.DICOM"
    ):
        by_name(tmp_path)


def test_a_file_that_cannot_be_read_is_a_row_for_screening_to_judge(cxr: Path, tmp_path: Path) -> None:
    whole = (cxr / "dicom" / CHEST).read_bytes()
    for name, data in (("cut.dcm", whole[:400]), ("empty.dcm", b""), ("text", b"no DICOM at all" * 50)):
        (tmp_path / name).write_bytes(data)
    assert by_name(tmp_path) == {name: ManifestRow(path=name) for name in ("cut.dcm", "empty.dcm", "text")}


@pytest.mark.parametrize("name", ["a.dcm", "IM000001", "notes.txt"])
def test_a_file_that_the_storage_refuses_is_no_row(
    cxr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without its patient it could be trained on while the patient's other images are tested."""
    for one in (name, "b.dcm"):
        shutil.copy(cxr / "dicom" / CHEST, tmp_path / one)
    real = storage.read_bytes

    def refuse(uri: str, at_most: int | None = None) -> bytes:
        if uri.endswith(f"/{name}"):
            raise StorageError("503 Slow Down")
        return real(uri, at_most)

    monkeypatch.setattr(storage, "read_bytes", refuse)
    with pytest.raises(StorageError, match=rf"cannot read {tmp_path}/{name}: .*; run again when the storage answers"):
        by_name(tmp_path)


def test_a_file_of_which_the_listing_knows_that_nothing_can_be_read_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(uri: str, at_most: int | None = None) -> bytes:
        raise StorageError(f"cannot address {uri}")

    (tmp_path / "a.dcm").touch()
    files = SourceFiles(str(tmp_path))
    files.unusable["a.dcm", None] = Reason.UNREADABLE
    monkeypatch.setattr(storage, "read_bytes", refuse)
    assert list(rows(files, "d", OPTIONS)) == [ManifestRow(path="a.dcm")]


def test_an_encrypted_member_is_no_fault_of_the_storage(cxr: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    archives.write(path, {"a.dcm": (cxr / "dicom" / CHEST).read_bytes()})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.rindex(signature) + flags] |= 1
    path.write_bytes(data)
    row = by_name(tmp_path)["a.zip"]
    assert (row.member, row.patient_id, row.view) == ("a.dcm", None, View.UNKNOWN)


def test_members_that_are_read_are_announced_and_no_others_and_let_go_at_the_end(
    cxr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (cxr / "dicom" / CHEST).read_bytes()
    files = {
        "DICOMDIR": whole,
        "a.dcm": whole,
        "IM1": whole[:3000],
        "huge.dcm": whole + bytes(10),
        "lung_masks/a.png": b"",
        "x.bin": b"x",
    }
    archives.write(tmp_path / "a.tgz", files)
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as tar:
        tar.add(cxr / "dicom" / CHEST, "c.dcm")
        link = tarfile.TarInfo("d.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "c.dcm"
        tar.addfile(link)
    announced: list[str] = []
    closed: list[str] = []

    class Noting(FileReader):
        def __init__(self, max_bytes: int, wanted: Iterable[FileRef]) -> None:
            refs = list(wanted)
            announced.extend(str(ref).removeprefix(f"{tmp_path}/") for ref in refs)
            super().__init__(max_bytes, refs)

        def close_archive(self, uri: str) -> None:
            closed.append(uri)
            super().close_archive(uri)

    monkeypatch.setattr(dicom_files, "FileReader", Noting)
    monkeypatch.setattr(dicom_files, "DecodeLimits", lambda: DecodeLimits(max_bytes=len(whole)))
    monkeypatch.setattr(dicom_files, "WINDOW", 2)  # the last of the first archive ends a window
    found = {row.member: row for row in rows(SourceFiles(str(tmp_path)), "d", OPTIONS)}
    assert announced == ["a.tgz!a.dcm", "a.tgz!IM1", "a.tgz!x.bin", "b.tgz!c.dcm"]
    assert set(found) == {"a.dcm", "IM1", "huge.dcm", "c.dcm", "d.dcm"}
    assert found["a.dcm"].lung_mask is not None
    assert f"{tmp_path}/a.tgz" in closed


def test_a_file_beyond_the_limit_is_a_row_and_never_read(
    cxr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "huge.dcm").open("wb") as stream:
        stream.truncate(DecodeLimits().max_bytes + 1)
    monkeypatch.setattr(dicom_files, "read_header", lambda *_: pytest.fail("read a file beyond the limit"))
    assert by_name(tmp_path) == {"huge.dcm": ManifestRow(path="huge.dcm")}


def test_a_header_longer_than_the_first_read_is_read_whole(
    cxr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(cxr / "dicom" / "RG1_J2KI.dcm", tmp_path / "a.dcm")
    expected = by_name(tmp_path)["a.dcm"]
    assert expected.patient_id is not None or expected.device is not None
    monkeypatch.setattr(dicom_files, "HEAD_BYTES", 300)
    assert by_name(tmp_path)["a.dcm"] == expected


def test_views_and_exclusions_of_the_header(cxr: Path, tmp_path: Path) -> None:
    for name, position in (("pa.dcm", "PA"), ("ll.dcm", "LL")):
        changed(cxr / "dicom" / CHEST, tmp_path / name, ViewPosition=position)
    found = by_name(tmp_path)
    assert (found["pa.dcm"].view, found["pa.dcm"].excluded) == (View.PA, None)
    assert (found["ll.dcm"].view, found["ll.dcm"].excluded) == (View.LATERAL, Reason.LATERAL)


def test_order_is_that_of_the_archive_however_many_threads(cxr: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO((cxr / "dicom" / CHEST).read_bytes())
    for number in range(70):
        (tmp_path / f"{number:03d}.dcm").write_bytes(buffer.getvalue()[:2000])
    assert [row.path for row in rows(SourceFiles(str(tmp_path)), "d", OPTIONS)] == [
        f"{number:03d}.dcm" for number in range(70)
    ]
