from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco

from comit_ray.data.masks.mask_images import IGNORE, Mask
from comit_ray.data.masks.mask_references import (
    BoxesForm,
    parse_reference,
    pasted_reference,
    polygons_reference,
    rle_reference,
    siim_reference,
)
from comit_ray.data.masks.mask_shapes import draw
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileRef

LETTER = np.array(  # neither symmetric nor square, so that no swap of rows and columns goes unseen
    [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],
    ],
    np.uint8,
)


def no_images(file: FileRef) -> Mask:
    raise AssertionError(f"{file} was asked for")


def drawn(reference: str, read_image: Callable[[FileRef], Mask] = no_images, height: int = 4, width: int = 5) -> Mask:
    form = parse_reference(reference)
    assert not isinstance(form, FileRef | BoxesForm)
    mask = draw(form, height, width, read_image)
    assert mask.dtype == np.uint8
    return mask


def test_siim_runs_go_down_the_columns() -> None:
    """By hand: column 0 has 4 zeros, column 1 one zero and three ones; column 2 one zero and a one; so column 3."""
    expected = LETTER.tolist()
    assert drawn(siim_reference(["5 3 1 1 3 1"], 4, 5)).tolist() == expected
    assert drawn(siim_reference([" 5 3 1 1 3 1 "], None, None)).tolist() == expected
    assert drawn(siim_reference(["5 3", "9 1", "13 1"], 4, 5)).tolist() == expected


@pytest.mark.parametrize("none", ["-1", " -1"])
def test_siim_without_a_mask_shows_nothing(none: str) -> None:
    assert not drawn(siim_reference([none], 4, 5)).any()
    assert drawn(siim_reference([none, "5 3 1 1 3 1"], 4, 5)).tolist() == LETTER.tolist()
    assert not drawn(siim_reference([], 4, 5)).any()


@pytest.mark.parametrize("text", ["", "5", "5 3 1", "a b", "1.0 2", "-1 3", "5 -3", "-1 -1"])
def test_broken_siim_runs_are_shown(text: str) -> None:
    with pytest.raises(ManifestError, match="expected pairs 'gap run' or -1 in SIIM run lengths, got "):
        drawn(siim_reference([text], 4, 5))


def test_siim_runs_past_the_frame_are_refused() -> None:
    assert drawn(siim_reference(["18 2"], 4, 5))[2:, 4].all()
    with pytest.raises(ManifestError, match="end within 4 x 5 pixels, got 1 pixels more"):
        drawn(siim_reference(["18 3"], 4, 5))


def test_coco_runs_of_a_hand_made_mask() -> None:
    plain = {"counts": [5, 3, 1, 1, 3, 1, 6], "size": [4, 5]}
    assert drawn(rle_reference([plain])).tolist() == LETTER.tolist()
    top, side = {"counts": [5, 1, 3, 1, 3, 1, 6], "size": [4, 5]}, {"counts": [6, 2, 12], "size": [4, 5]}
    assert drawn(rle_reference([top, side])).tolist() == LETTER.tolist()


@settings(deadline=None, max_examples=200)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_coco_runs_compressed_by_its_own_library(mask: Mask) -> None:
    assert (drawn(rle_reference([coco.encode(np.asfortranarray(mask))])) == mask).all()


def test_long_compressed_runs_of_a_large_mask() -> None:
    mask = np.zeros((1500, 1200), np.uint8)
    mask[100:1400, 300:302] = 1
    mask[1499, 1199] = 1
    assert (drawn(rle_reference([coco.encode(np.asfortranarray(mask))])) == mask).all()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([5, 3], "fill 4 x 5 = 20 pixels, got 2 of them with sum 8"),
        ([5, 16], "with sum 21"),
        ([25, -5], "minimum -5"),
        ([], "got 0 of them"),
        ("", "got 0 of them"),
        ("0", "sum 0"),
        ("5~3", "compressed run lengths, got '~'"),
        ("53 ", "compressed run lengths, got ' '"),
        ("P" * 20, "compressed run lengths, got 'P'"),
        ("53P", "cut in a number"),
    ],
)
def test_coco_runs_that_do_not_fill_their_frame_are_refused(counts: str | list[int], message: str) -> None:
    """pycocotools gives what lies in memory for the short ones."""
    with pytest.raises(ManifestError, match=message):
        drawn(rle_reference([{"counts": counts, "size": [4, 5]}]))


def test_coco_runs_of_two_sizes_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"one size in a mask, got \[\(4, 5\), \(5, 4\)\]"):
        drawn(rle_reference([{"counts": [20], "size": size} for size in ([4, 5], [5, 4])]))


def test_polygons_are_filled_as_a_union() -> None:
    top, side = [1, 1, 4, 1, 4, 2, 1, 2], [1, 1, 2, 1, 2, 4, 1, 4]
    assert drawn(polygons_reference([top, side], 4, 5)).tolist() == LETTER.tolist()
    assert drawn(polygons_reference([top, side], None, None)).tolist() == LETTER.tolist()
    assert not drawn(polygons_reference([], 4, 5)).any()


