"""The set-up passes pip's settings on to uv, and asks pip where uv cannot install."""

import importlib.util
import subprocess
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY

LISTED = r"""
:env:.default-timeout='180'
:env:.find-links='/wheels'
global.cert='/etc/ssl/own.crt'
global.disable-pip-version-check='1'
global.extra-index-url='\nfile:///one/simple\nfile:///two/simple'
global.find-links='/other'
global.index-url='https://mirror.example/it%27s/simple?a=b'
freeze.timeout='10'
"""


@pytest.fixture(scope="module")
def install() -> ModuleType:
    """The script `.ci/install.py`, as a module."""
    spec = importlib.util.spec_from_file_location("install", REPOSITORY / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_uv_looks_where_pip_would(install: ModuleType) -> None:
    assert install.uv_variables(LISTED) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/it%27s/simple?a=b",
        "UV_INDEX": "file:///one/simple file:///two/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels",
        "SSL_CERT_FILE": "/etc/ssl/own.crt",
        "UV_HTTP_TIMEOUT": "180",
    }
    assert install.uv_variables("") == {}


@pytest.mark.parametrize(
    ("failing", "asked", "status"),
    [
        ((), ["uv", "."], 0),
        (("uv",), ["uv", "."], 0),
        (("uv pip",), ["uv", ".", "."], 0),
        (("uv", "."), ["uv", "."], 1),
    ],
    ids=["both install", "no uv", "uv cannot", "nothing can"],
)
def test_pip_installs_what_uv_cannot(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...], asked: list[str], status: int
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        if command[-1] == "list":
            return subprocess.CompletedProcess(command, 0, "")
        commands.append(command)
        refused = (command[-1] in failing) or ("uv pip" in failing and command[2:4] == ["uv", "pip"])
        return subprocess.CompletedProcess(command, int(refused), "")

    monkeypatch.setattr(subprocess, "run", run)
    assert install.main(["."]) == status
    assert [command[-1] for command in commands] == asked


def test_the_makefile_installs_by_it() -> None:
    assert "pip install" not in (REPOSITORY / "Makefile").read_text()
