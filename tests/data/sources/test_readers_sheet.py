import io
from pathlib import Path

import pytest
from openpyxl import Workbook

from comit_ray.data.sources.readers import read_sheet
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError


def workbook(*lines: tuple[str | int | None, ...]) -> bytes:
    book = Workbook()
    for line in lines:
        book.worksheets[0].append(line)
    book.create_sheet("second").append(("not", "this"))
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def read(root: Path, data: bytes) -> tuple[list[str], list[list[str]]]:
    (root / "a.xlsx").write_bytes(data)
    files = SourceFiles(str(root))
    return read_sheet(files, files.table(r".*", "sheet"))


def test_cells_are_text_and_rows_are_filled(tmp_path: Path) -> None:
    data = workbook((" FILE NAME ", "SIZE", "URL"), ("COVID-1", 256, None), (), ("COVID-2",))
    assert read(tmp_path, data) == (["FILE NAME", "SIZE", "URL"], [["COVID-1", "256", ""], ["COVID-2", "", ""]])


@pytest.mark.parametrize("data", [b"", b"FILE NAME,URL\n", workbook(("a",))[:200]])
def test_what_is_no_workbook_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"expected an Excel workbook .* at .*/a\.xlsx"):
        read(tmp_path, data)


def test_an_empty_sheet_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected a header line in .*/a\.xlsx, got an empty sheet"):
        read(tmp_path, workbook())
