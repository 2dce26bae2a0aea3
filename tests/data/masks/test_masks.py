import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images.frame import frame_map
from comit_ray.data.masks.mask_images import IGNORE, Mask
from comit_ray.data.masks.mask_references import (
    boxes_reference,
    pasted_reference,
    polygons_reference,
    rle_reference,
    siim_reference,
)
from comit_ray.data.masks.masks import draw_mask, fit_mask, from_png, needs_no_file, read_mask, to_original, to_png
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileReader, FileRef

STRETCH = FrameConfig(size=64)
LETTERBOX = FrameConfig(size=64, fit="letterbox")


def save(path: Path, pixels_HW: Mask) -> str:
    Image.fromarray(pixels_HW).save(path)
    return str(path)


def rectangle(height: int, width: int, top: int, left: int, bottom: int, right: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def test_boxes_are_filled_as_a_union_in_their_own_frame() -> None:
    """Boxes in the 1024 frame on a radiograph of 320 px: 1024 / 64 = 16 box pixels a frame pixel."""
    reference = boxes_reference([(160, 320, 320, 160), (400, 400, 160, 160)], 1024, 1024)
    mask = read_mask(reference, STRETCH, 320, 320)
    expected = np.zeros((64, 64), np.uint8)
    expected[20:30, 10:30] = 1
    expected[25:35, 25:35] = 1
    assert mask.dtype == np.uint8
    assert (mask == expected).all()


@pytest.mark.parametrize("frame", [STRETCH, LETTERBOX])
@pytest.mark.parametrize(("height", "width"), [(400, 400), (300, 400), (800, 500)])
def test_boxes_and_the_same_mask_image_agree(tmp_path: Path, frame: FrameConfig, height: int, width: int) -> None:
    image = save(tmp_path / "mask.png", rectangle(height, width, 50, 100, 250, 300))
    boxes = boxes_reference([(100, 50, 200, 200)], height, width)
    drawn, filled = (read_mask(reference, frame, height, width) for reference in (image, boxes))
    differing = np.count_nonzero(drawn != filled)
    assert drawn.sum() > 100
    assert differing <= 0.12 * drawn.sum(), f"{differing} of {drawn.sum()} pixels: more than a rim"


def test_letterbox_moves_boxes_with_the_radiograph() -> None:
    """200 x 100 px fill rows 0..64 and columns 16..48 of the frame."""
    mask = read_mask(boxes_reference([(0, 0, 100, 200)], 200, 100), LETTERBOX, 200, 100)
    assert mask[:, 16:48].all()
    assert not mask[:, :16].any()
    assert not mask[:, 48:].any()


def test_a_tiny_box_does_not_vanish_and_one_at_the_rim_stays_inside() -> None:
    for box in ((500.0, 500.0, 1.0, 1.0), (1023.0, 1023.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)):
        assert read_mask(boxes_reference([box], 1024, 1024), STRETCH, 320, 320).sum() == 1, box


def test_grey_levels_become_background_inside_and_ignore(tmp_path: Path) -> None:
    levels = np.repeat(np.array([0, 127, 128, 255], np.uint8), 16)
    mask = read_mask(save(tmp_path / "mask.png", np.tile(levels, (64, 1))), STRETCH, 64, 64)
    assert (mask[0] == np.repeat(np.array([0, IGNORE, IGNORE, 1]), 16)).all()


def test_masks_coded_with_one_are_masks(tmp_path: Path) -> None:
    mask = read_mask(save(tmp_path / "mask.png", rectangle(64, 64, 0, 0, 32, 64) // 255), STRETCH, 64, 64)
    assert mask[:32].all()
    assert not mask[32:].any()


@pytest.mark.parametrize("levels", [(0, 1, 2), (0, 2), (0, 3, 63), (0, 38, 75), (0, 100)])
def test_a_map_of_several_labels_is_refused(tmp_path: Path, levels: tuple[int, ...]) -> None:
    """Right lung 1 and left lung 2 would be background: a lung mask that says there is no lung."""
    pixels = np.resize(np.array(levels, np.uint8), (64, 64))
    came = ", ".join(map(str, levels))
    with pytest.raises(ManifestError, match=rf"expected 0 and 255, or 0 and 1, .*mask\.png, got values {came}: write"):
        read_mask(save(tmp_path / "mask.png", pixels), STRETCH, 64, 64)


def test_masks_without_inside_are_masks(tmp_path: Path) -> None:
    pixels = rectangle(64, 64, 0, 0, 32, 64) // 2
    mask = read_mask(save(tmp_path / "mask.png", pixels), STRETCH, 64, 64)
    assert (mask[:32] == IGNORE).all()
    assert not mask[32:].any()
    assert not read_mask(save(tmp_path / "empty.png", pixels * 0), STRETCH, 64, 64).any()


def test_the_noise_of_jpeg_does_no_harm(tmp_path: Path) -> None:
    drawn = np.zeros((128, 128), np.uint8)
    y, x = np.mgrid[:128, :128]
    drawn[(y - 60) ** 2 + (x - 60) ** 2 < 40**2] = 255
    reference = save(tmp_path / "mask.jpg", drawn)
    with Image.open(reference) as image:
        assert len(set(np.unique(np.asarray(image))) & set(range(1, 20))) > 5, "no noise near 0: nothing is tested"
    mask = read_mask(reference, STRETCH, 128, 128)
    assert (mask == 1).sum() == pytest.approx((drawn == 255).sum() / 4, rel=0.05)
    assert (mask == IGNORE).mean() < 0.01


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA"])
def test_masks_in_other_modes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(rectangle(64, 64, 0, 0, 32, 64)).convert(mode)
    image.save(tmp_path / "mask.png")
    assert read_mask(str(tmp_path / "mask.png"), STRETCH, 64, 64).sum() == 32 * 64


def test_a_mask_of_another_size_is_stretched_if_the_aspect_agrees(tmp_path: Path) -> None:
    reference = save(tmp_path / "mask.png", rectangle(256, 256, 64, 64, 192, 192))
    mask = read_mask(reference, LETTERBOX, 1012, 1000)
    assert mask.sum() == pytest.approx(32 * 32, rel=0.08)
    with pytest.raises(ManifestError, match=r"mask\.png is 256 x 256, the radiograph 1000 x 800"):
        read_mask(reference, STRETCH, 1000, 800)
    with pytest.raises(ManifestError, match="the mask boxes is 1024 x 1024"):
        read_mask(boxes_reference([(0, 0, 1, 1)], 1024, 1024), STRETCH, 1000, 800)


def test_unreadable_masks_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(to_png(np.random.default_rng(0).random((64, 64)) > 0.5)[:100])
    for name in ("text.png", "cut.png", "absent.png"):
        with pytest.raises(ManifestError, match=name):
            read_mask(str(tmp_path / name), STRETCH, 64, 64)


@pytest.mark.parametrize(
    "reference",
    [
        "{",
        "{}",
        '{"boxes": [[1, 2, 3]], "frame": [4, 4]}',
        '{"boxes": [[1, 2, 0, 3]], "frame": [4, 4]}',
        '{"boxes": [["a", 2, 3, 4]], "frame": [4, 4]}',
        '{"boxes": [], "frame": [0, 4]}',
    ],
)
def test_broken_boxes_are_shown(reference: str) -> None:
    with pytest.raises(ManifestError, match="expected"):
        read_mask(reference, STRETCH, 64, 64)


def test_reference_is_short_and_plain() -> None:
    reference = boxes_reference([(225.084745762712, 1, 2, 3)], 1024, 512)
    assert json.loads(reference) == {"boxes": [[225.08, 1, 2, 3]], "frame": [1024, 512]}


@settings(deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 70), st.integers(1, 70))))
def test_png_gives_back_the_mask(mask: np.ndarray) -> None:
    png = to_png(mask)
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "1", mask.shape[::-1])
    assert (from_png(png) == mask).all()


