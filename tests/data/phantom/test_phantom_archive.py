"""The phantom archive: what is planned, what is written, and that no class leaks outside the lungs."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.data.phantom.phantom_archive import (
    COLUMNS,
    DEVICES,
    PLACEHOLDER,
    PhantomFile,
    _taken,
    plan,
    summary,
    write,
)
from comit_ray.data.phantom.phantom_broken import TROUBLEMAKERS
from comit_ray.data.phantom.phantom_drawing import Phantom, PhantomKind, draw
from comit_ray.data.phantom.phantom_files import FORMATS, suffix
from comit_ray.errors import ConfigError, DecodeError, Reason
from comit_ray.statistics.roc import auroc
from comit_ray.storage import storage
from tests.data.small_phantoms import Draw, small_phantoms

COUNT, SEED = 34, 7


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[Draw]:
    """Half of the sides: what an archive does with them is the same, and takes half of the time."""
    with small_phantoms(2) as drawing:
        yield drawing


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PhantomFile]]:
    root = tmp_path_factory.mktemp("archive")
    return root, write(str(root), COUNT, SEED)


@pytest.fixture(scope="module")
def phantoms(archive: tuple[Path, list[PhantomFile]], small: Draw) -> dict[str, Phantom]:
    """File -> the phantom that it was made of, drawn again."""
    return {entry.file: small(entry.seed, entry.kind, patient=entry.patient_seed) for entry in archive[1] if entry.kind}


def table(root: Path) -> dict[str, dict[str, str]]:
    with (root / "labels.csv").open(newline="") as stream:
        return {line["file"]: line for line in csv.DictReader(stream)}


def test_a_plan_holds_what_was_asked_for() -> None:
    entries = plan(300, 0)
    assert len(entries) == len({entry.file for entry in entries}) == len({entry.stem for entry in entries}) == 300
    assert Counter(entry.form for entry in entries if entry.reason) == dict.fromkeys((t.name for t in TROUBLEMAKERS), 1)
    kinds = Counter(entry.kind for entry in entries if entry.kind)
    assert abs(kinds[PhantomKind.HEALTHY] - 0.4 * 287) <= 6
    assert abs(kinds[PhantomKind.COVID] - 0.3 * 287) <= 6
    dicom = sum(entry.file.endswith(".dcm") for entry in entries)
    assert 0.45 < dicom / 300 < 0.55


def test_a_patient_has_one_class_and_some_have_several_studies() -> None:
    kinds: dict[str, set[PhantomKind | None]] = {}
    studies: dict[str, set[str]] = {}
    for entry in plan(300, 0):
        kinds.setdefault(entry.patient, set()).add(entry.kind)
        studies.setdefault(entry.patient, set()).add(entry.study)
    assert all(len(of_patient) == 1 for of_patient in kinds.values())
    assert {len(of_patient) for of_patient in studies.values()} == {1, 2, 3}


def test_every_class_has_the_same_mixture_of_formats() -> None:
    entries = plan(600, 3)
    for form in set(FORMATS):
        expected = FORMATS.count(form) / len(FORMATS)
        for kind in PhantomKind:
            forms = [entry.form for entry in entries if entry.kind is kind]
            assert abs(forms.count(form) - expected * len(forms)) <= FORMATS.count(form), (kind, form)


def test_studies_have_a_day_a_site_and_a_device_and_some_days_are_placeholders() -> None:
    taken = {(entry.study, entry.patient): _taken(entry) for entry in plan(600, 3)}
    assert {site for site, _, _ in taken.values()} == set(DEVICES)
    assert all(device in DEVICES[site] for site, device, _ in taken.values())
    days = [day for _, _, day in taken.values()]
    assert 0 < days.count(PLACEHOLDER) < 0.1 * len(days)
    assert len({day[:6] for day in days if day != PLACEHOLDER}) > 8
    sites: dict[str, set[str]] = {}
    for (_, patient), (site, _, _) in taken.items():
        sites.setdefault(patient, set()).add(site)
    assert all(len(of_patient) == 1 for of_patient in sites.values())


def test_a_count_without_room_for_chests_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        plan(15, 0)
    assert len(plan(16, 0)) == 16


def test_every_file_lies_where_the_table_says(archive: tuple[Path, list[PhantomFile]]) -> None:
    root, entries = archive
    lines = table(root)
    assert list(lines) == [entry.file for entry in entries]
    images = {entry.path for entry in storage.list_files(str(root)) if entry.path.startswith("images/")}
    absent = {entry.file for entry in entries if entry.reason is Reason.MISSING}
    assert images | absent == set(lines)
    assert not images & absent
    for entry in entries:
        line = lines[entry.file]
        assert (line["patient"], line["study"]) == (entry.patient, entry.study)
        if entry.kind is None:
            assert not any(line[column] for column in COLUMNS[3:10])
        else:
            assert line["unhealthy"] == str(int(entry.kind is not PhantomKind.HEALTHY))
            assert line["covid"] in ("", str(int(entry.kind is PhantomKind.COVID)))
            assert line["other"] in ("", str(int(entry.kind is PhantomKind.OTHER)))


def test_files_decode_to_their_phantoms_or_to_their_reasons(
    archive: tuple[Path, list[PhantomFile]], phantoms: dict[str, Phantom]
) -> None:
    root, entries = archive
    for entry in entries:
        path = root / entry.file
        if entry.kind is None:
            if entry.reason is not Reason.MISSING:
                with pytest.raises(DecodeError) as caught:
                    decode(path.read_bytes(), DecodeLimits())
                assert caught.value.reason is entry.reason
            continue
        phantom = phantoms[entry.file]
        pixels_HW = decode(path.read_bytes(), DecodeLimits()).pixels_HW
        assert pixels_HW.shape == phantom.pixels_HW.shape
        assert np.corrcoef(pixels_HW.ravel(), phantom.pixels_HW.ravel())[0, 1] > 0.995, entry


def test_masks_are_those_of_the_phantoms(archive: tuple[Path, list[PhantomFile]], phantoms: dict[str, Phantom]) -> None:
    root, entries = archive
    seen = Counter[str]()
    for entry in entries:
        for folder in ("lung_masks", "disease_masks"):
            path = root / folder / f"{entry.stem}.png"
            if not path.exists():
                continue
            seen[folder] += 1
            phantom = phantoms[entry.file]
            truth_HW = phantom.lung_HW if folder == "lung_masks" else phantom.disease_HW
            np.testing.assert_array_equal(np.asarray(Image.open(path)), truth_HW * np.uint8(255))
            assert folder == "lung_masks" or entry.kind is not PhantomKind.HEALTHY
    sound = sum(entry.kind is not None for entry in entries)
    diseased = sum(entry.kind in (PhantomKind.COVID, PhantomKind.OTHER) for entry in entries)
    assert 0 < seen["lung_masks"] < sound
    assert 0 < seen["disease_masks"] < diseased


def test_equal_arguments_give_equal_archives(archive: tuple[Path, list[PhantomFile]], tmp_path: Path) -> None:
    root, _ = archive
    write(str(tmp_path), COUNT, SEED)
    files = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == again


def test_files_of_another_archive_are_not_overwritten(archive: tuple[Path, list[PhantomFile]]) -> None:
    root, _ = archive
    with pytest.raises(ConfigError, match="expected an empty directory"):
        write(str(root), COUNT, SEED + 1)


def test_the_summary_counts(archive: tuple[Path, list[PhantomFile]]) -> None:
    text = summary(archive[1])
    assert text.startswith("34 files of ")
    assert "13 troublemakers: " in text


@pytest.mark.slow
def test_nothing_outside_the_lungs_tells_covid_from_the_rest() -> None:
    """A linear probe on what a file says outside the lungs: size, format, exposure, noise, view, age, sex.

    The phantoms are drawn at a third of their size, in a fifth of the time.
    """
    entries = [entry for entry in plan(200, 11) if entry.kind]
    features, labels, patients = [], [], []
    for entry in entries:
        assert entry.kind
        height, width = np.random.default_rng([2, entry.seed]).integers(352, 449, 2)  # as `draw` has them
        phantom = draw(entry.seed, entry.kind, patient=entry.patient_seed, size=(height // 3, width // 3))
        outside = phantom.pixels_HW[~binary_dilation(phantom.lung_HW, iterations=2)].astype(float)
        quantiles = np.percentile(outside, (5, 25, 50, 75, 95))
        person = [phantom.view == "AP", phantom.sex == "F", phantom.age]
        form = [suffix(entry.form) == ".dcm", suffix(entry.form) == ".jpg", entry.form == "png-16bit"]
        features.append([*phantom.pixels_HW.shape, outside.mean(), outside.std(), *quantiles, *person, *form])
        labels.append(int(entry.kind is PhantomKind.COVID))
        patients.append(entry.patient)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    groups = np.unique(patients, return_inverse=True)[1]
    folds = [(np.flatnonzero(groups % 5 != k), np.flatnonzero(groups % 5 == k)) for k in range(5)]
    scores = cross_val_predict(probe, np.array(features, float), np.array(labels), cv=folds, method="predict_proba")
    area = auroc(scores[:, 1], np.array(labels))
    assert area is not None
    assert 0.35 < area < 0.65, area
