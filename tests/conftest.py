"""Fixtures that every test may use: real radiographs where they are, and a Ray that the session starts and ends."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def cxr() -> Path:
    """Root of the real radiographs (`COMIT_TEST_DATA`, else `../shared/cxr`); skips where they are absent."""
    root = Path(os.environ.get("COMIT_TEST_DATA") or REPOSITORY.parent / "shared" / "cxr").resolve()
    if not root.is_dir():
        pytest.skip(f"no real radiographs at {root}: set COMIT_TEST_DATA to their directory")
    return root


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray of two CPUs for the whole test session."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
