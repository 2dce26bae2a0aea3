"""The BIMCV-COVID19 adapter: on the real quality sheet, and on a tree of real names in every form it is offered in."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.source_config import BimcvOptions, SourceOptions
from comit_ray.data.images.load import decode
from comit_ray.data.manifest.manifest_build import read_source
from comit_ray.data.sources.bimcv.bimcv import rows
from comit_ray.data.sources.bimcv.bimcv_sidecars import unlike
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import DecodeError, ManifestError, Reason
from comit_ray.storage import tar_stream
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables.vocabulary import View
from tests.data import archives, bimcv_tree
from tests.data.bimcv_tree import SECRET, Made, Tree

OPTIONS = SourceOptions()
ACT = SourceOptions(bimcv=BimcvOptions(act=True))
NAMES_ALONE = SourceOptions(bimcv=BimcvOptions(sidecars="skip"))
LIMITS = DecodeLimits()
IMAGE = "covid19_posi/sub-S1/ses-E1/mod-rx/sub-S1_ses-E1_run-1_bp-chest_vp-ap_cr.png"
FRONTAL = (View.PA, View.AP, View.FRONTAL)


@pytest.fixture(scope="module")
def sheet(cxr: Path) -> Path:
    return cxr / "bimcv_covid19" / "image_metadata_v1.tsv.gz"


@pytest.fixture(scope="module")
def tree(sheet: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return bimcv_tree.build(tmp_path_factory.mktemp("bimcv") / "unpacked", sheet)


@pytest.fixture(scope="module")
def packed(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives, their listings and checksums."""
    output = tmp_path_factory.mktemp("packed")
    bimcv_tree.pack(tree, output)
    return output


