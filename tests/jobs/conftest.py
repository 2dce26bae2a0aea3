"""Tests of jobs that need a Ray are told from those that do not: `make test` runs only the others side by side."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.chunks.one_process import chunks_here
from tests.data.small_phantoms import small_phantoms


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `ray` what uses the session's Ray, directly or by a fixture."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)


@pytest.fixture
def here() -> Iterator[None]:
    """Screens of the test run in this process, without Ray."""
    with chunks_here():
        yield


@pytest.fixture(name="small_phantoms")
def _small_phantoms() -> Iterator[None]:
    """Phantoms of an archive have a third of their sides, and take a fifth of the time to draw."""
    with small_phantoms():
        yield


@pytest.fixture
def joining(ray_session: Path) -> dict[str, str]:
    """The environment of a job's own process that joins the session's Ray, and does not start one of its own."""
    return os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
