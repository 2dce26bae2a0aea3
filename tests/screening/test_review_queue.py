from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.special import expit, logit

from comit_ray.checkpoint import temperature
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.screening.review_queue import MANIFEST_COLUMNS
from comit_ray.screening.review_reasons import MOST_URGENT_FIRST
from comit_ray.tables.schema import PREDICTIONS, REVIEW_QUEUE
from comit_ray.tables.vocabulary import ReviewReason
from tests.screening.queue_of_tables import queue_of

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.6})
ALL = QueueConfig(random_negatives=0)


def image(image_id: str, p_covid: float | None = 0.1, **changes: Any) -> dict[str, Any]:
    """A scored, unremarkable adult; `changes` are columns of predictions or manifest."""
    scored = p_covid is not None
    row = {
        "image_id": image_id,
        "status": "ok" if scored else "failed",
        "p_covid": p_covid,
        "p_unhealthy": 0.9 if scored else None,
        "p_other": 0.2 if scored else None,
        "covid_flag": p_covid >= 0.5 if p_covid is not None else None,
        "lung_area": 0.3 if scored else None,
        "disease_area": 0.03 if scored else None,
        "disease_in_lung": 0.1 if scored else None,
        "model_id": "m",
        "run_id": "r",
        "screened_at": pd.Timestamp("2026-01-01", tz="UTC"),
        "uri": f"/archive/{image_id}",
        "age": 50.0,
    }
    return row | changes


def queue(
    *images: dict[str, Any], config: QueueConfig = ALL, point: OperatingPoint = POINT, trusted: bool | None = None
) -> Any:
    """The queue as a DataFrame by image_id."""
    predictions = pa.Table.from_pylist(list(images), schema=PREDICTIONS)
    columns = {
        "image_id": pa.string(), "uri": pa.string(), "member": pa.string(), "study_id": pa.string(),
        "age": pa.float32(), "sex": pa.string(), "covid": pa.int8(), "unhealthy": pa.int8(),
    }  # fmt: skip
    assert list(columns) == MANIFEST_COLUMNS
    manifest = pa.Table.from_pylist(list(images), schema=pa.schema(list(columns.items())))
    built = queue_of(predictions, manifest, config, point, trusted)
    assert built.schema.equals(REVIEW_QUEUE, check_metadata=True)
    return built.to_pandas().set_index("image_id")


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("above_operating_point", image("x", 0.5)),
        ("label_disagrees", image("x", 0.1, covid=1)),
        ("label_disagrees", image("x", 0.9, covid=0)),
        ("covid_but_healthy", image("x", 0.9, p_unhealthy=0.2)),
        ("covid_without_disease", image("x", 0.9, disease_area=0.0)),
        ("disease_outside_lungs", image("x", 0.9, disease_area=0.1, disease_in_lung=0.1)),
        ("no_lungs_found", image("x", 0.1, lung_area=0.01, disease_in_lung=None)),
        ("not_a_frontal_chest", image("x", 0.1, p_frontal_chest=0.49)),
        ("near_threshold", image("x", 0.39)),
        ("unhealthy_above_operating_point", image("x", 0.1, unhealthy_flag=True)),
        ("child", image("x", 0.1, age=7)),
        ("child", image("x", None, age=7, reason="missing", detail="no file")),
        ("failed", image("x", None, reason="truncated", detail="half a file")),
    ],
)
def test_each_reason(reason, row):
    found = queue(row, image("plain"))
    assert list(found.index) == ["x"]
    assert reason in found.loc["x", "reasons"]


@pytest.mark.parametrize(
    "row",
    [
        image("x", 0.37),
        image("x", 0.1, covid=0),
        image("x", 0.1, age=None),
        image("x", 0.1, p_unhealthy=0.2, disease_area=0.0),
        image("x", None, status="excluded", reason="lateral", detail="view LL", age=7),
        image("x", None, reason="not_an_image", detail="a text file"),
    ],
)
def test_the_unremarkable_is_not_queued(row):
    assert queue(row).empty


def test_labels_agreeing_with_a_positive_give_no_disagreement():
    assert list(queue(image("x", 0.9, covid=1)).loc["x", "reasons"]) == ["above_operating_point"]


def test_most_urgent_first_and_studies_stay_together():
    found = queue(
        image("near", 0.48, study_id="s1"),
        image("high", 0.8, study_id="s2"),
        image("highest", 0.95, study_id="s1"),
        image("broken", None, reason="corrupt", detail="x"),
    )
    assert list(found.index) == ["highest", "near", "high", "broken"]
    assert list(found["rank"]) == [1, 2, 3, 4]


