"""A real PACS for tests: Orthanc from Debian with its DICOMweb plugin, on free ports of this machine."""

import json
import shutil
import socket
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "comit", "a password for tests alone"
START_S = 120


class Orthanc:
    """One server; `stop` and `start` keep what it stores.

    Args:
        directory: for its files.
        authenticate: whether it wants `USER` and `PASSWORD`.
        base: settings that those of the tests are put over.

    Attributes:
        root: URL of its DICOMweb.
        log: its log and answers, for a look when a test fails.
    """

    def __init__(self, directory: Path, *, authenticate: bool = True, base: dict[str, Any] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._web, self._dicom = _free_ports(2)
        self.root = f"http://127.0.0.1:{self._web}/dicom-web"
        self.log = directory / "orthanc.log"
        self._settings = directory / "orthanc.json"
        settings = (base or {}) | {
            "Name": "comit-ray tests",
            "StorageDirectory": str(directory / "storage"),
            "IndexDirectory": str(directory / "storage"),
            "HttpPort": self._web,
            "DicomPort": self._dicom,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": authenticate,
            "RegisteredUsers": {USER: PASSWORD},
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "OverwriteInstances": False,
        }
        self._settings.write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(["Orthanc", str(self._settings)], stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while True:
            try:
                self.get("/system")
                return
            except (URLError, OSError):
                if time.monotonic() > until or self._process.poll() is not None:
                    raise RuntimeError(f"Orthanc did not start:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.1)

    def stop(self, *, kill: bool = False) -> None:
        """End it, or kill it as a power cut does."""
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(30)
            self._process = None

    def get(self, path: str) -> Any:
        """An answer of its own interface, which is not DICOMweb."""
        return json.loads(self._ask("GET", path))

    def delete(self, path: str) -> None:
        """Remove a resource by its own interface."""
        self._ask("DELETE", path)

    def series(self, description: str) -> list[str]:
        """Series whose description matches, as ids of its own."""
        query = {"Level": "Series", "Query": {"SeriesDescription": description}}
        return [str(one) for one in json.loads(self._ask("POST", "/tools/find", json.dumps(query).encode()))]

    def put(self, data: bytes) -> str:
        """Store an instance by its own interface; its id there."""
        return str(json.loads(self._ask("POST", "/instances", data))["ID"])

    def count(self) -> int:
        """Instances it holds."""
        return int(self.get("/statistics")["CountInstances"])

    def _ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        token = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = Request(
            f"http://127.0.0.1:{self._web}{path}", data, {"Authorization": f"Basic {token}"}, method=method
        )
        with urlopen(request, timeout=30) as answer:
            return bytes(answer.read())


def skip_without() -> None:
    """Skips the test where there is no Orthanc."""
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("no Orthanc with DICOMweb here: run .ci/packages (Debian: orthanc orthanc-dicomweb dcmtk)")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
