import json
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from comit_ray.checkpoint import reference, temperature
from comit_ray.data.images.frame import STATISTICS
from comit_ray.screening import drift, drift_signals
from comit_ray.screening.drift import Drift, ScoredImages
from comit_ray.screening.drift_signals import Signal, SignalKind
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import PREDICTIONS
from tests.support import manifest_row, prediction_row, supersede, write_rows

SIGNALS = ("embedding_distance", *STATISTICS)
SPREADS = {(name, SignalKind.SPREAD) for name in STATISTICS}


def compare(images: pd.DataFrame, *more) -> Drift:
    """The comparison of images in memory."""
    return drift.compare(ScoredImages.of_frame(images), *more)


@cache
def known(seed: int = 0, images: int = 120, training: int = 400) -> reference.Reference:
    """Of a training with two sources, one of them darker, PA and AP views, and a few of unknown projection."""
    random = np.random.default_rng(seed)
    views = ["PA"] * 600 + ["AP"] * 395 + ["frontal"] * 5
    dark_N = np.arange(training) < training // 4
    pixels = {name: pixel_values(random, training, dark_N) for name in STATISTICS}
    groups = ["covid-chestxray AP" if dark else "nih PA" for dark in dark_N]
    sample = reference.Sample(random.normal(size=(training, 6)), pixels, groups, [f"t{n}" for n in range(training)])
    return reference.make(
        sample,
        random.normal(size=(images, 6)),
        {"covid": random.beta(1, 6, images), "unhealthy": random.random(images)},
        views,
        ["nih"] * 900 + ["covid-chestxray"] * 100,
        [f"p{n}" for n in range(images)],
    )


def pixel_values(random: np.random.Generator, images: int, dark_N: np.ndarray) -> np.ndarray:
    return random.beta(4, 4, images) * np.where(dark_N, 0.5, 1)


