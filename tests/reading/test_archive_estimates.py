import numpy as np
import pandas as pd
import pytest

from comit_ray.reading import archive_estimates
from comit_ray.reading.archive_estimates import Counts, counts, estimate, figures, positives_of, reference


def reading(image_id: str, reader: str, abnormal: bool | None, role: str = "first") -> dict:
    return {"image_id": image_id, "reader": reader, "role": role, "abnormal": abnormal}


def test_intervals_hold_as_often_as_they_say():
    """80 archives here; the 1,000 of `tests/benchmarks/reading.py` are what is published."""
    shares = archive_estimates.simulate(80, seed=1, images=800, sample=120)
    for name, share in shares.items():
        assert 0.90 <= share <= 1.0, (name, share)


def test_the_truth_is_the_adjudicators_else_what_all_agree_on():
    verdicts = pd.DataFrame(
        [
            reading("one", "a", True),
            reading("agree", "a", False), reading("agree", "b", False, "second"),
            reading("differ", "a", False), reading("differ", "b", True, "second"),
            reading("decided", "a", False), reading("decided", "b", True, "second"),
            reading("decided", "c", True, "adjudicator"),
            reading("nobody", "a", None),
            reading("half", "a", None), reading("half", "b", True, "second"),
        ]
    )  # fmt: skip
    assert reference(verdicts, "abnormal") == {"one": True, "agree": False, "decided": True, "half": True}


def screen(flagged: int, near: int, rest: int, drawn: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = [f"{kind}{number}" for kind, n in (("f", flagged), ("n", near), ("r", rest)) for number in range(n)]
    predictions = pd.DataFrame({"image_id": ids, "status": "ok", "covid_flag": [i[0] == "f" for i in ids]})
    queue = [(i, ["above_operating_point"], 1.0) for i in ids if i[0] == "f"]
    queue += [(i, ["near_threshold"], 1.0) for i in ids if i[0] == "n"]
    queue += [(f"r{number}", ["random_negative"], rest / drawn) for number in range(drawn)]
    return predictions, pd.DataFrame(queue, columns=["image_id", "reasons", "sampling_weight"])


def test_what_was_read_is_counted_by_what_it_stands_for():
    predictions, queue = screen(10, 5, 100, 20)
    truth = {i: i in ("f0", "f1", "f2", "f3", "n0", "r7") for i in queue["image_id"]}
    read = counts(predictions, queue, truth, "covid_flag")
    assert read == Counts(found=4, false=6, missed_queued=1, rest_queued=4, population=100, drawn=20, positive=1)
    found = estimate(read)
    assert found["sensitivity"].value == pytest.approx(4 / (5 + 5))
    assert found["prevalence"].value == pytest.approx(10 / 115)
    assert found["sensitivity"].low < 0.4 < found["sensitivity"].high <= 4 / 6
    assert found["specificity"].low < 99 / 105 < found["specificity"].high


def test_who_has_read_every_image_knows():
    predictions, queue = screen(10, 0, 20, 20)
    read = counts(predictions, queue, {i: i[0] == "f" for i in queue["image_id"]}, "covid_flag")
    assert estimate(read)["sensitivity"] == archive_estimates.Estimate(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("f", "of the 15 images with a reason have no deciding verdict"),
        ("r", "no random negative has a deciding verdict"),
    ],
)
def test_what_cannot_be_estimated_says_why(lost, message):
    predictions, queue = screen(10, 5, 100, 20)
    truth = {i: True for i in queue["image_id"] if i[0] != lost}
    found = estimate(counts(predictions, queue, truth, "covid_flag"))["sensitivity"]
    assert found.value is None
    assert message in found.reason


def test_a_queue_cut_by_its_capacity_stands_for_less_than_the_archive():
    predictions, queue = screen(10, 5, 100, 20)
    cut = queue[queue["image_id"] != "n3"]
    assert "scored images missing from the queue: 1;" in counts(
        predictions, cut, dict.fromkeys(cut["image_id"], True), "covid_flag"
    )


@pytest.mark.parametrize(("population", "drawn"), [(50, 10), (200, 40), (600, 60)])
def test_the_interval_of_the_missed_is_near_its_level_whatever_their_number(population, drawn):
    """Exactly, from the law of the sample: on average over K it holds in 95%."""
    from scipy.stats import hypergeom

    ends = [positives_of(population, drawn, x) for x in range(drawn + 1)]
    covered = []
    for k in range(0, population + 1, max(1, population // 25)):
        law = hypergeom(population, k, drawn).pmf(np.arange(drawn + 1))
        covered.append(sum(p for p, (low, high) in zip(law, ends, strict=True) if low <= k <= high))
    assert 0.94 <= np.mean(covered) <= 0.975
    assert min(covered) > 0.88


def test_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="expected positive <= drawn"):
        positives_of(10, 5, 6)
    assert figures(Counts(0, 0, 0, 0, 0, 0, 0), 0) == dict.fromkeys(("sensitivity", "specificity", "prevalence"))
