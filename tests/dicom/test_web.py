"""DICOMweb against a server that answers as it is told to, bad answers too."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from comit_ray.config.source_config import DicomwebOptions, SourceOptions
from comit_ray.data.sources import dicomweb
from comit_ray.data.sources.dicom_files import pseudonym
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.dicom.destination import Pace, Pacs, failures
from comit_ray.errors import ConfigError, DecodeError, ManifestError, NotFoundError, Reason, StorageError
from comit_ray.storage import storage, web
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables.vocabulary import View

Answer = tuple[int, dict[str, str], bytes]
SECRET = "MRN-471147"
PATH = "studies/1.2/series/3.4/instances/5.6"


@dataclass
class Server:
    """Where it is, what it is asked, and what it answers: the last answer again and again."""

    root: str
    answers: list[Answer | Callable[[str], Answer]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def next(self, path: str) -> Answer:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(path) if callable(answer) else answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.asked.append((self.command, self.path, dict(self.headers)))
            status, headers, body = told.next(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(web, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("COMIT_DICOMWEB_PATIENCE", "0.5")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        told = Server(f"http://127.0.0.1:{listening.server_port}/dicom-web")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield told
        listening.shutdown()


def multipart(*parts: bytes) -> Answer:
    body = b"".join(b"\r\n--xyz\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts) + b"\r\n--xyz--"
    return 200, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=xyz'}, body


def found(**values: Any) -> dict[str, Any]:
    """A search result for one instance."""
    tags = {
        "StudyInstanceUID": ("0020000D", "UI"),
        "SeriesInstanceUID": ("0020000E", "UI"),
        "SOPInstanceUID": ("00080018", "UI"),
        "PatientID": ("00100020", "LO"),
        "Modality": ("00080060", "CS"),
        "ViewPosition": ("00185101", "CS"),
        "PatientAge": ("00101010", "AS"),
        "StudyDate": ("00080020", "DA"),
    }
    known = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "3.4", "SOPInstanceUID": "5.6"} | values
    return {tags[name][0]: {"vr": tags[name][1], "Value": [value]} for name, value in known.items()}


def listed(*results: dict[str, Any]) -> Answer:
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps(results).encode()


def test_bytes_of_an_instance_come_through_the_same_door_as_files(server: Server) -> None:
    data = bytes(range(256)) * 100 + b"\r\n--xy"
    server.answers = [multipart(data)]
    uri = f"{server.root}/{PATH}"
    assert storage.read_bytes(uri) == data
    assert storage.read_bytes(uri, at_most=10) == data[:10]
    with FileReader(1000) as reader:
        assert reader.read(FileRef(uri)) == data[:1001], "one byte more, so that the caller sees that it is too large"
    assert server.asked[0][2]["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, Reason.MISSING), (410, Reason.MISSING), (401, Reason.UNREADABLE), (403, Reason.UNREADABLE)],
)
def test_what_is_gone_or_refused_is_a_reason_and_is_asked_for_once(server: Server, status: int, reason: Reason) -> None:
    server.answers = [(status, {}, SECRET.encode())]
    with FileReader(1000) as reader, pytest.raises(DecodeError) as caught:
        reader.read(FileRef(f"{server.root}/{PATH}"))
    assert caught.value.reason is reason
    assert SECRET not in str(caught.value)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_and_an_absent_one_not_for_ever(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [(503, {}, b""), (429, {"Retry-After": "0"}, b""), multipart(b"data")]
    assert web.read_instance(f"{server.root}/{PATH}") == b"data"
    assert len(server.asked) == 3
    server.answers = [(503, {}, SECRET.encode())]
    with pytest.raises(StorageError, match="answered 503"):
        web.read_instance(f"{server.root}/{PATH}")
    monkeypatch.setenv("COMIT_DICOMWEB_PATIENCE", "0.05")
    with pytest.raises(StorageError, match="gave no answer: ConnectionError") as caught:
        web.read_instance("http://127.0.0.1:9/dicom-web/studies/1.2.3")
    assert "1.2.3" not in str(caught.value)


def test_who_we_are_comes_from_the_environment_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [listed()]
    monkeypatch.setenv("COMIT_DICOMWEB_USER", "me")
    monkeypatch.setenv("COMIT_DICOMWEB_PASSWORD", "secret")
    list(web.search(server.root, "instances", {}))
    monkeypatch.setenv("COMIT_DICOMWEB_TOKEN", "tok")
    list(web.search(server.root, "instances", {}))
    assert [headers["Authorization"] for _, _, headers in server.asked] == ["Basic bWU6c2VjcmV0", "Bearer tok"]
    for url in ("https://me:secret@pacs.example/dicom-web", "https://pacs.example/dicom-web?token=secret"):
        with pytest.raises(ConfigError) as caught:
            storage.normalise(url)
        assert "secret" not in str(caught.value)


def test_a_search_is_read_page_by_page(server: Server) -> None:
    results = [found(SOPInstanceUID=f"5.{number}") for number in range(5)]

    def page(path: str) -> Answer:
        at = int(path.rpartition("offset=")[2])
        return listed(*results[at : at + 2])

    server.answers = [page]
    assert list(web.search(server.root, "instances", {"Modality": "CR"}, ["PatientID"], page=2)) == results
    assert len(server.asked) == 3
    assert "/instances?Modality=CR&includefield=PatientID&limit=2&offset=4" in server.asked[-1][1]
    server.answers = [(204, {}, b"")]
    assert list(web.search(server.root, "instances", {})) == []
    server.answers = [(200, {}, b"<html>")]
    with pytest.raises(StorageError, match="gave no answer"):
        list(web.search(server.root, "instances", {}))


def test_rows_of_a_pacs_hold_hashes_and_facts(server: Server) -> None:
    first = found(PatientID=SECRET, Modality="CR", ViewPosition="AP", PatientAge="061Y", StudyDate="20261101")
    other = found(SOPInstanceUID="5.1", PatientID=SECRET, Modality="CR", ViewPosition="LL")
    server.answers = [listed(first, other, first), listed()]
    rows = list(adapter("dicomweb")(SourceFiles(server.root), "pacs", SourceOptions()))
    assert [row.path for row in rows] == ["studies/1.2/series/3.4/instances/5.1", PATH], "sorted, and each once"
    lateral, frontal = rows
    assert (frontal.view, frontal.age, frontal.acquired_on, frontal.excluded) == (View.AP, 61, date(2026, 11, 1), None)
    assert lateral.excluded is Reason.LATERAL
    key = b"a key for tests alone"
    assert {row.patient_id for row in rows} == {pseudonym(SECRET, key, "patient")}
    assert {row.study_id for row in rows} == {pseudonym("1.2", key, "study")}
    assert SECRET not in repr(rows)


def test_answers_that_name_no_instance_are_an_error_and_no_row(server: Server) -> None:
    for answer in ({}, {"00080018": {"vr": "UI"}}, {"zzz": 1}):
        server.answers = [listed(answer)]
        with pytest.raises(ManifestError, match="gave a search result"):
            list(adapter("dicomweb")(SourceFiles(server.root), "pacs", SourceOptions()))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"since": "2d"}, "20261129-"), ({"since": "20261101"}, "20261101-"), ({"study_date": "20260101-20260131"},) * 2],
)
def test_study_dates(options: dict[str, str], expected: Any) -> None:
    today = date(2026, 12, 1)
    wanted = options["study_date"] if isinstance(expected, dict) else expected
    filters = list(dicomweb._filters(DicomwebOptions(**options, body_part="CHEST"), today))
    assert filters == [{"Modality": name, "StudyDate": wanted, "BodyPartExamined": "CHEST"} for name in ("CR", "DX")]


@pytest.mark.parametrize("options", [{"since": "yesterday"}, {"since": "2d", "study_date": "20261101"}])
def test_dates_that_are_none_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"dicomweb\.since"):
        list(dicomweb._filters(DicomwebOptions(**options), date(2026, 12, 1)))


def test_failures_count_by_their_items() -> None:
    item = {"00081155": {"vr": "UI", "Value": ["5.6"]}, "00081197": {"vr": "US", "Value": [0x0122]}}
    assert failures(json.dumps({"00081198": {"vr": "SQ"}})) == {}
    assert failures(json.dumps({"00081198": {"vr": "SQ", "Value": [item]}})) == {
        "5.6": "SOP class not supported 0x0122"
    }
    assert failures("<html>no</html>") == failures("[]") == {}


def test_a_servers_200_is_not_believed(server: Server) -> None:
    """It says yes and stores nothing, as an old one did with chunked requests: refused. The words name nobody."""
    from tests.dicom.test_destination import made

    one = made(SECRET)

    def answer(path: str) -> Answer:
        return listed() if "/instances?" in path else (200, {}, f"stored, {SECRET}".encode())

    server.answers = [answer]
    assert Pacs(server.root, Pace(None)).put([one]) == [("refused", "200")]
    server.answers = [lambda path: listed() if "/instances?" in path else (409, {}, f"no, {SECRET}".encode())]
    assert Pacs(server.root, Pace(None)).put([one]) == [("refused", "409 no, [removed]")]
    posted = [headers for method, _, headers in server.asked if method == "POST"]
    assert all("Content-Length" in headers and "Transfer-Encoding" not in headers for headers in posted)


def test_links_to_the_sites_viewer() -> None:
    template = "https://viewer.example/viewer?StudyInstanceUIDs={study}"
    assert web.viewer_link(template, f"https://pacs.example/{PATH}") == template.replace("{study}", "1.2")
    assert web.viewer_link(template, "s3://bucket/studies/1.2/a.dcm") is None
    with pytest.raises(ConfigError, match="study"):
        web.viewer_link("https://viewer.example/", "x")


def test_a_server_has_no_files_to_list_or_write(server: Server) -> None:
    assert len(SourceFiles(server.root)) == 0
    with pytest.raises(StorageError, match="got that of a DICOMweb server"):
        storage.write_bytes(f"{server.root}/x", b"")
    server.answers = [(404, {}, b"")]
    with pytest.raises(NotFoundError):
        list(web.search(server.root, "instances", {}))