@pytest.mark.parametrize("frame", [STRETCH, LETTERBOX])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (301, 257), (48, 20), (100, 700)])
def test_to_original_turns_read_mask_round(tmp_path: Path, frame: FrameConfig, height: int, width: int) -> None:
    top, left, bottom, right = height // 4, width // 5, 3 * height // 4, 4 * width // 5
    drawn = rectangle(height, width, top, left, bottom, right)
    framed = read_mask(save(tmp_path / "mask.png", drawn), frame, height, width)
    back = to_original(framed == 1, frame_map(height, width, frame), height, width)
    assert back.shape == (height, width)
    inside = drawn == 255
    iou = (back & inside).sum() / (back | inside).sum()
    assert iou > 0.85
    assert to_original(np.ones((64, 64), bool), frame_map(height, width, frame), height, width).all()


def test_real_masks_cover_as_much_of_the_frame_as_of_the_radiograph(cxr: Path) -> None:
    folder = cxr / "covid_chestxray" / "annotations" / "lung_masks"
    paths = sorted(folder.glob("*.png"))[:40]
    assert len(paths) == 40
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image)
        height, width = pixels.shape
        mask = read_mask(str(path), FrameConfig(size=224), height, width)
        assert set(np.unique(mask)) <= {0, 1, IGNORE}
        assert (mask == 1).mean() == pytest.approx((pixels == 255).mean(), abs=0.01)
        assert (mask == IGNORE).mean() == pytest.approx((pixels == 127).mean(), abs=0.01)


