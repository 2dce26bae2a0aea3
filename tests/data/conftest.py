"""Whole label tables of public datasets, read once for all tests that look at them: each takes seconds."""

from pathlib import Path

import pyarrow as pa
import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest_build import read_source
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter


def _read(cxr: Path, source: str, folder: str) -> pa.Table:
    return read_source(adapter(source), SourceFiles(str(cxr / folder)), source, SourceOptions()).table


@pytest.fixture(scope="session")
def whole_nih(cxr: Path) -> pa.Table:
    """The manifest rows of the 112,120 images of NIH ChestX-ray14, of which 1,000 are at hand."""
    return _read(cxr, "nih", "nih_chestxray14")


@pytest.fixture(scope="session")
def whole_chexpert(cxr: Path) -> pa.Table:
    """The manifest rows of CheXpert's 223,414 training images."""
    return _read(cxr, "chexpert", "chexpert")