def archive(seed: int = 1, images: int = 200, **columns) -> pd.DataFrame:
    """Scored images that are like those of `known`, but for `columns`."""
    random = np.random.default_rng(seed)
    plain = {
        "patient_id": [f"q{n}" for n in range(images)],
        "dataset": "nih",
        "view": random.choice(["PA", "AP"], images, p=[0.6, 0.4]),
        "embedding_distance": known().distances(random.normal(size=(images, 6))),
        **{name: pixel_values(random, images, np.arange(images) < images // 4) for name in STATISTICS},
        "p_covid": random.beta(1, 6, images),
        "p_unhealthy": random.random(images),
        "p_other": np.nan,
    }
    return pd.DataFrame(plain | columns)


def by_name(found: drift.Drift) -> dict[str, Signal]:
    """Without the spread of pixels, which `spread_of` has."""
    return {one.signal: one for one in found.signals if (one.signal, one.kind) not in SPREADS}


def spread_of(found: drift.Drift, name: str) -> Signal:
    (one,) = (one for one in found.signals if (one.signal, one.kind) == (name, SignalKind.SPREAD))
    return one


def test_an_archive_like_the_training_data_raises_no_warning() -> None:
    found = compare(archive(), "m", known(), {})
    assert [one.signal for one in found.signals if (one.signal, one.kind) not in SPREADS] == [
        *SIGNALS,
        "view",
        "source",
        "covid",
        "unhealthy",
    ]
    assert not any(signal.differs for signal in found.signals)
    assert (found.images, found.patients, found.reason) == (200, 200, None)


def test_false_alarms_are_rare() -> None:
    """Of 100 archives like the training data, with a new training each, at most 3 warn."""
    alarms = 0
    for seed in range(100):
        base = known(seed)
        images = archive(seed + 1_000)
        images["embedding_distance"] = base.distances(np.random.default_rng(seed).normal(size=(200, 6)))
        alarms += bool(compare(images, "m", base, {}).warnings)
    assert alarms <= 3


@pytest.mark.parametrize("signal", SIGNALS)
def test_what_lies_outside_is_counted_and_warned_of(signal) -> None:
    images = archive()
    values = images[signal].to_numpy().copy()
    values[:60] = 50.0
    images[signal] = values
    found = by_name(compare(images, "m", known(), {}))[signal]
    assert found.differs
    assert found.outside >= 60
    assert found.value == found.outside / 200
    assert found.low > drift_signals.MOST
    assert found.expected == drift_signals.OUTSIDE


def test_darker_is_outside_and_nearer_is_not() -> None:
    found = by_name(compare(archive(pixel_mean=0.0, embedding_distance=0.0), "m", known(), {}))
    assert found["pixel_mean"].outside == 200
    assert found["pixel_mean"].detail.startswith("200 below")
    assert found["embedding_distance"].outside == 0


def test_an_archive_like_one_of_the_sources_alone_is_known() -> None:
    """All images as dark as a quarter of the training's: spread otherwise than the training's, and no warning."""
    images = archive()
    for name in STATISTICS:
        images[name] = pixel_values(np.random.default_rng(5), 200, np.ones(200, bool))
    found = compare(images, "m", known(), {})
    assert found.warnings == []
    assert spread_of(found, "pixel_mean").value < 0.2
    pooled = np.concatenate([values["pixel_mean"] for values in known().facts.pixels.values()])
    assert ks_2samp(images["pixel_mean"], pooled).statistic > 0.5


def test_images_that_are_possible_each_and_impossible_together() -> None:
    """All in the middle of the range, and alike as no source's are."""
    images = archive(pixel_sd=np.random.default_rng(5).normal(0.5, 0.01, 200))
    found = compare(images, "m", known(), {})
    assert by_name(found)["pixel_sd"].outside == 0
    assert spread_of(found, "pixel_sd").differs
    assert [one.signal for one in found.warnings] == ["pixel_sd"]
    few = compare(images.iloc[:12], "m", known(), {})
    assert spread_of(few, "pixel_sd").value > 0.2
    assert not spread_of(few, "pixel_sd").differs, "of 12 images nothing is sure"


def test_a_few_patients_with_many_images_are_few() -> None:
    """As many images outside, but of three patients: nothing is sure."""
    images = archive(images=30, embedding_distance=[9.0] * 10 + [1.0] * 20)
    assert by_name(compare(images, "m", known(), {}))["embedding_distance"].differs
    images["patient_id"] = np.repeat(["a", "b", "c"], 10)
    found = compare(images, "m", known(), {})
    assert found.patients == 3
    assert not by_name(found)["embedding_distance"].differs


def test_a_view_that_the_model_hardly_knows() -> None:
    images = archive(view=["lordotic"] * 50 + ["frontal"] * 50 + ["PA"] * 100)
    found = by_name(compare(images, "m", known(), {}))["view"]
    assert found.outside == 100
    assert found.expected == pytest.approx(0.005)
    assert found.differs
    assert found.detail == "50 lordotic, 50 frontal"


def test_a_new_source_is_told_and_no_warning() -> None:
    found = compare(archive(dataset="bimcv"), "m", known(), {})
    assert by_name(found)["source"].outside == 200
    assert by_name(found)["source"].differs
    assert found.warnings == []


def test_scores_that_are_spread_otherwise_are_told_and_no_warning() -> None:
    found = compare(archive(p_covid=np.random.default_rng(0).beta(6, 2, 200)), "m", known(), {})
    assert by_name(found)["covid"].differs
    assert not by_name(found)["unhealthy"].differs
    assert by_name(found)["covid"].detail.startswith("median 0.7")
    assert found.warnings == []


def test_calibrated_scores_are_compared_with_calibrated_scores() -> None:
    """The distance of Kolmogorov and Smirnov does not change where both are scaled alike."""
    plain = archive()
    scaled = plain.assign(p_covid=[temperature.carry(value, 3.0) for value in plain["p_covid"]])
    one = by_name(compare(plain, "m", known(), {}))["covid"]
    other = by_name(compare(scaled, "m", known(), {"covid": 3.0}))["covid"]
    assert other.value == pytest.approx(one.value)
    assert by_name(compare(scaled, "m", known(), {}))["covid"].differs, "without the temperature they differ"


def test_an_older_checkpoint_says_so() -> None:
    found = compare(archive(), "m", None, {})
    assert found.signals == ()
    assert "holds no statistics of its training data" in found.reason


def test_too_small_a_training_says_so_signal_by_signal() -> None:
    found = by_name(compare(archive(embedding_distance=np.nan), "m", known(images=5), {}))
    for name in SIGNALS:
        assert found[name].value is None
        assert "at least 20 are needed" in found[name].detail
    assert found["view"].value == 0
    assert "covid" not in found


def test_images_scored_by_an_older_version_are_not_passed_over() -> None:
    values = np.ones(200)
    values[:3] = np.nan
    found = by_name(compare(archive(pixel_sd=values), "m", known(), {}))["pixel_sd"]
    assert found.value is None
    assert found.detail == "not compared: not measured by the version that scored 3 images"


def test_the_tables_are_joined_and_the_file_is_written(tmp_path) -> None:
    """Failed images are in no signal; image and patient come from the manifest."""
    rows = [manifest_row(f"nih/{n:02d}", dataset="nih", patient_id=f"nih/{n // 2}") for n in range(40)]
    manifest = write_rows(tmp_path / "manifest", rows, MANIFEST)
    signals = dict.fromkeys(SIGNALS, 0.3)
    predictions = [prediction_row(row["image_id"], view="PA", **signals) for row in rows[:30]]
    failed = [prediction_row(row["image_id"], status="failed", reason="truncated", p_covid=None) for row in rows[30:]]
    write_rows(tmp_path / "results" / "predictions", [*predictions, *failed], PREDICTIONS)
    found = drift.write(str(tmp_path / "results"), manifest, "m", known(), {})
    assert (found.images, found.patients) == (30, 15)
    assert by_name(found)["source"].outside == 0
    assert drift.read(str(tmp_path / "results")) == found
    assert drift.read(str(tmp_path)) is None
    written = json.loads((tmp_path / "results" / drift.FILE).read_text())
    assert written["model_id"] == "m"
    assert [one["signal"] for one in written["signals"]] == [one.signal for one in found.signals]


def test_images_without_a_view_are_not_called_different() -> None:
    """A folder of PNG tells no view, and is no other archive for it."""
    view = by_name(compare(archive(view="unknown"), "m", known(), {}))["view"]
    assert (view.value, view.differs, view.unknown) == (None, False, 200)
    half = ["unknown"] * 100 + ["PA"] * 60 + ["lordotic"] * 40
    mixed = by_name(compare(archive(view=half), "m", known(), {}))["view"]
    assert (mixed.value, mixed.outside, mixed.unknown, mixed.differs) == (0.4, 40, 100, True)


def test_flags_are_trusted_unless_the_archive_differs_or_the_site_has_calibrated() -> None:
    alike, other = compare(archive(), "m", known(), {}), compare(archive(pixel_sd=np.full(200, 0.9)), "m", known(), {})
    assert alike.trusted is True
    assert other.warnings
    assert other.trusted is False
    assert replace(other, calibrated=True).trusted is True
    assert compare(archive(), "m", None, {}).trusted is None
    assert drift.untrusted_lines(alike, "ranked", "stop") == []
    said = drift.untrusted_lines(other, "random", "stop")[0]
    assert said.startswith("FLAGS ARE NOT TRUSTED")
    assert "in random order" in said
    assert said.endswith("the exit status is 1 (--on_drift stop)")


def test_a_reference_without_a_statistic_of_pixels_says_so() -> None:
    """It ended the screen with a KeyError, when the last chunk was written."""
    facts = known().facts
    without = {group: {k: v for k, v in values.items() if k != "pixel_sd"} for group, values in facts.pixels.items()}
    values = pd.Series([0.5] * 50)
    for signal in drift_signals.of_pixels("pixel_sd", values, replace(facts, pixels=without), 50):
        assert signal.value is None
        assert signal.detail == "not compared: the checkpoint's reference does not hold this statistic"
    one = dict(list(without.items())[:1]) | dict(list(facts.pixels.items())[1:])
    assert drift_signals.of_pixels("pixel_sd", values, replace(facts, pixels=one), 50)[0].value is not None


def test_tables_on_disk_are_compared_as_those_in_memory(tmp_path) -> None:
    images = archive(images=300, seed=3)
    images.loc[:5, "patient_id"] = None
    images.loc[10:20, "view"] = "lateral"
    images["view"] = images["view"].astype(object)
    images.loc[30:33, "view"] = None
    images = images.astype(object).where(images.notna(), None)
    images["dataset"] = ["b" if n % 3 else "a" for n in range(300)]
    rows = [
        prediction_row(f"a/{n}", **{str(k): v for k, v in row.items() if k in PREDICTIONS.names})
        for n, row in enumerate(images.to_dict("records"))
    ]
    for at in range(3):
        write_rows(tmp_path / "results" / "predictions", rows[at::3], PREDICTIONS, f"part-{at}")
    facts = [
        manifest_row(f"a/{n}", dataset=row["dataset"], patient_id=row["patient_id"])
        for n, row in enumerate(images.to_dict("records"))
    ]
    manifest = write_rows(tmp_path / "manifest", facts, MANIFEST)
    found = drift.write(str(tmp_path / "results"), manifest, "m", known(), {}, memory_gib=0.25)
    for name in (*SIGNALS, "p_covid", "p_unhealthy"):
        images[name] = images[name].astype(np.float32)
    assert found == compare(images, "m", known(), {})
    assert drift.read(str(tmp_path / "results")) == found


def test_of_a_file_that_has_changed_the_newest_version_counts(tmp_path) -> None:
    images = archive(images=120, seed=3).astype(object)
    rows = [
        prediction_row(f"a/{n}", **{str(k): v for k, v in row.items() if k in PREDICTIONS.names})
        for n, row in enumerate(images.to_dict("records"))
    ]
    facts = [manifest_row(f"a/{n}", patient_id=f"a/{n}") for n in range(120)]
    write_rows(tmp_path / "results" / "predictions", rows, PREDICTIONS)
    manifest = write_rows(tmp_path / "manifest", facts, MANIFEST)
    once = drift.write(str(tmp_path / "results"), manifest, "m", known(), {}, memory_gib=0.25)
    older = [row | {"image_id": f"{row['image_id']}-old", "pixel_mean": 0.99} for row in rows[:60]]
    write_rows(tmp_path / "results" / "predictions", older, PREDICTIONS, "part-00001")
    write_rows(
        tmp_path / "manifest", [row | {"image_id": f"{row['image_id']}-old"} for row in facts[:60]], MANIFEST, "b"
    )
    twice = drift.write(str(tmp_path / "results"), manifest, "m", known(), {}, memory_gib=0.25)
    assert (twice.images, twice.patients) == (180, 120)
    supersede(tmp_path / "manifest", {f"a/{n}-old": f"a/{n}" for n in range(60)})
    assert drift.write(str(tmp_path / "results"), manifest, "m", known(), {}, memory_gib=0.25) == once