def test_a_polygon_fills_the_pixels_whose_centres_it_holds() -> None:
    """A disc as a polygon of 200 corners, against the distance of every pixel's centre."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = np.stack([120 + 50 * np.cos(angle), 90 + 50 * np.sin(angle)], axis=1).ravel()
    y, x = np.mgrid[:200, :250] + 0.5
    distance = np.hypot(x - 120, y - 90)
    mask = drawn(polygons_reference([points.tolist()], 200, 250))
    assert mask[distance < 49].all()
    assert not mask[distance > 51].any()
    assert mask.sum() == pytest.approx(np.pi * 50**2, rel=0.01)


def test_polygons_over_the_edge_are_cut_and_far_ones_refused() -> None:
    mask = drawn(polygons_reference([[-3, 1, 2, 1, 2, 7, -3, 7]], 4, 5))
    assert np.argwhere(mask).tolist() == [[row, column] for row in (1, 2, 3) for column in (0, 1)]
    with pytest.raises(
        ManifestError, match="a polygon inside its frame of 4 x 5 pixels, got x 5 to 6 and y 0 to 1: is"
    ):
        drawn(polygons_reference([[5, 0, 6, 0, 6, 1]], 4, 5))
    with pytest.raises(ManifestError, match="near its frame"):
        drawn(polygons_reference([[0, 0, 1e9, 0, 1e9, 1e9]], 4, 5))
    with pytest.raises(ManifestError, match="pairs of x and y in a polygon, got 7 numbers"):
        drawn(polygons_reference([[0, 0, 1, 0, 1, 1, 2]], 4, 5))


def test_a_polygon_thinner_than_a_pixel_is_the_pixel_under_its_middle() -> None:
    assert np.argwhere(drawn(polygons_reference([[3.1, 2.1, 3.2, 2.1, 3.2, 2.2]], 4, 5))).tolist() == [[2, 3]]
    assert np.argwhere(drawn(polygons_reference([[4.9, 3.9, 5.5, 3.9, 5.5, 4.5]], 4, 5))).tolist() == [[3, 4]]


def test_parts_are_pasted_at_their_places_and_cut_at_the_edge() -> None:
    images = {
        "/bar.png": np.ones((1, 3), np.uint8),
        "/post.png": np.ones((2, 1), np.uint8),
        "/over.png": np.array([[1, 1], [0, 1]], np.uint8),
    }
    parts = [(FileRef("/bar.png"), 1, 1, 1, 3), (FileRef("/post.png"), 2, 1, 2, 1)]

    def read(file: FileRef) -> Mask:
        return images[file.uri]

    assert drawn(pasted_reference(parts, 4, 5), read).tolist() == LETTER.tolist()
    assert drawn(pasted_reference(parts, None, None), read).tolist() == LETTER.tolist()
    for top, left, expected in ((-1, -1, [[0, 0]]), (3, 4, [[3, 4]]), (3, -1, [[3, 0]]), (-1, 3, [[0, 4]])):
        mask = drawn(pasted_reference([(FileRef("/over.png"), top, left, 2, 2)], 4, 5), read)
        assert np.argwhere(mask).tolist() == expected
    for top, left in ((-2, 0), (4, 0), (0, -2), (0, 5)):
        with pytest.raises(ManifestError, match=r"expected the mask /over\.png inside its frame of 4 x 5 pixels"):
            drawn(pasted_reference([(FileRef("/over.png"), top, left, 2, 2)], 4, 5), read)


def test_inside_wins_over_ignore_and_ignore_over_background_where_parts_overlap() -> None:
    images = {"/a.png": np.array([[1, IGNORE, 0, 0]], np.uint8), "/b.png": np.array([[IGNORE, 1, IGNORE, 0]], np.uint8)}
    for order in (("/a.png", "/b.png"), ("/b.png", "/a.png")):
        reference = pasted_reference([(FileRef(uri), 0, 0, 1, 4) for uri in order], 1, 4)
        assert drawn(reference, lambda file: images[file.uri]).tolist() == [[1, 1, IGNORE, 0]]


def test_a_part_of_another_size_is_stretched_if_the_aspect_agrees() -> None:
    half = np.array([[1, 0], [0, 1]], np.uint8)
    mask = drawn(pasted_reference([(FileRef("/a.png"), 0, 1, 4, 4)], 4, 5), lambda _: half)
    assert mask.tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    with pytest.raises(ManifestError, match=r"/a\.png is 2 x 2, the place it is pasted at 4 x 3: expected aspect"):
        drawn(pasted_reference([(FileRef("/a.png"), 0, 1, 4, 3)], 4, 5), lambda _: half)


@pytest.mark.parametrize(
    "reference",
    [
        polygons_reference([[0, 0, 1, 0, 1, 1]], 2**13 + 1, 2**13),
        siim_reference(["0 1"], 2**13 + 1, 2**13),
        rle_reference([{"counts": [(2**13 + 1) * 2**13], "size": [2**13 + 1, 2**13]}]),
        pasted_reference([(FileRef("/a.png"), 0, 0, 1, 1)], 2**13 + 1, 2**13),
        pasted_reference([(FileRef("/a.png"), 0, 0, 2**13 + 1, 2**13)], 4, 5),
    ],
)
def test_frames_too_large_to_draw_are_refused(reference: str) -> None:
    with pytest.raises(ManifestError, match="at most 67108864 pixels, got 8193 x 8192"):
        drawn(reference)


def test_real_outlines_drawn_back_are_the_mask(cxr: Path) -> None:
    """Rectangles of single pixels' rows as polygons: their union is the real disease mask, pixel for pixel."""
    path = sorted((cxr / "covid_chestxray" / "annotations" / "disease_masks").glob("*.png"))[0]
    with Image.open(path) as image:
        mask = (np.asarray(image.convert("L").resize((128, 128), Image.Resampling.NEAREST)) >= 192).astype(np.uint8)
    assert mask.sum() > 100
    polygons = []
    for row in range(128):
        edges = np.flatnonzero(np.diff(mask[row].astype(int), prepend=0, append=0)).tolist()
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            polygons.append([left, row, right, row, right, row + 1, left, row + 1])
    assert (drawn(polygons_reference(polygons, 128, 128)) == mask).all()