def test_boxes_without_a_frame_are_in_the_pixels_of_the_radiograph() -> None:
    boxes = [(100.0, 50.0, 200.0, 150.0)]
    for frame in (STRETCH, LETTERBOX):
        stated, unstated = (
            read_mask(boxes_reference(boxes, *sides), frame, 300, 400) for sides in ((300, 400), (None, None))
        )
        assert (stated == unstated).all()
        assert stated.any()


def test_a_box_outside_its_frame_is_refused_and_one_over_the_edge_is_cut() -> None:
    cut = read_mask(boxes_reference([(-50, 900, 100, 500)], 1024, 1024), STRETCH, 320, 320)
    assert cut.sum() == 3 * 8  # 50 / 16 columns, (1024 - 900) / 16 rows
    for box in ((1024.0, 0.0, 10.0, 10.0), (0.0, -20.0, 10.0, 20.0)):
        with pytest.raises(ManifestError, match="expected a box inside its frame of 1024 x 1024 pixels, got x"):
            read_mask(boxes_reference([box], 1024, 1024), STRETCH, 320, 320)


def test_a_box_over_the_edge_stays_off_the_borders_of_a_letterbox() -> None:
    mask = read_mask(boxes_reference([(-50, 20, 100, 200)], 200, 100), LETTERBOX, 200, 100)
    assert mask[6:, 16:32].all()
    assert mask.sum() == 58 * 16


