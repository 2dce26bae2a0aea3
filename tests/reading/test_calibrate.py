import json

import numpy as np
import pandas as pd
import pytest

from comit_ray.checkpoint import operating_points
from comit_ray.config.reading_config import CalibrateConfig
from comit_ray.errors import ConfigError
from comit_ray.reading import calibrate, site_thresholds
from comit_ray.reading.cases import manifest_of
from comit_ray.reading.site_thresholds import reaching, recommend, table, within_capacity
from comit_ray.reading.store import Reviews, Verdict
from comit_ray.tables import parquet
from tests.reading.screens import write_queue, write_screen

FACTS = {"role": "first", "blinded": True, "model_id": "m", "run_id": "r"}


@pytest.fixture(scope="module")
def read_screen(tmp_path_factory) -> str:
    """All twelve images of it (one is broken) with a verdict that is the truth."""
    results, manifest = write_screen(tmp_path_factory.mktemp("screen"), images=12)
    covid = dict(parquet.read_table(manifest).select(["image_id", "covid"]).to_pandas().itertuples(index=False))
    reviews = Reviews(results)
    for number, (image_id, sick) in enumerate(covid.items()):
        said = {"verdict": "abnormal", "category": "typical" if sick else "negative"}
        reviews.put("anna", Verdict(image_id=image_id, submission=f"number-{number}", **said), FACTS)
    return results


def judged(scores, truth, weight=1.0) -> pd.DataFrame:
    ids = [f"a/{number}" for number in range(len(scores))]
    frame = pd.DataFrame({"score": scores, "truth": np.asarray(truth, bool), "weight": weight, "patient_id": ids})
    return frame.assign(age=50.0, sex=["F", "M"] * (len(ids) // 2), view="PA", site=None)


def test_every_threshold_has_its_counts_by_group():
    images = judged([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0], [1, 1, 1, 10])
    rows = {(row.group, row.threshold): row for row in table(images, images, [0.5], 0.5, 2.0)}
    all_ = rows["all", 0.5]
    assert (all_.tp, all_.fp, all_.tn, all_.fn) == (1, 1, 10, 1)
    assert (all_.sensitivity, all_.specificity, all_.ppv, all_.npv) == (0.5, 10 / 11, 0.5, 10 / 11)
    assert (all_.images_read, all_.cost_per_case) == (2, 4 * 0.5 + 2 * 2.0)
    assert {group for group, _ in rows} == {"all", "age=40-59", "sex=F", "sex=M", "view=PA", "site=unknown"}
    assert (rows["sex=F", 0.5].tp, rows["sex=F", 0.5].fn) == (1, 1)


def test_the_threshold_reaches_the_sensitivity_with_the_weights():
    score, truth = np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, True, True, False])
    assert reaching(score, truth, np.ones(4), 2 / 3) == 0.8
    assert reaching(score, truth, np.array([1, 1, 10, 1]), 2 / 3) == 0.3, "the missed one stands for ten"
    assert reaching(score, ~truth | truth, np.ones(4), 1.0) == 0.2


def test_a_capacity_is_never_exceeded():
    scores = np.array([0.9, 0.9, 0.5, 0.1])
    assert [within_capacity(scores, n) for n in (1, 2, 3, 4)] == [None, 0.9, 0.5, 0.1]


def test_the_recommendation_has_intervals_and_its_threshold_moves():
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.3
    images = judged(rng.normal(truth * 1.5), truth)
    best = recommend(images, images, sensitivity=0.9, capacity=None, fewest=10, draws=200, seed=0)
    assert 0.9 <= best.at.sensitivity < 0.92
    assert best.sensitivity.low < 0.9 < best.sensitivity.high
    assert best.moved.low < best.threshold < best.moved.high
    few = recommend(images[:20], images, sensitivity=0.9, capacity=None, fewest=100, draws=20, seed=0)
    assert few.threshold is None
    assert "at least 100 are needed" in few.reason


