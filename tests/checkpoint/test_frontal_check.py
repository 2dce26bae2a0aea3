from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comit_ray.checkpoint import frontal_check
from comit_ray.checkpoint.frontal_check import Examples, FrontalCheck
from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images.frame import to_frame
from comit_ray.errors import CheckpointError

FRAME = FrameConfig(size=96)


def frames(paths: list[Path]) -> np.ndarray:
    return np.stack([to_frame(np.asarray(Image.open(path).convert("L")), FRAME) for path in paths])


def stripes(count: int, frontal: bool, seed: int) -> np.ndarray:
    """Edges that run up and down, or across; noise on both."""
    random = np.random.default_rng(seed)
    waves = np.sin(np.linspace(0, 20, 96) + random.uniform(0, 6, (count, 1)))
    grey = np.broadcast_to(waves[:, None, :] if frontal else waves[:, :, None], (count, 96, 96))
    return np.clip(128 + 90 * grey + random.normal(0, 20, grey.shape), 0, 255).astype(np.uint8)


def examples(frontal: int, others: int, patients_of_others: int = 12) -> Examples:
    patients = [f"f{n // 2}" for n in range(frontal)] + [f"o{n % patients_of_others}" for n in range(others)]
    return Examples(
        np.concatenate([stripes(frontal, True, 0), stripes(others, False, 1)]),
        np.arange(frontal + others) < frontal,
        patients,
        ["nih"] * frontal + ["covid"] * others,
        ["frontal"] * frontal + ["lateral"] * others,
    )


@pytest.fixture(scope="module")
def check() -> FrontalCheck:
    return frontal_check.fit(examples(60, 24))


def test_it_tells_two_kinds_apart_and_says_on_how_many_patients_it_was_tested(check: FrontalCheck) -> None:
    assert (check.p_frontal_chest(stripes(20, True, 2)) > 0.5).all()
    assert (check.p_frontal_chest(stripes(20, False, 3)) < 0.5).all()
    assert [(one.dataset, one.kind, one.images, one.patients) for one in check.tested] == [
        ("covid", "lateral", 24, 12),
        ("nih", "frontal", 60, 30),
    ]
    right, images, patients, interval = check.share_right(frontal=False)
    assert (right, images, patients) == (24, 24, 12)
    assert interval.low == pytest.approx(1 / (1 + 1.959964**2 / 12)), "Wilson's, of as many as there are patients"
    assert "24 of 24 other pictures recognised (12 patients" in check.line


def test_the_test_sees_no_patient_it_was_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of one patient are told by the patient alone: what a fit without him cannot know."""
    given = examples(40, 30, patients_of_others=6)
    seen: list[set[str | None]] = []
    fitted = frontal_check._fitted
    features = frontal_check.features(given.frames_NHW)

    def spy(x_NF, frontal_N):
        rows = {int(np.flatnonzero((features == row).all(axis=1))[0]) for row in x_NF}
        seen.append({given.patients[row] for row in rows})
        return fitted(x_NF, frontal_N)

    monkeypatch.setattr(frontal_check, "_fitted", spy)
    frontal_check.fit(given)
    folds, whole = seen[:-1], seen[-1]
    assert len(folds) == frontal_check.FOLDS
    assert whole == set(given.patients)
    left_out = [whole - fold for fold in folds]
    assert all(left_out)
    assert sum(map(len, left_out)) == len(whole), "each patient is left out once, with all images"


def test_what_is_written_is_loaded_and_decides_alike(check: FrontalCheck, tmp_path: Path) -> None:
    frontal_check.write(tmp_path, check)
    loaded = frontal_check.load(str(tmp_path))
    assert (loaded.tested, loaded.line) == (check.tested, check.line)
    shown = stripes(10, True, 4)
    found, expected = loaded.p_frontal_chest(shown), check.p_frontal_chest(shown)
    assert found is not None
    assert expected is not None
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert loaded.p_frontal_chest(shown[:0]).shape == (0,)


@pytest.mark.parametrize(("others", "people"), [(frontal_check.FEWEST_IMAGES - 1, 10), (30, frontal_check.FOLDS - 1)])
def test_too_few_examples_give_no_check_and_the_reason(others: int, people: int, tmp_path: Path) -> None:
    check = frontal_check.fit(examples(40, others, people))
    assert check.p_frontal_chest(stripes(2, True, 0)) is None
    assert f"the training had {others} other pictures of {people} patients; at least 20 of 5" in check.line
    frontal_check.write(tmp_path, check)
    assert frontal_check.load(str(tmp_path)).reason == check.reason


def test_an_older_checkpoint_says_that_it_has_none(tmp_path: Path) -> None:
    check = frontal_check.load(str(tmp_path))
    assert check.p_frontal_chest(stripes(1, True, 0)) is None
    assert check.line.endswith("the checkpoint is older than this check; train again")


@pytest.mark.parametrize("broken", ["{", "[]", '{"weights_F": [1.0], "intercept": 0, "tested": [], "reason": null}'])
def test_a_broken_file_is_refused(broken: str, tmp_path: Path) -> None:
    (tmp_path / frontal_check.FILE).write_text(broken)
    with pytest.raises(CheckpointError, match=r"frontal_check.json: expected the check that a training writes"):
        frontal_check.load(str(tmp_path))


def test_real_frontals_are_told_from_real_laterals_and_ct_slices(cxr: Path) -> None:
    """On covid-chestxray alone, where the source tells nothing. Half of the figures that docs/limits.md states."""
    import csv

    rows = list(csv.DictReader((cxr / "covid_chestxray" / "metadata.csv").open()))
    rows = [row for row in rows if row["folder"] == "images"]
    kinds = [
        "lateral" if row["view"] == "L" else "wrong_modality" if row["modality"] == "CT" else "frontal" for row in rows
    ]
    pixels = frames([cxr / "covid_chestxray" / "images" / row["filename"] for row in rows])
    frontal = np.array([kind == "frontal" for kind in kinds])
    patients = [row["patientid"] for row in rows]
    check = frontal_check.fit(Examples(pixels, frontal, patients, ["covid-chestxray"] * len(rows), kinds))
    others, kept = check.share_right(frontal=False), check.share_right(frontal=True)
    assert others[1] == 35
    assert others[0] >= 30
    assert kept[0] >= 0.95 * kept[1]
    children = frames(sorted((cxr / "kermany" / "NORMAL").iterdir())[:40])
    assert (check.p_frontal_chest(children) >= 0.5).mean() > 0.8, "of a source that it never saw"