def test_equal_scores_are_ordered_by_what_else_is_seen():
    found = queue(
        image("a", 1.0, p_unhealthy=0.7),
        image("b", 1.0, p_unhealthy=0.9),
        image("c", 1.0, p_unhealthy=0.9, disease_in_lung=0.4),
        image("d", 1.0, p_unhealthy=None),
        image("e", 0.9, p_unhealthy=1.0),
    )
    assert list(found.index) == ["c", "b", "a", "d", "e"]


def test_the_unhealthy_are_ordered_by_the_unhealthy_score():
    rows = [
        image("x", 0.2, p_unhealthy=0.7, unhealthy_flag=True),
        image("y", 0.1, p_unhealthy=0.95, unhealthy_flag=True),
    ]
    assert list(queue(*rows).index) == ["y", "x"]


def test_random_negatives_stand_for_all_of_their_kind():
    images = [image(f"n{i}") for i in range(200)] + [image("pos", 0.9)]
    found = queue(*images, config=QueueConfig(random_negatives=0.1))
    drawn = found[found["reasons"].map(list).map(lambda r: r == ["random_negative"])]
    assert len(drawn) == 20
    assert drawn["sampling_weight"].sum() == pytest.approx(200)
    assert found.loc["pos", "sampling_weight"] == 1
    again = queue(*reversed(images), config=QueueConfig(random_negatives=0.1))
    assert set(again.index) == set(found.index)
    other = queue(*images, config=QueueConfig(random_negatives=0.1, seed=1))
    assert set(other.index) != set(found.index)


def test_capacity_keeps_the_quotas_and_reweights_the_sample():
    images = [image(f"p{i:02}", 0.6 + i / 100) for i in range(30)]
    images += [image(f"f{i}", None, reason="truncated", detail="x") for i in range(10)]
    images += [image(f"n{i}") for i in range(100)]
    config = QueueConfig(capacity=20, random_negatives=0.5, quotas={"failed": 0.1, "random_negative": 0.2})
    found = queue(*images, config=config)
    first = found["reasons"].map(lambda reasons: reasons[0])
    assert first.value_counts().to_dict() == {"above_operating_point": 14, "random_negative": 4, "failed": 2}
    assert found.loc[first == "random_negative", "sampling_weight"].tolist() == [25.0] * 4
    assert found.index[0] == "p29"


def test_a_model_without_covid_head_queues_the_unhealthy():
    row = image("x") | {"p_covid": None, "covid_flag": None, "p_unhealthy": 0.9, "unhealthy_flag": True}
    found = queue(row, point=OperatingPoint("specificity_0.90", {"unhealthy": 0.6}))
    assert list(found.loc["x", "reasons"]) == ["above_operating_point", "unhealthy_above_operating_point"]
    assert found.loc["x", "score"] == pytest.approx(0.9)


def test_a_segmenter_queues_what_its_masks_and_the_manifest_say():
    """Without a score there is no disagreement with a label, and nobody is a negative to draw a sample of."""
    nothing = {"p_covid": None, "covid_flag": None, "p_unhealthy": None, "p_other": None}
    rows = [image(f"x{i}", covid=i % 2) | nothing for i in range(20)]
    rows += [image("none", lung_area=0.01) | nothing, image("child", age=7) | nothing]
    found = queue(*rows, config=QueueConfig(random_negatives=0.5), point=OperatingPoint("any", {}))
    assert {name: list(found.loc[name, "reasons"]) for name in found.index} == {
        "none": ["no_lungs_found"],
        "child": ["child"],
    }
    assert found["score"].isna().all()


def test_near_the_threshold_is_measured_on_the_scores_as_written():
    """As --temperature says: divided by 2, log-odds 0.8 apart are 0.4 apart, and near."""
    scores, threshold = expit(np.array([-0.8, -1.2])), expit(0.0)
    rows = [image(f"x{i}", float(p), covid_flag=False) for i, p in enumerate(scores)]
    assert queue(*rows, point=OperatingPoint("off", {"covid": threshold})).empty
    scaled = [image(f"x{i}", float(expit(logit(p) / 2)), covid_flag=False) for i, p in enumerate(scores)]
    on = OperatingPoint("on", {"covid": temperature.carry(threshold, 2)})
    assert list(queue(*scaled, point=on).index) == ["x0"]


def test_an_empty_archive_gives_an_empty_queue():
    assert queue(image("n")).empty


