import json
from pathlib import Path

import numpy as np
import pytest

from comit_ray.checkpoint import operating_points
from comit_ray.config.config_base import operating_point_name
from comit_ray.errors import ConfigError, NotFoundError


def scores() -> dict:
    negatives = np.arange(100) / 200
    return {"covid": (np.append(negatives, [0.6, 0.455, 0.2]), [0] * 100 + [1] * 3)}


def test_thresholds_are_chosen_by_specificity() -> None:
    document = operating_points.choose(scores())
    assert list(document) == ["specificity_0.90", "specificity_0.99"]
    at_90 = document["specificity_0.90"]["covid"]
    assert (at_90.specificity, at_90.positives, at_90.negatives) == (0.9, 3, 100)
    assert at_90.sensitivity == pytest.approx(2 / 3)
    assert document["specificity_0.99"]["covid"].sensitivity == pytest.approx(1 / 3)


def test_any_list_of_specificities_has_names_of_its_own() -> None:
    specificities = (0.8, 0.95, 0.99, 0.995, 1.0)
    document = operating_points.choose(scores(), specificities)
    assert list(document) == [
        "specificity_0.80", "specificity_0.95", "specificity_0.99", "specificity_0.995", "specificity_1.00"
    ]  # fmt: skip
    found = [document[operating_point_name(s)]["covid"] for s in specificities]
    assert [point.specificity for point in found] == [0.8, 0.95, 0.99, 1.0, 1.0]
    thresholds = [point.threshold for point in found if point.threshold is not None]
    assert len(thresholds) == len(specificities)
    assert thresholds == sorted(thresholds)


@pytest.mark.parametrize(
    ("specificity", "expected"),
    [(0.9, "0.90"), (1, "1.00"), (1.0, "1.00"), (0.9999, "0.9999"), (1e-05, "0.00001"), (np.float64(0.999), "0.999")],
)
def test_names_are_never_rounded(specificity, expected) -> None:
    assert operating_point_name(specificity) == f"specificity_{expected}"


@pytest.mark.parametrize("specificity", [0.0, 1.5])
def test_a_specificity_out_of_range_is_refused(specificity) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        operating_points.choose(scores(), (0.9, specificity))


def test_a_model_without_scores_has_points_without_thresholds() -> None:
    document = operating_points.choose({})
    points = operating_points.parse(operating_points.to_json(document), origin="x")
    assert points["specificity_0.90"].thresholds == {}


def test_a_file_reads_back_exactly(tmp_path: Path) -> None:
    document = operating_points.choose(scores())
    path = tmp_path / "points.json"
    path.write_bytes(operating_points.to_json(document))
    points = operating_points.read(str(path))
    assert points["specificity_0.90"].threshold("covid") == document["specificity_0.90"]["covid"].threshold
    assert points["specificity_0.90"].name == "specificity_0.90"


@pytest.mark.parametrize(("label", "lacking"), [(0, "no positive image"), (1, "no negative image")])
def test_without_a_class_the_threshold_is_null_with_a_reason(label, lacking) -> None:
    document = operating_points.choose({"covid": ([0.1, 0.2], [label, label])})
    written = json.loads(operating_points.to_json(document))["specificity_0.90"]["covid"]
    assert written["threshold"] is None
    assert lacking in written["reason"]
    point = operating_points.parse(operating_points.to_json(document), origin="x")["specificity_0.90"]
    assert point.thresholds == {}
    with pytest.raises(ConfigError, match=f"specificity_0.90 has no threshold for covid: {lacking}"):
        point.threshold("covid")


