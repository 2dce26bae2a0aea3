"""Fixtures: a PACS of the test module's own, and who we are to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dicom.orthanc import PASSWORD, USER, Orthanc, skip_without


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A running Orthanc, empty at first; skips where there is none."""
    skip_without()
    server = Orthanc(Path(tmp_path_factory.mktemp("orthanc")))
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of us, and a patience that a failing test can bear."""
    monkeypatch.setenv("COMIT_DICOMWEB_USER", USER)
    monkeypatch.setenv("COMIT_DICOMWEB_PASSWORD", PASSWORD)
    monkeypatch.setenv("COMIT_DICOMWEB_PATIENCE", "20")
    monkeypatch.setenv("COMIT_ID_KEY", "a key for tests alone")
