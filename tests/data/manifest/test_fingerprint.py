from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from comit_ray.data.images.frame import shrink
from comit_ray.data.manifest.fingerprint import HASH_BYTES, RECORD_BYTES, THUMBNAIL, _percentile, fingerprint, unpack
from comit_ray.errors import ManifestError
from tests.data.pictures import NEAR, SAME, Picture, letterboxed, radiograph, random_picture, resized


def column(*fingerprints: bytes | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(fingerprints, pa.binary())])


def distance(one: bytes, other: bytes) -> int:
    """The fewest bits in which two records differ."""
    pictures = unpack(column(one, other))
    first, second = pictures.hashes[pictures.row == 0], pictures.hashes[pictures.row == 1]
    return min(int(np.bitwise_count(a ^ b).sum()) for a in first for b in second)


@pytest.fixture(scope="module")
def originals(cxr: Path) -> list[Picture]:
    """Every hundredth NIH image and every twentieth of covid-chestxray."""
    nih = sorted((cxr / "nih_chestxray14" / "images").iterdir())[::100]
    covid = sorted((cxr / "covid_chestxray" / "images").iterdir())[::20]
    return [radiograph(path) for path in nih + covid]


@pytest.mark.parametrize("name", SAME)
def test_copies_of_radiographs_differ_in_few_bits(originals: list[Picture], name: str) -> None:
    distances = [distance(fingerprint(picture), fingerprint(SAME[name](picture))) for picture in originals]
    assert max(distances) <= 32
    assert np.median(distances) <= 14


@pytest.mark.parametrize("name", NEAR)
def test_cropped_radiographs_differ_in_some_bits(originals: list[Picture], name: str) -> None:
    distances = [distance(fingerprint(picture), fingerprint(NEAR[name](picture))) for picture in originals]
    assert max(distances) <= 54


def test_radiographs_differ_in_many_bits(originals: list[Picture]) -> None:
    found = [fingerprint(picture) for picture in originals]
    distances = [distance(one, other) for number, one in enumerate(found) for other in found[:number]]
    assert min(distances) > 54
    assert 105 < np.median(distances) < 125


@pytest.mark.parametrize("change", [lambda picture: 255 - picture, lambda picture: picture[:, ::-1]])
def test_negatives_and_mirror_images_are_other_pictures(
    originals: list[Picture], change: Callable[[Picture], Picture]
) -> None:
    assert min(distance(fingerprint(picture), fingerprint(change(picture))) for picture in originals) > 54


def test_random_pictures_differ_in_half_of_the_bits() -> None:
    found = [fingerprint(random_picture(seed)) for seed in range(12)]
    distances = [distance(one, other) for number, one in enumerate(found) for other in found[:number]]
    assert min(distances) > 80


def test_the_size_of_the_picture_does_not_matter() -> None:
    large = resized(random_picture(0), 1500, 1200)
    assert fingerprint(large) == fingerprint(shrink(large))
    assert distance(fingerprint(large), fingerprint(random_picture(0))) <= 4


def test_a_border_makes_a_second_record() -> None:
    plain = random_picture(1)
    bordered = np.pad(plain, ((0, 0), (20, 30)))
    assert len(fingerprint(plain)) == RECORD_BYTES
    both = fingerprint(bordered)
    assert len(both) == 2 * RECORD_BYTES
    assert both[RECORD_BYTES:] == fingerprint(plain)
    assert distance(both, fingerprint(letterboxed(plain))) == 0


def test_a_narrow_border_makes_none() -> None:
    assert len(fingerprint(np.pad(random_picture(1), ((2, 2), (1, 1))))) == RECORD_BYTES


@pytest.mark.parametrize(
    "picture",
    [np.full((90, 70), 128, np.uint8), np.pad(random_picture(2, 20, 20), 60), np.eye(64, dtype=np.uint8) * 255],
    ids=["uniform", "a dot", "a line"],
)
def test_a_picture_that_is_nearly_all_border_is_left_whole(picture: Picture) -> None:
    assert len(fingerprint(picture)) == RECORD_BYTES


def test_unpacking() -> None:
    one, two = fingerprint(random_picture(0)), fingerprint(np.pad(random_picture(1), ((0, 0), (20, 30))))
    chunks = pa.chunked_array([pa.array([None, one], pa.binary()), pa.array([two, None, one], pa.binary())])
    pictures = unpack(chunks)
    assert pictures.row.tolist() == [1, 2, 2, 4]
    assert [record.tobytes() for record in pictures.hashes] == [
        one[:HASH_BYTES],
        two[:HASH_BYTES],
        two[RECORD_BYTES : RECORD_BYTES + HASH_BYTES],
        one[:HASH_BYTES],
    ]
    assert pictures.thumbnails.shape == (4, THUMBNAIL, THUMBNAIL)
    assert pictures.thumbnails[3].tobytes() == one[HASH_BYTES:]
    assert np.abs(pictures.thumbnails[0].astype(int) - resized(random_picture(0), THUMBNAIL, THUMBNAIL)).mean() < 6


def test_rows_are_numbered_on_beyond_one_batch() -> None:
    one = fingerprint(random_picture(0))
    pictures = unpack(column(*([None] * 5000), one, *([None] * 5000), one))
    assert pictures.row.tolist() == [5000, 10001]


def test_no_picture() -> None:
    pictures = unpack(column(None, None))
    assert (pictures.row.shape, pictures.hashes.shape) == ((0,), (0, 4))
    assert pictures.thumbnails.shape == (0, THUMBNAIL, THUMBNAIL)


def test_what_is_no_fingerprint_is_refused() -> None:
    with pytest.raises(ManifestError, match="expected fingerprints of 2336 bytes a record, got one of 7"):
        unpack(column(fingerprint(random_picture(0)), b"1234567"))


@pytest.mark.parametrize("width", [1, 2, 3, 17, 256])
def test_margins_are_found_by_the_percentiles_of_numpy(width):
    """To the last bit, because fingerprints of older manifests were made with them."""
    lines = np.random.default_rng(width).integers(0, 256, (50, width), dtype=np.uint8)
    rising = np.sort(lines, axis=1, kind="stable")
    for share in (0.02, 0.98):
        np.testing.assert_array_equal(_percentile(rising, share), np.percentile(lines, 100 * share, axis=1))
