from pathlib import Path

from comit_ray.data.sources.images import rows
from comit_ray.data.sources.row import ManifestRow


def test_images_of_any_case_sorted_and_nothing_else(tmp_path: Path) -> None:
    for path in ("b/x.PNG", "b/y.jpeg", "a.JPG", "notes.txt", "b/.hidden.png", "c.dcm"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert list(rows(str(tmp_path), "mine")) == [ManifestRow(path=path) for path in ("a.JPG", "b/x.PNG", "b/y.jpeg")]
