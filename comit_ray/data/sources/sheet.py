"""The first sheet of an Excel workbook, read as a table of text."""

import io

from openpyxl import load_workbook

from comit_ray.data.images.radiograph import library_edge
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import DecodeError, ManifestError


def read_sheet(files: SourceFiles, file: SourceFile) -> tuple[list[str], list[list[str]]]:
    """The header of the first sheet and its rows, cells as stripped text; a row without any cell is left out.

    Raises:
        ManifestError: if the file is no Excel workbook, or its first sheet is empty.
    """
    data = files.read(file)
    try:
        with library_edge():
            sheet = load_workbook(io.BytesIO(data), read_only=True, data_only=True).worksheets[0]
            sheet.reset_dimensions()  # some writers state a size that is too small, and the rest would be left out
            lines = [
                ["" if cell is None else str(cell).strip() for cell in row] for row in sheet.iter_rows(values_only=True)
            ]
    except DecodeError as error:
        raise ManifestError(f"expected an Excel workbook (.xlsx) at {files.reference(file)}: {error.detail}") from error
    lines = [line for line in lines if any(line)]
    if not lines:
        raise ManifestError(f"expected a header line in {files.reference(file)}, got an empty sheet")
    header, *rest = lines
    return header, [line + [""] * (len(header) - len(line)) for line in rest]