def test_the_file_is_the_screens_and_bound_to_the_model(read_screen, tmp_path):
    config = CalibrateConfig(results=read_screen, output=str(tmp_path), minimum_positives=2, draws=50, sensitivity=0.95)
    said = calibrate.write(config)
    point = operating_points.read(str(tmp_path / "operating_points.json"))["site"]
    assert point.thresholds == {"covid": pytest.approx(0.9)}
    point.check_made_for("m", "none")
    with pytest.raises(ConfigError, match="chosen for scores of model m, but these are scores of other"):
        point.check_made_for("other", "none")
    with pytest.raises(ConfigError, match="set --temperature as it was"):
        point.check_made_for("m", "temperature")
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["recommended"]["at"]["sensitivity"] == 1.0
    assert "screen --operating_points" in said
    rows = pd.read_csv(tmp_path / "thresholds.csv")
    assert {"all", "sex=M", "site=north"} <= set(rows["group"])


def test_verdicts_of_a_sample_stand_for_all_that_were_not_drawn(read_screen, tmp_path):
    """Of four images without a reason one is drawn: it stands for four, whatever share of the queue was read."""
    results, manifest = write_screen(tmp_path, images=12)
    write_queue(results, manifest, random_negatives=0.25, near_threshold=0.0)
    for file in (tmp_path / "results" / "reviews").glob("*"):
        file.unlink()
    config = CalibrateConfig(results=results, output=str(tmp_path / "o"), tests=str(tmp_path / "tests.csv"))
    queue = parquet.read_part(f"{results}/review_queue/queue.parquet").to_pandas()
    tested = queue[queue["status"] == "ok"]["image_id"]
    (tmp_path / "tests.csv").write_text(
        "image_id,result\n" + "".join(f"{one},{number % 2}\n" for number, one in enumerate(tested))
    )
    scored, known = calibrate.known(config)
    assert known["weight"].sum() == pytest.approx(len(scored))
    assert known["weight"].max() > 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [("a/000.dcm,2\n", "expected results of 1"), ("a/000.dcm,1\na/000.dcm,0\n", "one result per image"),
     ("b/1,1\n", "are not in the queue")],
)  # fmt: skip
def test_a_wrong_table_of_tests_is_one_line(read_screen, tmp_path, rows, message):
    (tmp_path / "t.csv").write_text("image_id,result\n" + rows)
    config = CalibrateConfig(results=read_screen, output=str(tmp_path), tests=str(tmp_path / "t.csv"))
    with pytest.raises(ConfigError, match=message):
        calibrate.write(config)


def test_too_few_positives_recommend_nothing_and_leave_the_table(read_screen, tmp_path):
    with pytest.raises(ConfigError, match="no operating point can be recommended: 4 positive images are known"):
        calibrate.write(CalibrateConfig(results=read_screen, output=str(tmp_path), draws=5))
    assert (tmp_path / "thresholds.csv").exists()
    assert not (tmp_path / "operating_points.json").exists()


def test_the_thresholds_of_the_table_are_spread_over_the_scores():
    assert site_thresholds.grid(np.arange(1000.0), 5) == [0, 250, 500, 749, 999]


def test_every_row_is_that_of_a_join_in_memory(read_screen):
    """The tables that DuckDB gives, against pandas on the same files."""
    scored, judged_images = calibrate.known(CalibrateConfig(results=read_screen, output="", sensitivity=0.9))
    predictions = parquet.read_table(f"{read_screen}/predictions").to_pandas()
    people = parquet.read_table(manifest_of(read_screen, None)).to_pandas()[
        ["image_id", "patient_id", "age", "sex", "view", "site"]
    ]
    mine = predictions[(predictions["status"] == "ok") & predictions["p_covid"].notna()]
    expected = mine[["image_id", "p_covid", "model_id"]].merge(people, on="image_id", how="left")
    assert scored["score"].tolist() == expected["p_covid"].tolist()
    for name in ("sex", "view", "site", "model_id"):
        assert (
            scored[name].astype(object).where(scored[name].notna(), None).tolist()
            == expected[name].astype(object).where(expected[name].notna(), None).tolist()
        )
    assert judged_images["image_id"].tolist() == expected["image_id"].tolist(), "each has a verdict"
    assert judged_images["patient_id"].tolist() == expected["patient_id"].tolist()
