"""A hospital's way round with a real PACS: screened from it, results stored back in it, read by other programs."""

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from comit_ray.data.images.frame import FrameMap
from comit_ray.data.masks.masks import from_png, to_original
from comit_ray.errors import StorageError
from comit_ray.storage import web
from comit_ray.tables import parquet
from tests.dicom.orthanc import PASSWORD, USER, Orthanc
from tests.dicom.support import CANARIES, read
from tests.dicom.ward import Ward
from tests.reading.screens import client, serving, write_queue

PHANTOMS = int(os.environ.get("COMIT_PACS_PHANTOMS") or 4)
"""Made radiographs, one of each encoding, beside the four real ones; 56 take a processor one and a half minutes."""
ALL = PHANTOMS + 4
SAME_UID = "Fake_MONOHR1.dcm"
"""A real file that bears the SOP instance UID of another one: a PACS holds one of them."""
FEW = ("RG1_J2KI.dcm", "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", "1.dcm", "2.dcm")
CHECKS = {"sr": "dsrdump", "gsps": "dcmpschk", "sc": "dcm2pnm"}


@pytest.fixture(scope="module")
def ward(pacs: Orthanc, cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMIT_DICOMWEB_USER", USER)
        patch.setenv("COMIT_DICOMWEB_PASSWORD", PASSWORD)
        patch.setenv("COMIT_ID_KEY", "a key for tests alone")
        real = [file for file in (cxr / "dicom").iterdir() if file.name != SAME_UID]
        made = Ward(Path(tmp_path_factory.mktemp("ward")), pacs, PHANTOMS, real)
        for name in ("files", "pacs"):
            made.screen(name)
        yield made


def scored(ward: Ward) -> list[str]:
    return [uid for uid, row in ward.rows("pacs", "predictions").items() if row["status"] == "ok"]


def test_a_screen_from_the_pacs_gives_the_rows_of_a_screen_from_disk(ward: Ward) -> None:
    from_disk, from_pacs = ward.rows("files", "predictions"), ward.rows("pacs", "predictions")
    assert len(from_disk) == ALL
    assert from_pacs.keys() == from_disk.keys()
    for uid, row in from_disk.items():
        for column, value in row.items():
            if column not in ("image_id", "run_id", "screened_at"):
                close = isinstance(value, float | list)
                expected = pytest.approx(value, abs=1e-6) if close and None not in np.ravel(value) else value
                assert from_pacs[uid][column] == expected, (uid, column)
    assert Counter(row["status"] for row in from_disk.values()) == {"ok": ALL - 2, "excluded": 2}
    masks = [{uid: row["lung_png"] for uid, row in ward.rows(name, "masks").items()} for name in ("files", "pacs")]
    assert masks[0] == masks[1]
    identities = [
        Counter(parquet.read_table(ward.manifests[name])["patient_id"].to_pylist()) for name in ("files", "pacs")
    ]
    assert identities[0] == identities[1], "the same keyed hashes"


def test_results_go_back_once_though_the_server_is_killed(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut that the job does not wait out, then one that it does: complete, none twice, nothing at the third."""
    before, images = ward.pacs.count(), scored(ward)

    def cut(at: int, away: float) -> threading.Thread:
        def work() -> None:
            while ward.pacs.count() < before + at:
                time.sleep(0.02)
            ward.pacs.stop(kill=True)
            time.sleep(away)
            ward.pacs.start()

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    monkeypatch.setenv("COMIT_DICOMWEB_PATIENCE", "0.2")
    outage = cut(8, 2)
    with pytest.raises(StorageError, match="gave no answer"):
        ward.export(dicomweb=ward.pacs.root)
    outage.join()
    some = ward.pacs.count() - before
    assert 8 <= some < 4 * len(images)

    monkeypatch.setenv("COMIT_DICOMWEB_PATIENCE", "30")
    outage = cut(some + 4, 1)
    counts = ward.export(dicomweb=ward.pacs.root)
    outage.join()
    rows = ward.exports()
    stored = [row for row in rows if row["status"] == "stored"]
    assert Counter(row["format"] for row in stored) == {"sr": ALL, **dict.fromkeys(("seg", "sc", "gsps"), len(images))}
    assert len({row["sop_instance_uid"] for row in stored}) == len(stored) == ward.pacs.count() - before
    assert counts.refused == 3 * (ALL - len(images)), "images without scores have no masks"
    assert all(row["answer"].startswith("not made: ") for row in rows if row["status"] == "refused")

    again = ward.export(dicomweb=ward.pacs.root, where="status = 'ok'")
    assert (again.done, again.stored, again.refused) == (4 * len(images), 0, 0)
    (ward.root / "from pacs" / "exports").rename(ward.root / "exports")
    lost = ward.export(dicomweb=ward.pacs.root, where="status = 'ok'", format="gsps")
    assert (lost.done, lost.stored) == (0, len(images)), "the rows were lost, the objects were not"
    assert {row["answer"] for row in ward.exports()} == {"was there"}
    assert ward.pacs.count() == before + len(stored)
    shutil.rmtree(ward.root / "from pacs" / "exports")
    (ward.root / "exports").rename(ward.root / "from pacs" / "exports")


def test_masks_come_back_bit_for_bit_in_the_geometry_of_the_original(ward: Ward) -> None:
    """Read by dicomweb-client and highdicom, which share no code with the export's transport."""
    from dicomweb_client.api import DICOMwebClient
    from dicomweb_client.session_utils import create_session_from_user_pass
    from highdicom.seg import Segmentation

    client = DICOMwebClient(ward.pacs.root, session=create_session_from_user_pass(USER, PASSWORD))
    masks, predictions = ward.rows("pacs", "masks"), ward.rows("pacs", "predictions")
    found = client.search_for_instances(search_filters={"Modality": "SEG"})
    assert len(found) == len(masks) == len(scored(ward))
    drawn = 0
    for answer in found:
        study, series, instance = (answer[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        seg = Segmentation.from_dataset(client.retrieve_instance(study, series, instance))
        source = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
        row, size = masks[source], (predictions[source]["height"], predictions[source]["width"])
        names = ("fit", "original_top", "original_left", "rows_per_pixel", "columns_per_pixel")
        frame_map = FrameMap(*(row[name] for name in names))
        assert (seg.Rows, seg.Columns, seg.NumberOfFrames) == (*size, 2)
        for frame, name in enumerate(("lung_png", "disease_png")):
            expected = to_original(from_png(row[name]), frame_map, *size)
            np.testing.assert_array_equal(seg.pixel_array[frame].astype(bool), expected)
            drawn += int(expected.any())
    assert drawn > 3


def test_objects_in_a_directory_pass_the_checks_of_other_programs(ward: Ward, tmp_path: Path) -> None:
    """dcmtk, pydicom and highdicom; of a real JPEG 2000 radiograph, a real one without a window, CR and DX phantoms."""
    few = [f"image_id LIKE '%{uid}'" for uid, name in ward.uids.items() if name in FEW]
    counts = ward.export(output=str(tmp_path), where=" OR ".join(few))
    assert (counts.stored, counts.refused) == (16, 0)
    if shutil.which("dsrdump") is None:
        pytest.skip("no dcmtk here: run .ci/packages")
    for form, program in CHECKS.items():
        for file in sorted((tmp_path / form).iterdir()):
            more = [str(tmp_path / "picture.ppm")] if form == "sc" else []
            done = subprocess.run([program, str(file), *more], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done
            errors = [line for line in done.stderr.splitlines() if line.startswith(("E:", "F:"))]
            assert not errors, errors
    for file in sorted(tmp_path.glob("*/*.dcm")):
        made = read(file.read_bytes())
        assert made.SOPInstanceUID == file.stem
        assert made.SeriesDescription.startswith("COMiT-Net research ")


def test_no_name_is_anywhere_but_in_the_objects(ward: Ward, capfd: pytest.CaptureFixture[str]) -> None:
    """Tables, exports, verdicts, events, what the reading room answers, and the words of errors."""
    ward.export(dicomweb=ward.pacs.root, format="seg,gsps")
    cut = ward.root / "files" / "3.dcm"
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])  # an error in a file whose header names the patient
    refused = ward.export("files", output=str(ward.root / "cut"), format="sc", where="image_id LIKE '%/3.dcm'")
    cut.write_bytes(whole)
    assert (refused.stored, refused.refused) == (0, 1)
    answers = read_in_the_room(str(ward.root / "from pacs"), ward.manifests["pacs"])
    for canary in (*CANARIES, "Jörg"):
        assert canary.encode() not in answers
    assert len(list((ward.root / "from pacs" / "events").rglob("*.json"))) >= 3
    files = [file for file in ward.root.rglob("*") if file.is_file() and file.parent.name != "files"]
    assert len(files) > 16
    said = "".join(capfd.readouterr())
    for file in files:
        text = file.read_bytes()
        if file.suffix == ".parquet":
            text += str(parquet.read_part(str(file)).to_pylist()).encode()
        for canary in (*CANARIES, "Jörg"):
            assert canary.encode() not in text, f"{canary} in {file}"
            assert canary not in said
    held = web.search(ward.pacs.root, "instances", {"PatientID": CANARIES[1], "Modality": "SEG"})
    assert any(CANARIES[0] in str(one) for one in held), "where they belong"


def read_in_the_room(results: str, manifest: str) -> bytes:
    """A verdict in the reading room on an image that lies in the PACS; all that the server answered."""
    write_queue(results, manifest)
    with serving(results, manifest=manifest) as (room, port):
        anna = client(results, port)
        image_id = next(one.image_id for one in room.screen.cases.values() if one.queued["status"] == "ok")
        asked = [anna.ask(f"/api/{name}?id={image_id}") for name in ("list", "case", "picture", "values")]
        asked += [anna.ask("/api/shown", {"image_id": image_id}), anna.ask("/api/picture?id=x")]
        assert [status for status, _, _ in asked] == [200] * 5 + [404]
        assert anna.judge(image_id)["revision"] == 1
    return b"".join(str(headers).encode() + body for _, headers, body in asked)


def test_what_the_pacs_lost_is_a_failed_row(ward: Ward) -> None:
    lost = next(uid for uid, name in ward.uids.items() if name == "0.dcm")
    ward.forget(lost)
    (ward.root / "from pacs").rename(ward.root / "earlier")
    ward.screen("pacs")
    row = ward.rows("pacs", "predictions")[lost]
    assert (row["status"], row["reason"]) == ("failed", "missing")
    assert len(ward.rows("pacs", "predictions")) == ALL


def test_what_was_exported_can_be_removed_by_its_series_description(ward: Ward) -> None:
    """As docs/pacs.md has it: the radiographs stay, nothing else does."""
    ward.export(dicomweb=ward.pacs.root, format="sr", where="status = 'ok'")
    sources = set(ward.uids)
    found = ward.pacs.series("COMiT-Net research*")
    assert len(found) > len(sources)
    for series in found:
        ward.pacs.delete(f"/series/{series}")
    left = {one["MainDicomTags"]["SOPInstanceUID"] for one in ward.pacs.get("/instances?expand")}
    assert left <= sources
    assert len(sources - left) == 1, "what the PACS lost before"
