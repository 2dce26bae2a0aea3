"""The ready configuration of Orthanc: it starts, lets nobody in without a password, takes nothing from strangers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from comit_ray.storage import web
from tests.cluster.manifests import CLUSTER
from tests.dicom.orthanc import PASSWORD, USER, Orthanc, skip_without
from tests.dicom.support import radiograph, read

READY: dict[str, Any] = json.loads((CLUSTER / "orthanc.json").read_text())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orthanc]:
    """With its own ports and directories, and without the certificate that a site brings."""
    skip_without()
    monkeypatch.setenv("COMIT_DICOMWEB_USER", USER)
    monkeypatch.setenv("COMIT_DICOMWEB_PASSWORD", PASSWORD)
    orthanc = Orthanc(tmp_path, base=READY | {"SslEnabled": False})
    orthanc.start()
    yield orthanc
    orthanc.stop()


def test_it_starts_and_answers_those_it_knows(server: Orthanc) -> None:
    data = radiograph()
    assert web.store(server.root, str(read(data).StudyInstanceUID), [data])[0] == 200
    assert len(list(web.search(server.root, "instances", {"Modality": "CR"}))) == 1
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{server.root}/instances", timeout=60)


def test_it_is_closed_unless_a_site_opens_it() -> None:
    assert READY["AuthenticationEnabled"]
    assert READY["SslEnabled"]
    assert READY["RegisteredUsers"] == {}
    assert READY["DicomCheckModalityHost"]
    assert not READY["DicomAlwaysAllowStore"]
    assert not READY["ExecuteLuaEnabled"]
    assert not READY["OverwriteInstances"]
