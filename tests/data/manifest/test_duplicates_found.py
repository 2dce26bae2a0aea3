from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest import duplicates
from comit_ray.data.manifest.duplicates import CHOSEN, NearDuplicates, SimilarityThresholds, find, resolve
from comit_ray.data.manifest.fingerprint import fingerprint
from comit_ray.data.manifest.manifest_build import read_source
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.errors import ManifestError
from tests.data.pictures import NEAR, SAME, Picture, cropped, jpeg, letterboxed, radiograph, random_picture, resized


def column(pictures: list[Picture | None]) -> pa.ChunkedArray:
    return column_of([None if picture is None else fingerprint(picture) for picture in pictures])


def column_of(fingerprints: list[bytes | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(fingerprints, pa.binary())])


def pairs(found: NearDuplicates) -> dict[tuple[int, int], bool]:
    """Rows -> whether they are the same picture."""
    return dict(zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.same.tolist(), strict=True))


Printed = Callable[[Path], bytes]


@pytest.fixture(scope="module")
def printed() -> Printed:
    """The fingerprint of a radiograph's file, made once."""
    return cache(lambda path: fingerprint(radiograph(path)))


@pytest.fixture(scope="module")
def originals(cxr: Path) -> list[Picture]:
    nih = sorted((cxr / "nih_chestxray14" / "images").iterdir())[::100]
    covid = sorted((cxr / "covid_chestxray" / "images").iterdir())[::20]
    return [radiograph(path) for path in nih + covid]


@pytest.mark.parametrize("name", SAME)
def test_copies_of_radiographs_are_the_same(originals: list[Picture], name: str) -> None:
    copies = [SAME[name](picture) for picture in originals]
    count = len(originals)
    assert pairs(find(column([*originals, *copies]), CHOSEN)) == {(row, row + count): True for row in range(count)}


@pytest.mark.parametrize("name", NEAR)
def test_cropped_radiographs_are_near_at_least(originals: list[Picture], name: str) -> None:
    copies = [NEAR[name](picture) for picture in originals]
    count = len(originals)
    assert set(pairs(find(column([*originals, *copies]), CHOSEN))) == {(row, row + count) for row in range(count)}


@pytest.mark.slow
def test_the_duplicates_of_the_real_collections(cxr: Path, printed: Printed) -> None:
    """Each pair was looked at: five are one picture twice, the last is two films of one patient in one position.

    Those of covid-chestxray lie days apart in its table, but are one film. An exhaustive search by alignment of all
    793,170 pairs of thumbnails found no further picture twice.
    """
    paths = [
        path
        for folder in ("nih_chestxray14", "covid_chestxray", "figure1_covid")
        for path in sorted((cxr / folder / "images").iterdir())
    ]
    found = find(column_of([printed(path) for path in paths]), CHOSEN)
    assert {(paths[one].name, paths[other].name): same for (one, other), same in pairs(found).items()} == {
        ("00002658_001.png", "00002658_002.png"): True,
        ("9C34AF49-E589-44D5-92D3-168B3B04E4A6.jpeg", "COVID-00022.jpg"): True,
        ("E63574A7-4188-4C8D-8D17-9D67A18A1AFA.jpeg", "F4341CE7-73C9-45C6-99C8-8567A5484B63.jpeg"): True,
        ("35AF5C3B-D04D-4B4B-92B7-CB1F67D83085.jpeg", "D5ACAA93-C779-4E22-ADFA-6A220489F840.jpeg"): True,
        ("COVID-00033.jpg", "COVID-00037.jpg"): True,
        ("00001543_003.png", "00001543_004.png"): False,
    }


def test_nothing_is_like_no_picture() -> None:
    one = random_picture(0)
    assert pairs(find(column([None, one, None, one]), CHOSEN)) == {(1, 3): True}
    assert pairs(find(column([None, None]), CHOSEN)) == {}
    assert pairs(find(column([]), CHOSEN)) == {}


def test_whole_and_trimmed_pictures_meet() -> None:
    """A letterboxed copy against the original, another letterboxed copy, and itself: one pair of rows each."""
    plain = random_picture(1)
    tall = np.pad(plain, ((30, 30), (0, 0)))
    assert pairs(find(column([plain, letterboxed(plain), tall]), CHOSEN)) == {(0, 1): True, (0, 2): True, (1, 2): True}


def test_distance_and_correlation_are_those_of_the_best_records() -> None:
    plain = random_picture(1)
    found = find(column([plain, np.pad(plain, ((30, 30), (0, 0)))]), CHOSEN)
    assert (found.distance.tolist(), found.correlation.tolist()) == ([0], [pytest.approx(1, abs=1e-5)])
    # Two records of one picture, the first with a coarser thumbnail.
    exact, coarse = fingerprint(plain), fingerprint(plain)[:32] + fingerprint(jpeg(plain, 20))[32:]
    one = column_of([exact, coarse + exact])
    assert find(one, CHOSEN).correlation.tolist() == [pytest.approx(1, abs=1e-5)]
    assert find(column_of([exact, coarse]), CHOSEN).correlation[0] < 0.9999