def test_a_sites_own_file_needs_thresholds_alone() -> None:
    points = operating_points.parse('{"ours": {"covid": {"threshold": 0.4}}}', origin="site.json")
    assert points["ours"].thresholds == {"covid": 0.4}
    with pytest.raises(ConfigError, match="ours has no threshold for unhealthy: it has covid"):
        points["ours"].threshold("unhealthy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"ours": 0.4}',
        '{"ours": {"covid": {"threshold": "high"}}}',
        '{"ours": {"covid": {"threshold": NaN}}}',
        '{"ours": {"covid": {"treshold": 0.4}}}',
    ],
)
def test_another_file_is_refused_by_name(text) -> None:
    with pytest.raises(ConfigError, match=r"site\.json: expected JSON such as"):
        operating_points.parse(text, origin="site.json")


def test_an_absent_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        operating_points.read(str(tmp_path / "none.json"))


def by_source(**negatives: int) -> dict:
    """Negatives of each source, spread evenly from 0 to 0.5, those of `high` from 0.4 to 0.9; ten positives at 0.95."""
    values, names = [], []
    for name, count in negatives.items():
        values += list(np.linspace(0, 0.5, count) + (0.4 if name == "high" else 0))
        names += [name] * count
    labels = [0] * len(values) + [1] * 10
    return {"covid": (np.array([*values, *[0.95] * 10]), labels, [*names, *["a"] * 10])}


def test_the_worst_source_decides_and_the_counts_are_kept() -> None:
    found = operating_points.choose_for_every_source(by_source(a=100, high=20), (0.9,))
    assert list(found) == ["specificity_0.90_every_source"]
    point = found["specificity_0.90_every_source"]["covid"]
    assert point.threshold is not None
    assert 0.8 < point.threshold < 0.9
    assert point.sources is not None
    assert point.sources["high"].specificity == pytest.approx(0.9)
    assert (point.sources["high"].negatives, point.sources["high"].used) == (20, True)
    assert point.sources["a"].specificity == 1
    pooled = operating_points.choose({"covid": by_source(a=100, high=20)["covid"][:2]}, (0.9,))
    threshold = pooled["specificity_0.90"]["covid"].threshold
    assert threshold is not None
    assert threshold < point.threshold


def test_a_source_with_too_few_negatives_takes_no_part_and_is_named() -> None:
    point = operating_points.choose_for_every_source(by_source(a=100, high=9), (0.9,))["specificity_0.90_every_source"]
    assert point["covid"].threshold is not None
    assert point["covid"].threshold < 0.51
    assert point["covid"].sources is not None
    high = point["covid"].sources["high"]
    assert (high.negatives, high.used) == (9, False)
    assert high.specificity is not None
    assert high.specificity < 0.3


def test_no_source_large_enough_gives_no_threshold_and_the_reason() -> None:
    point = operating_points.choose_for_every_source(by_source(a=9, b=3), (0.9,))["specificity_0.90_every_source"]
    assert point["covid"].threshold is None
    assert point["covid"].reason == "no source has 10 negative images in the validation split, got a 9, b 3"


def test_the_counts_are_in_the_file_and_absent_where_they_do_not_belong() -> None:
    document = operating_points.choose_for_every_source(by_source(a=20, b=3), (0.9,)) | operating_points.choose(
        scores()
    )
    written = json.loads(operating_points.to_json(document))
    assert written["specificity_0.90_every_source"]["covid"]["sources"]["b"] == {
        "negatives": 3,
        "specificity": pytest.approx(2 / 3),
        "used": False,
    }
    assert "sources" not in written["specificity_0.90"]["covid"]
    read = operating_points.parse(operating_points.to_json(document), origin="test")
    assert (
        read["specificity_0.90_every_source"].thresholds["covid"]
        == document["specificity_0.90_every_source"]["covid"].threshold
    )


def test_the_point_is_never_below_that_of_all_together() -> None:
    """Nine negatives of `high` are too few for a part of their own, and still count among all."""
    given = by_source(a=20, high=9)
    every = operating_points.choose_for_every_source(given, (0.9,))["specificity_0.90_every_source"]["covid"]
    pooled = operating_points.choose({"covid": given["covid"][:2]}, (0.9,))["specificity_0.90"]["covid"]
    assert every.threshold == pooled.threshold
