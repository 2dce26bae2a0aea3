from pathlib import Path

from comit_ray.screening import folder_guide
from comit_ray.screening.results_folder import _SPREADSHEET
from comit_ray.tables.schema import SCREENED_IMAGES, UNREAD


def test_every_column_that_it_explains_is_in_a_table() -> None:
    known = {*_SPREADSHEET.names, *UNREAD.names, *SCREENED_IMAGES.names}
    assert set(folder_guide.COLUMNS) <= known


def test_lines_fit_a_window_and_every_column_begins_one() -> None:
    lines = folder_guide.text().splitlines()
    assert max(map(len, lines)) <= 104
    assert {line.split()[0] for line in lines if line[:1].strip()} >= set(folder_guide.COLUMNS)


def test_it_is_written_once(tmp_path: Path) -> None:
    folder_guide.write(str(tmp_path))
    path = tmp_path / "README.txt"
    assert "not for diagnosis" in path.read_text()
    before = path.stat().st_mtime_ns
    folder_guide.write(str(tmp_path))
    assert path.stat().st_mtime_ns == before