def test_the_order_of_the_rows_does_not_matter() -> None:
    pictures = [random_picture(seed) for seed in range(6)]
    pictures += [cropped(picture, 0.03, 0, 0.02, 0.02) for picture in pictures] + [letterboxed(pictures[0])]
    forth, back = find(column([*pictures]), CHOSEN), find(column([*reversed(pictures)]), CHOSEN)
    last = len(pictures) - 1

    def described(found: NearDuplicates, row: Callable[[int], int]) -> set[tuple[int, int, int, float, bool]]:
        columns = (found.distance.tolist(), found.correlation.tolist(), found.same.tolist())
        ends = zip(found.first.tolist(), found.second.tolist(), strict=True)
        return {(*sorted((row(one), row(other))), *rest) for (one, other), *rest in zip(ends, *columns, strict=True)}

    assert len(forth.first) >= 7
    assert described(forth, lambda row: row) == described(back, lambda row: last - row)


def test_pairs_come_in_the_order_of_their_rows() -> None:
    one, other = random_picture(0), random_picture(1)
    found = find(column([one, other, one, other, one]), CHOSEN)
    assert list(pairs(found)) == [(0, 2), (0, 4), (1, 3), (2, 4)]


def test_many_pairs_are_compared_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[Picture | None] = [jpeg(random_picture(seed % 5), 95) for seed in range(20)]
    whole = find(column(pictures), CHOSEN)
    monkeypatch.setattr(duplicates, "_BATCH", 3)
    parts = find(column(pictures), CHOSEN)
    assert pairs(parts) == pairs(whole)
    assert len(pairs(whole)) == 5 * 6
    assert parts.correlation == pytest.approx(whole.correlation, abs=1e-6)


@pytest.mark.parametrize(
    ("thresholds", "kind"),
    [
        (SimilarityThresholds(same_bits=256, same_correlation=-1), True),
        (SimilarityThresholds(same_bits=0, near_bits=256, near_correlation=-1), False),
        (SimilarityThresholds(same_correlation=1.1, near_bits=256, near_correlation=-1), False),
        (SimilarityThresholds(same_bits=0, near_bits=0), None),
        (SimilarityThresholds(same_bits=256, same_correlation=1.1, near_correlation=1.1, near_bits=256), None),
    ],
)
def test_every_threshold_counts(thresholds: SimilarityThresholds, kind: bool | None) -> None:
    found = pairs(find(column([random_picture(0), random_picture(1)]), thresholds))
    assert found == ({} if kind is None else {(0, 1): kind})


def test_a_hash_alone_is_not_enough() -> None:
    """Two hashes alike by chance are told apart by their thumbnails."""
    one, other = fingerprint(random_picture(0)), fingerprint(random_picture(1))
    forged = one[:32] + other[32:]
    found = find(column_of([one, forged]), CHOSEN)
    assert pairs(found) == {}


def test_what_is_no_fingerprint_is_refused() -> None:
    with pytest.raises(ManifestError, match="of another version"):
        find(column_of([b"abc"]), CHOSEN)


def test_size_does_not_matter() -> None:
    pictures: list[Picture | None] = [random_picture(3), resized(random_picture(3), 900, 720)]
    assert pairs(find(column(pictures), CHOSEN)) == {(0, 1): True}


def test_of_two_real_collections(cxr: Path, printed: Printed) -> None:
    """One film is in both: kept where it has a lung mask and a patient. One is in Figure 1 under two patients."""
    tables = [
        read_source(adapter(source), SourceFiles(str(cxr / folder)), source, SourceOptions()).table
        for source, folder in (("figure1", "figure1_covid"), ("covid-chestxray", "covid_chestxray"))
    ]
    table = pa.concat_tables(tables)
    values = [printed(Path(uri)) for uri in table["uri"].to_pylist()]
    found = resolve(table, pa.table({"image_id": table["image_id"], "fingerprint": pa.array(values, pa.binary())}))
    removed = found.table.filter(pc.fill_null(pc.equal(found.table["excluded"], "duplicate"), False))
    assert removed["image_id"].to_pylist() == ["figure1/images/COVID-00022.jpg"]
    across = found.pairs.filter(pc.not_equal(found.pairs["dataset_a"], found.pairs["dataset_b"])).to_pylist()
    assert [(pair["kept"], pair["labels_agree"]) for pair in across] == [
        ("covid-chestxray/images/9C34AF49-E589-44D5-92D3-168B3B04E4A6.jpeg", True)
    ]
    grouped = found.table.filter(pc.is_valid(found.table["split_group"]))
    assert {(one["patient_id"], one["split_group"]) for one in grouped.to_pylist()} == {
        ("figure1/COVID-00022", "covid-chestxray/36"),
        ("covid-chestxray/36", "covid-chestxray/36"),
        ("figure1/COVID-00033", "figure1/COVID-00033"),
        ("figure1/COVID-00037", "figure1/COVID-00033"),
    }