def test_a_small_lesion_keeps_a_pixel_in_every_form(tmp_path: Path) -> None:
    """One pixel of 1024 x 1024 lies between the centres of a frame of 64: nearest sampling alone would lose it."""
    drawn = np.zeros((1024, 1024), np.uint8)
    drawn[500, 300] = 255
    image = save(tmp_path / "mask.png", drawn)
    references = {
        "image": image,
        "polygon": polygons_reference([[300, 500, 301, 500, 301, 501, 300, 501]], 1024, 1024),
        "rle": rle_reference([{"counts": [300 * 1024 + 500, 1, 1024 * 1024 - 300 * 1024 - 501], "size": [1024, 1024]}]),
        "siim": siim_reference([f"{300 * 1024 + 500} 1"]),
        "pasted": pasted_reference([(FileRef(image), 0, 0, 1024, 1024)], 1024, 1024),
        "boxes": boxes_reference([(300, 500, 1, 1)], 1024, 1024),
    }
    for form, reference in references.items():
        for height, width in ((1024, 1024), (320, 320)):
            mask = read_mask(reference, STRETCH, height, width)
            assert np.argwhere(mask).tolist() == [[500 // 16, 300 // 16]], (form, height)


def test_only_parts_that_would_vanish_are_kept(tmp_path: Path) -> None:
    """Where a part has a pixel already, nothing is added to it."""
    y, x = np.mgrid[:640, :640]
    drawn = ((y - 300) ** 2 + (x - 200) ** 2 < 90**2).astype(np.uint8) * 255
    centres_HW = drawn[5::10, 5::10] == 255
    assert (read_mask(save(tmp_path / "disc.png", drawn), STRETCH, 640, 640) == centres_HW).all()
    drawn[600, 600] = 255
    centres_HW[60, 60] = True
    assert (read_mask(save(tmp_path / "two.png", drawn), STRETCH, 640, 640) == centres_HW).all()


@pytest.mark.parametrize("kind", ["masks.zip", "masks.tar", "masks.tar.gz"])
def test_masks_inside_archives(tmp_path: Path, kind: str) -> None:
    png = to_png(rectangle(64, 64, 8, 16, 32, 48) == 255)
    archive, offset = tmp_path / kind, None
    if kind == "masks.zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("lung/a.png", png)
    else:
        with tarfile.open(archive, "w:gz" if kind.endswith("gz") else "w") as packed:
            info = tarfile.TarInfo("lung/a.png")
            info.size = len(png)
            packed.addfile(info, io.BytesIO(png))
        offset = None if kind.endswith("gz") else 0
    file = FileRef(str(archive), "lung/a.png", offset)
    expected = np.zeros((64, 64), np.uint8)
    expected[8:32, 16:48] = 1
    with FileReader(2**20, [file]) as reader:
        assert (read_mask(file.to_text(), STRETCH, 64, 64, reader=reader) == expected).all()
    assert (read_mask(file.to_text(), STRETCH, 64, 64) == expected).all()
    pasted = pasted_reference([(file, 64, 64, 64, 64)], 128, 128)
    assert np.argwhere(read_mask(pasted, STRETCH, 128, 128)).min(axis=0).tolist() == [36, 40]
    absent = FileRef(str(archive), "lung/b.png", offset)
    with pytest.raises(ManifestError, match=rf"cannot read the mask .*{kind}!lung/b\.png: missing"):
        read_mask(absent.to_text(), STRETCH, 64, 64)


def test_a_reader_stays_open_for_the_next_mask(tmp_path: Path) -> None:
    save(tmp_path / "a.png", rectangle(64, 64, 8, 16, 32, 48))
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as packed:
        packed.write(tmp_path / "a.png", "a.png")
    reference = FileRef(str(tmp_path / "masks.zip"), "a.png").to_text()
    with FileReader(2**20) as reader:
        first = read_mask(reference, STRETCH, 64, 64, reader=reader)
        (tmp_path / "masks.zip").unlink()
        assert (read_mask(reference, STRETCH, 64, 64, reader=reader) == first).all()


def test_an_image_too_large_to_decode_is_refused(tmp_path: Path) -> None:
    Image.new("1", (2**13 + 32, 2**13)).save(tmp_path / "huge.png")
    with pytest.raises(ManifestError, match=r"at most 67108864 pixels in the mask .*huge\.png, got 8192 x 8224"):
        read_mask(str(tmp_path / "huge.png"), STRETCH, 64, 64)


@pytest.mark.parametrize("frame", [STRETCH, LETTERBOX])
def test_a_real_disease_mask_is_the_same_in_every_form(cxr: Path, tmp_path: Path, frame: FrameConfig) -> None:
    """Encoded by pycocotools and by the plain loop below; ignore levels go as background, which runs cannot say."""
    paths = sorted((cxr / "covid_chestxray" / "annotations" / "disease_masks").glob("*.png"))[::19]
    assert len(paths) == 5
    for path in paths:
        with Image.open(path) as image:
            inside_HW = np.asarray(image.convert("L")) >= 192
        height, width = inside_HW.shape
        rows, columns = np.nonzero(inside_HW)
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        crop = save(tmp_path / "crop.png", inside_HW[top:bottom, left:right].astype(np.uint8) * 255)
        part = (FileRef(crop), int(top), int(left), int(bottom - top), int(right - left))
        expected = read_mask(save(tmp_path / "whole.png", inside_HW.astype(np.uint8) * 255), frame, height, width)
        assert expected.sum() > 50
        for reference in (
            rle_reference([coco.encode(np.asfortranarray(inside_HW.astype(np.uint8)))]),
            rle_reference([{"counts": column_runs(inside_HW), "size": [height, width]}]),
            siim_reference([" ".join(map(str, column_runs(inside_HW)[:-1]))], height, width),
            siim_reference([" ".join(map(str, column_runs(inside_HW)[:-1]))], None, None),
            pasted_reference([part], height, width),
        ):
            assert (read_mask(reference, frame, height, width) == expected).all(), reference[:60]


def test_a_mask_drawn_once_can_be_brought_to_any_frame(tmp_path: Path) -> None:
    """What a training table stores: the mask as large as it was drawn; boxes stay boxes."""
    drawn = rectangle(300, 400, 50, 100, 250, 300)
    drawn[:20] = 127
    image = save(tmp_path / "mask.png", drawn)
    pasted = pasted_reference([(FileRef(image), 0, 0, 300, 400)], 300, 400)
    polygon = polygons_reference([[100, 50, 300, 50, 300, 250, 100, 250]], 300, 400)
    boxes = boxes_reference([(100, 50, 200, 200)], 300, 400)
    assert [needs_no_file(reference) for reference in (image, pasted, polygon, boxes)] == [False, False, False, True]
    expected = np.where(drawn == 127, IGNORE, drawn // 255)
    for reference, mask in ((image, expected), (pasted, expected), (polygon, expected == 1)):
        stored = draw_mask(reference, 600, 800)
        assert (stored == mask).all()
        for frame in (STRETCH, LETTERBOX):
            assert (fit_mask(stored, frame, 600, 800) == read_mask(reference, frame, 600, 800)).all()


def column_runs(inside_HW: np.ndarray) -> list[int]:
    """Lengths of 0, 1, 0, ..., 0, walking down one column after another; the last run is of 0, perhaps none."""
    runs, inside = [0], False
    for value in inside_HW.T.ravel().tolist():
        if value != inside:
            runs.append(0)
            inside = value
        runs[-1] += 1
    return [*runs, 0] if inside else runs
