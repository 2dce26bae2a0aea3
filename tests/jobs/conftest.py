"""Tests of jobs that need a Ray are told from those that do not: `make test` runs only the others side by side."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chunks.one_process import chunks_here


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