@pytest.fixture(scope="module")
def listed(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the images' archives only listings and checksums; the head archive and the lists of sessions are there."""
    output = tmp_path_factory.mktemp("listed")
    bimcv_tree.pack(tree, output, at_hand=False, sessions_apart=True)
    return output


def read(root: Path | str, options: SourceOptions = OPTIONS) -> dict[str, ManifestRow]:
    """File name, as if unpacked -> its row."""
    found = list(rows(SourceFiles(str(root)), "bimcv", options))
    named = {row.member or row.path: row for row in found}
    assert len(named) == len(found)
    return named


def touch(root: Path, *names: str, text: str = "") -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


def same_facts(one: ManifestRow, other: ManifestRow) -> bool:
    """Whether two rows say the same of an image, wherever it lies."""
    here, there = (replace(row, path="", member=None, position=0, sidecar=None, site=None) for row in (one, other))
    return here == there


def sidecar_of(row: ManifestRow) -> FileRef | None:
    return None if row.sidecar is None else FileRef.from_text(row.sidecar)


# The quality sheet alone


def test_the_real_sheet_alone_gives_every_file_once(sheet: Path) -> None:
    found = read(sheet.parent)
    assert len(found) == 5_380  # 5,525 rows, 145 of which repeat another wholly
    assert Counter(row.excluded for row in found.values()) == {
        Reason.WRONG_MODALITY: 2_239,
        Reason.LATERAL: 792,
        Reason.NOT_IN_PROTOCOL: 12,  # burned-in information, or black and white swapped
        None: 2_337,
    }
    frontal = [row for row in found.values() if row.excluded is None]
    assert Counter(row.view for row in frontal) == {View.AP: 964, View.PA: 720, View.FRONTAL: 653}
    assert {row.view_source for row in frontal} == {"Position_Manual"}
    assert len({row.patient_id for row in found.values()}) == 1_310
    assert len({row.study_id for row in found.values()}) == 2_428
    assert {row.covid for row in found.values()} == {None}  # it has no tests
    assert Counter((row.unhealthy, row.other) for row in frontal) == {(1, None): 1_864, (0, 0): 219, (None, None): 254}
    assert all(row.acquired_on and row.acquired_on.year == 2020 for row in found.values())


def test_facts_of_one_real_row(sheet: Path) -> None:
    path = "covid19_posi/sub-S03427/ses-E06828/mod-rx/sub-S03427_ses-E06828_acq-1_run-1_bp-chest_vp-ll_dx.png"
    row = read(sheet.parent)[path]
    assert row == ManifestRow(
        path=path,
        sidecar=f"{sheet.parent}/{path.removesuffix('.png')}.json",
        site="covid19_posi",
        patient_id="bimcv/sub-S03427",
        study_id="bimcv/ses-E06828",
        view=View.FRONTAL,
        view_source="Position_Manual",
        sex="M",
        device="GE Healthcare Thunder Platform",
        acquired_on=date(2020, 2, 29),
        findings=("normal",),
        unhealthy=0,
        other=0,
    )


# The tree, unpacked


def test_labels_of_every_case(tree: Tree) -> None:
    found, with_act = read(tree.root), read(tree.root, ACT)
    for made in tree.radiographs:
        case = made.case
        assert found[made.name].covid == case.covid, case.what
        assert with_act[made.name].covid == case.covid_act, case.what
        if case.labels is not None:
            assert found[made.name].unhealthy == case.unhealthy, case.what
        assert found[made.name].other == (0 if case.covid == 1 or found[made.name].unhealthy == 0 else None), case.what
    assert {made.case.what for made in tree.radiographs} == {case.what for case in bimcv_tree.CASES}
    assert Counter(row.covid for row in found.values())[0] >= 5


def test_facts_of_the_tree(tree: Tree) -> None:
    found = read(tree.root)
    assert len(found) == len(tree.radiographs) + len(tree.volumes) > 35
    for made in tree.radiographs:
        row = found[made.name]
        assert row.patient_id == f"bimcv/{made.row['Subject']}"
        assert row.study_id == f"bimcv/{made.row['Session']}"
        assert (row.site, row.listed, row.position > 0) == ("covid19_posi", True, True)
        day = date.fromisoformat(made.row["Study Date"])
        assert row.acquired_on == (None if made.case.study_date == "nowhere" else day), made.case.what
        assert row.sidecar is not None
        if made.sidecar is not None:
            assert row.sidecar == f"{tree.root}/{made.sidecar}"
            assert (row.device or "").startswith(made.row["Manufacturer"].strip('"'))
        assert (row.view is View.LATERAL) == (row.excluded is Reason.LATERAL)
    wrong = [m for m in tree.radiographs if (found[m.name].view is View.LATERAL) != (m.row["Position_Manual"] == "L")]
    assert [(m.row["Session"], m.row["Position_Manual"]) for m in wrong] == [("ses-E07086", "PA"), ("ses-E07005", "PA")]
    for name in tree.volumes:
        row = found[name]
        assert (row.excluded, row.view, row.sidecar) == (Reason.WRONG_MODALITY, View.UNKNOWN, None)
        assert (row.patient_id or "").startswith("bimcv/sub-")
    ages = Counter(row.age for row in found.values())
    assert ages[80.0] > 5  # the table's where it states one, the sidecar's elsewhere
    assert len(ages) > 5
    assert {row.sex for row in found.values()} == {"M", "F"}
    assert "sub-S03044" in str(found)
    assert SECRET not in str(found)


def test_an_image_without_its_json_borrows_one_for_its_pixels_alone(tree: Tree) -> None:
    found = read(tree.root)
    lacking = next(made for made in tree.radiographs if made.sidecar is None)
    lender = next(made for made in tree.radiographs if f"{tree.root}/{made.sidecar}" == found[lacking.name].sidecar)
    assert lender.row["Session"] == lacking.row["Session"]
    assert found[lacking.name].device is None
    assert found[lacking.name].view_source.startswith("file name")
    assert found[lender.name].device == "GE Healthcare Thunder Platform"
    assert found[lacking.name].acquired_on == found[lender.name].acquired_on


def test_pixels_are_the_chests_that_were_stored(tree: Tree) -> None:
    """Twelve devices' windows, rescaling, depths and inversions, undone from what the adapter references alone."""
    found = read(tree.root)
    decoded: Counter[str] = Counter()
    with FileReader(2**22) as reader:
        for made in tree.radiographs:
            row = found[made.name]
            sidecar = reader.read(FileRef.from_text(row.sidecar or ""))
            data = (tree.root / made.name).read_bytes()
            if made.form == "empty":
                with pytest.raises(DecodeError) as caught:
                    decode(data, LIMITS, sidecar)
                assert caught.value.reason is Reason.EMPTY
                continue
            shown = decode(data, LIMITS, sidecar)
            decoded[f"{made.row['Photometric Interpretation']} {made.form}"] += 1
            if made.shown is not None:
                assert ("monochrome1_inverted" in shown.applied) == ("MONOCHROME1" in str(made.row.values()))
                assert np.corrcoef(shown.pixels_HW.ravel(), made.shown.ravel())[0, 1] > 0.95, made.name
    assert decoded["MONOCHROME1 stored"] >= 8
    assert decoded["MONOCHROME2 stored"] >= 20
    assert sum(decoded.values()) == len(tree.radiographs) - 1


def test_spanish_tables_give_the_same_rows(sheet: Path, tree: Tree, tmp_path: Path) -> None:
    spanish = bimcv_tree.build(tmp_path, sheet, spanish=True)
    assert not list(tmp_path.rglob("sil_reg_covid_posi.tsv"))
    there, here = read(spanish.root), read(tree.root)
    assert there.keys() == here.keys()
    assert all(same_facts(there[name], here[name]) for name in here)


def test_the_negative_collection_is_labelled_by_its_tests_too(sheet: Path, tmp_path: Path) -> None:
    negative = bimcv_tree.build(tmp_path, sheet, top="covid19_neg")
    found = read(tmp_path)
    assert {row.site for row in found.values()} == {"covid19_neg"}
    assert [found[made.name].covid for made in negative.radiographs] == [m.case.covid for m in negative.radiographs]
    shutil.rmtree(tmp_path / "covid19_neg" / "derivatives")
    assert {row.covid for row in read(tmp_path).values()} == {None}


def test_the_sheet_overrides_the_rule(tree: Tree, sheet: Path, tmp_path: Path) -> None:
    shutil.copytree(tree.root, tmp_path, dirs_exist_ok=True)
    first, second = [made for made in tree.radiographs if made.row["Position_Manual"] == "PA"][:2]
    lines = "File\tPosition_Manual\tExclude\tLabels\n"
    lines += f"{Path(first.name).name}\tL\tFalse\tnormal\n{Path(second.name).name}\tPA\tTrue\tnormal\n"
    lines += "sub-S9_ses-E9_run-1_bp-chest_vp-ap_cr.png\tPA\tFalse\tinfiltrates\n"
    (tmp_path / "image_metadata_v2.tsv").write_text(lines)
    before, found = read(tree.root), read(tmp_path)
    assert len(found) == len(before) + 1
    assert (found[first.name].view, found[first.name].excluded) == (View.LATERAL, Reason.LATERAL)
    assert found[first.name].view_source == found[second.name].view_source == "Position_Manual"
    assert (found[second.name].view in FRONTAL, found[second.name].excluded) == (True, Reason.NOT_IN_PROTOCOL)
    assert found[first.name].findings == before[first.name].findings  # the labels' table comes first
    absent = found["covid19_posi/sub-S9/ses-E9/mod-rx/sub-S9_ses-E9_run-1_bp-chest_vp-ap_cr.png"]
    assert (absent.view, absent.unhealthy, absent.excluded) == (View.FRONTAL, 1, None)
    assert absent.sidecar == f"{tmp_path}/{absent.path.removesuffix('.png')}.json"


# Archives


def test_archives_give_the_same_rows_and_their_sums(tree: Tree, packed: Path) -> None:
    loose, found = read(tree.root), read(packed)
    assert found.keys() == loose.keys()
    assert all(same_facts(found[name], loose[name]) for name in loose)
    assert {row.path for row in found.values()} == {f"bimcv_covid19_posi_subjects_{n}.tgz" for n in (1, 2)}
    source = read_source(rows, SourceFiles(str(packed)), "bimcv", OPTIONS)
    assert all(text.startswith("sha1:") for text in source.table.column("checksum").to_pylist())


def test_one_pass_finds_each_image_and_its_sidecar(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row's place in its archive is that of the later of the two, and reading in this order holds hardly anything."""
    begun: Counter[str] = Counter()
    held = 0
    rewind, advance = tar_stream.TarStream._rewind, tar_stream.TarStream._advance_to

    def count(self: tar_stream.TarStream, algorithm: str) -> None:
        begun[self.uri] += 1
        rewind(self, algorithm)

    def look(self: tar_stream.TarStream, name: str) -> bytes | None:
        nonlocal held
        found = advance(self, name)
        held = max(held, len(self._held))
        return found

    monkeypatch.setattr(tar_stream.TarStream, "_rewind", count)
    monkeypatch.setattr(tar_stream.TarStream, "_advance_to", look)
    files = SourceFiles(str(packed))
    found = sorted(rows(files, "bimcv", OPTIONS), key=lambda row: (row.path, row.position))
    subjects = {uri: passes for uri, passes in begun.items() if "subjects" in uri}
    assert set(subjects.values()) == {1}
    assert len(subjects) == 2
    places = {file.member: file.position for file in files}
    behind = 0
    for row in found:
        sidecar = sidecar_of(row)
        if sidecar is not None:
            assert sidecar.uri == f"{packed}/{row.path}"
            assert row.position == max(places[row.member], places[sidecar.member])
            behind += places[sidecar.member] > places[row.member]
    assert behind > 5
    begun.clear()
    held = 0
    wanted = [ref for row in found for ref in (FileRef(f"{packed}/{row.path}", row.member), sidecar_of(row)) if ref]
    with FileReader(2**22, dict.fromkeys(wanted)) as reader:
        for ref in dict.fromkeys(wanted):
            reader.read(ref)
    assert set(begun.values()) == {1}
    assert held <= 6


def test_listings_alone_give_the_same_labels(tree: Tree, listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loose, found = read(tree.root, NAMES_ALONE), read(listed)
    assert not list(listed.glob("*subjects*.tgz"))
    assert found.keys() == loose.keys()
    assert all(same_facts(found[name], loose[name]) for name in loose)
    assert "sidecars or lists of sessions cannot be read: their archive is not there" in capsys.readouterr().err
    for made in tree.radiographs:
        expected = None if made.case.study_date == "sidecar" else made.case.covid
        assert found[made.name].covid == expected, made.case.what
        assert found[made.name].sidecar is not None
        assert found[made.name].view_source in ("file name: acq", "file name: vp", "none")


def test_listings_alone_and_the_quality_sheet(tree: Tree, listed: Path, sheet: Path, tmp_path: Path) -> None:
    """The sheet stands in for the sidecars: the same views as with them, and the days that sessions lack."""
    shutil.copytree(listed, tmp_path, dirs_exist_ok=True)
    shutil.copy(sheet, tmp_path)
    found = {name: row for name, row in read(tmp_path).items() if row.member is not None}
    for made in tree.radiographs:
        assert (found[made.name].view is View.LATERAL) == (made.row["Position_Manual"] == "L")
        assert found[made.name].acquired_on == date.fromisoformat(made.row["Study Date"])
    assert len(read(tmp_path)) == 5_380


def test_a_head_archive_that_is_only_listed_is_named(
    tree: Tree, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(listed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "bimcv_covid19_posi_head_iter1.tgz").unlink()
    assert {row.covid for row in read(tmp_path).values()} == {None}
    assert (
        "sil_reg_covid_posi.tsv is in bimcv_covid19_posi_head_iter1.tgz, which is not there" in capsys.readouterr().err
    )


def test_a_truncated_archive_loses_no_row_of_its_listing(tree: Tree, packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path, dirs_exist_ok=True)
    archive = tmp_path / "bimcv_covid19_posi_subjects_2.tgz"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    whole, found = read(packed), read(tmp_path)
    assert found.keys() == whole.keys()
    assert found != whole


# What is odd


def test_an_image_that_nothing_describes_fails_rather_than_be_shown_inverted(tmp_path: Path) -> None:
    stray = "docs/figure.png"
    root = touch(tmp_path, IMAGE, stray, IMAGE.replace("sub-S1", "sub-S2"))
    touch(tmp_path, IMAGE.replace("sub-S1", "sub-S2").replace(".png", ".json"))
    found = read(root)
    assert (found[IMAGE].sidecar, found[IMAGE].excluded) == (None, Reason.BAD_SIDECAR)
    assert found[IMAGE].view is View.AP
    assert found[stray] == ManifestRow(path=stray, listed=False, excluded=Reason.BAD_SIDECAR)
    assert found[IMAGE.replace("sub-S1", "sub-S2")].excluded is None


@pytest.mark.parametrize("sidecar", ["", "no JSON", "[]", '{"00080020": {"vr": "DA", "Value": 20200320}}'])
def test_a_broken_sidecar_stays_referenced(tmp_path: Path, sidecar: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = touch(tmp_path, IMAGE)
    touch(tmp_path, IMAGE.replace(".png", ".json"), text=sidecar)
    row = read(root)[IMAGE]
    assert (row.sidecar, row.excluded) == (f"{root}/{IMAGE.replace('.png', '.json')}", None)
    assert (row.view, row.view_source, row.acquired_on) == (View.AP, "file name: vp", None)
    assert capsys.readouterr().err == f"{root}: 1 sidecars or lists of sessions are no DICOM JSON\n"


def test_a_huge_sidecar_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = touch(tmp_path, IMAGE)
    touch(tmp_path, IMAGE.replace(".png", ".json"), text=" " * (2**20 + 1))
    assert read(root)[IMAGE].sidecar is not None
    assert "longer than 1 MiB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("bp-chest_vp-ap_cr", {"00080060": ["CT"]}, (View.AP, Reason.WRONG_MODALITY)),
        ("bp-chest_vp-ap_cr", {"00080060": ["CR"]}, (View.AP, None)),
        ("bp-chest_vp-ap_cr", {"00080060": []}, (View.AP, None)),
        ("bp-chest_vp-ap_ct", {}, (View.UNKNOWN, Reason.WRONG_MODALITY)),
        ("bp-chest_seg", {}, (View.UNKNOWN, Reason.WRONG_MODALITY)),
        ("bp-abdomen_vp-ap_dx", {}, (View.AP, Reason.NOT_A_CHEST)),
        ("bp-abdomen_vp-ap_dx", {"0008103E": ["T\u00f3rax AP"]}, (View.AP, None)),
        ("bp-torax_vp-ap_dx", {}, (View.AP, None)),
        ("bp-skull_vp-ap_dx", {}, (View.AP, None)),
        ("bp-chest_vp-ll_dx", {"0008103E": ["Lateral"], "00080060": ["CT"]}, (View.LATERAL, Reason.LATERAL)),
    ],
)
def test_what_is_no_frontal_chest_radiograph(
    tmp_path: Path, name: str, tags: dict[str, list[str]], expected: tuple[View, Reason | None]
) -> None:
    image = f"sub-S1/ses-E1/mod-rx/sub-S1_ses-E1_run-1_{name}.png"
    touch(tmp_path, image)
    sidecar = json.dumps({tag: {"vr": "LO", "Value": value} for tag, value in tags.items()})
    touch(tmp_path, image.replace(".png", ".json"), text=sidecar)
    row = read(tmp_path)[image]
    assert (row.view, row.excluded) == expected
    assert row.site is None


def test_an_image_in_two_places_counts_once(tmp_path: Path) -> None:
    lateral = IMAGE.replace("vp-ap", "vp-ll")
    for name in (IMAGE, lateral):
        touch(tmp_path, f"iteration1/{name}", f"iteration1/{name.replace('.png', '.json')}", f"iteration12/{name}")
    found = read(tmp_path)
    assert [found[f"{copy}/{IMAGE}"].excluded for copy in ("iteration1", "iteration12")] == [None, Reason.DUPLICATE]
    assert {found[f"{copy}/{lateral}"].excluded for copy in ("iteration1", "iteration12")} == {Reason.LATERAL}


JSON = IMAGE.replace(".png", ".json")
LENDER = JSON.replace("run-1", "run-2")
OTHER_FOLDER = {name: name.replace("covid19_posi", "covid19_posi_1") for name in (IMAGE, JSON, LENDER)}


def copies(root: Path, *parts: tuple[str, dict[str, bytes]]) -> dict[str, ManifestRow]:
    """Archive -> the row of the image in it; `listed` archives are there as a listing alone."""
    sums = ""
    for name, files in parts:
        archives.write(root / name, files)
        if name.startswith("listed"):
            lines = (f"-rw-r--r-- u/g {len(data)} 2020-01-01 10:00 {member}\n" for member, data in files.items())
            (root / name.replace(".tgz", ".tar-tvf.txt")).write_text("".join(lines))
            (root / name).unlink()
            sums += f"{'0' * 40}  {name}\n"
    (root / "sha1sum.txt").write_text(sums)
    return {row.path: row for row in rows(SourceFiles(str(root)), "bimcv", OPTIONS)}


@pytest.mark.parametrize(
    ("one", "other", "best", "other_is"),
    [
        (("listed_1.tgz", [IMAGE, JSON]), ("part_2.tgz", [IMAGE, JSON]), "part_2.tgz", Reason.DUPLICATE),
        (("listed_1.tgz", [IMAGE, JSON]), ("part_2.tgz", [IMAGE, LENDER]), "part_2.tgz", Reason.DUPLICATE),
        (("part_1.tgz", [OTHER_FOLDER[IMAGE]]), ("part_2.tgz", [IMAGE, JSON]), "part_2.tgz", Reason.DUPLICATE),
        (("part_1.tgz", [OTHER_FOLDER[IMAGE]]), ("listed_2.tgz", [IMAGE, JSON]), "listed_2.tgz", Reason.BAD_SIDECAR),
        (
            ("part_1.tgz", [OTHER_FOLDER[IMAGE], OTHER_FOLDER[LENDER]]),
            ("part_2.tgz", [IMAGE, JSON]),
            "part_2.tgz",
            Reason.DUPLICATE,
        ),
        (("part_1.tgz", [IMAGE, JSON]), ("part_2.tgz", [IMAGE, JSON]), "part_1.tgz", Reason.DUPLICATE),
    ],
    ids=["at hand", "at hand, borrows", "has a sidecar", "has a sidecar, listed", "has its own", "the first"],
)
def test_the_copy_that_can_be_used_stands_for_the_image(
    tmp_path: Path, one: tuple[str, list[str]], other: tuple[str, list[str]], best: str, other_is: Reason
) -> None:
    found = copies(tmp_path, *((path, dict.fromkeys(names, b"{}")) for path, names in (one, other)))
    assert found.pop(best).excluded is None
    assert [row.excluded for row in found.values()] == [other_is]


def test_each_copy_has_the_sidecar_of_its_own_archive(tmp_path: Path) -> None:
    """Else the copy at hand would ask for a sidecar in an archive that is not there."""
    both = {IMAGE: b"", JSON: b"{}"}
    found = copies(tmp_path, ("listed_1.tgz", both), ("part_2.tgz", both), ("part_3.tgz", both))
    assert {path: sidecar_of(row) for path, row in found.items()} == {
        path: FileRef(f"{tmp_path}/{path}", JSON) for path in ("listed_1.tgz", "part_2.tgz", "part_3.tgz")
    }
    assert found["part_2.tgz"].excluded is None


def test_a_copy_of_which_nothing_can_be_read_stands_for_none(tmp_path: Path) -> None:
    both = {IMAGE: b"", JSON: b"{}"}
    for name in ("part_1.tgz", "part_2.tgz"):
        archives.write(tmp_path / name, both)
    files = SourceFiles(str(tmp_path))
    files.unusable["part_1.tgz", IMAGE] = Reason.UNREADABLE
    assert {row.path: row.excluded for row in rows(files, "bimcv", OPTIONS)} == {
        "part_1.tgz": Reason.DUPLICATE,
        "part_2.tgz": None,
    }


def test_a_flat_folder_of_images_keeps_patients_apart(tmp_path: Path) -> None:
    one, two, other = (f"flat/sub-S{s}_ses-E{s}_run-{r}_bp-chest_vp-ap_cr" for s, r in ((1, 1), (1, 2), (2, 1)))
    root = touch(tmp_path, f"{one}.png", f"{two}.png", f"{other}.png", f"{one}.json")
    found = read(root)
    assert found[f"{two}.png"].sidecar == f"{root}/{one}.json"
    assert (found[f"{other}.png"].sidecar, found[f"{other}.png"].excluded) == (None, Reason.BAD_SIDECAR)
    assert found[f"{other}.png"].patient_id == "bimcv/sub-S2"


def test_the_most_similar_sidecar_is_borrowed() -> None:
    image = "f/sub-S1_ses-E1_acq-1_run-1_bp-chest_vp-pa_dx.png"
    others = [
        "f/sub-S1_ses-E1_run-1_bp-chest_vp-ap_cr.json",
        "f/sub-S1_ses-E1_acq-1_run-1_bp-chest_vp-ll_dx.json",
        "f/sub-S1_ses-E1_acq-2_run-1_bp-chest_vp-pa_dx.json",
    ]
    assert sorted(others, key=lambda other: unlike(image, other)) == others[::-1]


def test_nothing_at_all_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "participants.tsv", text="participant\tage\tgender\n")
    with pytest.raises(
        ManifestError, match=r"expected images named sub-\*_ses-\*_\*\.png below .*, or the quality sheet"
    ):
        list(rows(SourceFiles(str(tmp_path)), "bimcv", OPTIONS))


def test_a_storage_that_refuses_is_no_reason_for_another_label(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileReader, ref: FileRef, at_most: int | None = None) -> bytes:
        raise DecodeError(Reason.UNREADABLE, "the storage refused the file: TimeoutError")

    monkeypatch.setattr(FileReader, "read", refuse)
    with pytest.raises(ManifestError, match="TimeoutError; try again"):
        list(rows(SourceFiles(str(tree.root)), "bimcv", OPTIONS))


def test_made_images_are_of_many_devices(tree: Tree) -> None:
    """What the tests above say of the tree, they say of a variety."""
    assert len({made.row["Manufacturer"] for made in tree.radiographs}) >= 10
    assert {made.row["Bits Stored"] for made in tree.radiographs} >= {"8", "12", "14", "15", "16"}
    assert isinstance(tree.radiographs[0], Made)
    assert tree.volumes