def test_unknown_quota_is_refused():
    with pytest.raises(ValueError, match=r"unknown reason 'covd'.*above_operating_point"):
        QueueConfig(quotas={"covd": 0.1})


def test_near_a_low_threshold_is_not_everything():
    low = OperatingPoint("specificity_0.90", {"covid": 0.01, "unhealthy": 0.6})
    rows = [image(f"x{p}", p, covid_flag=False) for p in (0.0001, 0.005, 0.0062, 0.009)]
    assert list(queue(*rows, point=low).index) == ["x0.009", "x0.0062"]


def test_every_reason_has_its_place_in_the_queue() -> None:
    assert sorted(MOST_URGENT_FIRST) == sorted(ReviewReason)


def archive(count: int) -> list[dict[str, Any]]:
    """Scores from 0 to 1 and one file that failed."""
    scored = [image(f"x{n:03d}", n / count) for n in range(count)]
    return [*scored, image("failed", None, reason="truncated", detail="half a file")]


def test_of_an_untrusted_archive_the_capacity_cuts_a_random_sample_with_its_weight() -> None:
    config = QueueConfig(capacity=40, untrusted="random")
    found = queue(*archive(200), config=config, trusted=False)
    assert len(found) == 40
    sample = found.drop(index="failed")
    assert len(sample) == 39
    assert sample["sampling_weight"].tolist() == pytest.approx([200 / 39] * 39)
    assert found.loc["failed", "sampling_weight"] == 1
    assert 0.35 < sample["p_covid"].mean() < 0.65  # 0.5 expected; in the order of scores it would be 0.9
    assert (sample["flag_trusted"] == False).all()  # noqa: E712 the column holds nulls too
    assert pd.isna(found.loc["failed", "flag_trusted"])
    again = queue(*reversed(archive(200)), config=config, trusted=False)
    assert again.index.tolist() == found.index.tolist()
    other = queue(*archive(200), config=config.model_copy(update={"seed": 1}), trusted=False)
    assert set(other.index) != set(found.index)


def test_of_an_untrusted_archive_all_may_be_read_in_the_usual_order() -> None:
    plain = queue(*archive(50), trusted=False)
    whole = queue(*archive(50), config=ALL.model_copy(update={"untrusted": "all"}), trusted=False)
    assert set(whole.index) == {row["image_id"] for row in archive(50)}
    assert whole.index.tolist()[: len(plain)] == plain.index.tolist()
    rest = whole.iloc[len(plain) :]
    assert all([*reasons] == ["flags_untrusted"] for reasons in rest["reasons"])
    assert rest["p_covid"].is_monotonic_decreasing


@pytest.mark.parametrize("trusted", [True, None])
@pytest.mark.parametrize("untrusted", ["random", "all"])
def test_a_trusted_archive_has_the_queue_it_always_had(untrusted, trusted) -> None:
    plain = queue(*archive(50))
    found = queue(*archive(50), config=ALL.model_copy(update={"untrusted": untrusted}), trusted=trusted)
    assert found.index.tolist() == plain.index.tolist()
    assert found["reasons"].map(list).tolist() == plain["reasons"].map(list).tolist()


def test_the_most_severe_may_come_first_whatever_the_reason() -> None:
    rows = [
        image("flagged", 0.9, severity=2.0),
        image("severe", 0.45, severity=14.5),
        image("unmeasured", 0.95),
        image("moderate", 0.7, severity=6.0),
    ]
    found = queue(*rows, config=ALL.model_copy(update={"order": "severity"}))
    assert found.index.tolist() == ["severe", "moderate", "flagged", "unmeasured"]
    assert found["severity"].tolist()[:3] == [14.5, 6.0, 2.0]
    assert queue(*rows).index.tolist()[0] == "unmeasured"


def test_what_looks_like_no_frontal_chest_is_the_last_of_its_reason_and_never_left_out() -> None:
    """A CT slice stood ninth, by a score that says nothing of a slice; one that is flagged is read all the same."""
    found = queue(
        image("slice", 0.99, p_frontal_chest=0.1),
        image("chest", 0.6, p_frontal_chest=0.9),
        image("unchecked", 0.7, p_frontal_chest=None),
        image("lateral", 0.1, p_frontal_chest=0.1),
    )
    assert list(found.index) == ["unchecked", "chest", "slice", "lateral"]
    assert list(found.loc["slice", "reasons"]) == ["above_operating_point", "not_a_frontal_chest"]
    off = queue(image("lateral", 0.1, p_frontal_chest=0.1), config=QueueConfig(random_negatives=0, min_frontal_chest=0))
    assert off.empty
