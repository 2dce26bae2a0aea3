from pathlib import Path

import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.image_files import rows
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError

OPTIONS = SourceOptions()


def test_images_of_any_case_sorted_and_nothing_else(tmp_path: Path) -> None:
    for path in ("b/x.PNG", "b/y.jpeg", "a.JPG", "notes.txt", "b/.hidden.png", "c.dcm"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert list(rows(SourceFiles(str(tmp_path)), "mine", OPTIONS)) == [
        ManifestRow(path=path) for path in ("a.JPG", "b/x.PNG", "b/y.jpeg")
    ]


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_masks_are_those_of_their_images_and_no_radiographs(tmp_path: Path) -> None:
    root = str(tmp_path)
    touch(tmp_path, "a/x.png", "b/y.v2.jpeg", "b/z.png", "deep/lung_masks/w.png")
    touch(tmp_path, "lung_masks/x.png", "disease_masks/y.v2.png", "annotations/lung_masks/y.v2.png")
    touch(tmp_path, "lung_masks/nobody.png", "annotations/disease_masks/preview.jpg")
    assert list(rows(SourceFiles(root), "mine", OPTIONS)) == [
        ManifestRow(path="a/x.png", lung_mask=f"{root}/lung_masks/x.png"),
        ManifestRow(
            path="b/y.v2.jpeg",
            lung_mask=f"{root}/annotations/lung_masks/y.v2.png",
            disease_mask=f"{root}/disease_masks/y.v2.png",
        ),
        ManifestRow(path="b/z.png"),
        ManifestRow(path="deep/lung_masks/w.png"),
    ]


def test_a_mask_that_may_be_of_two_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png", "b/x.jpg")
    assert len(list(rows(SourceFiles(str(tmp_path)), "mine", OPTIONS))) == 2
    touch(tmp_path, "disease_masks/x.png")
    with pytest.raises(
        ManifestError, match=r"one image of the mask disease_masks/x\.png in .*, got a/x\.png and b/x\.jpg"
    ):
        list(rows(SourceFiles(str(tmp_path)), "mine", OPTIONS))


def test_two_masks_of_an_image_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png", "lung_masks/x.png", "annotations/lung_masks/x.png")
    with pytest.raises(
        ManifestError, match=r"one mask of a/x\.png in .*, got lung_masks/x\.png and annotations/lung_m"
    ):
        list(rows(SourceFiles(str(tmp_path)), "mine", OPTIONS))
