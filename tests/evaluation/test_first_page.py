"""The page for people: alarms first, counts and whole percent, and no number that says nothing."""

import numpy as np
import pytest

from comit_ray.evaluation.first_page import (
    OF_SOURCES,
    OF_THE_ARCHIVE,
    PLAIN,
    decimals,
    in_words,
    percent,
    suppressed,
    write,
)
from comit_ray.evaluation.screen_metrics import screen_metrics
from comit_ray.statistics.metric import Metric
from tests.evaluation.support import scored_images


def images(positives: int, negatives: int, **changes):
    """Positives with high scores, negatives with low ones, half of each overlapping."""
    count = positives + negatives
    covid = np.arange(count) < positives
    score = np.where(covid, 0.4, 0.2) + np.arange(count) % 10 / 25
    flags = score >= 0.5
    masks = {"lung_mask": None, "disease_mask": None}
    return scored_images(count, covid=covid.astype(float), p_covid=score, covid_flag=flags, **masks, **changes)


def page(table, belief=(), minimum=10):
    metrics = suppressed(screen_metrics(table, "test", draws=30), table, minimum)
    return write(table, metrics, belief, (), minimum)


def test_an_alarm_is_the_first_sentence_and_a_shortcut_before_drift() -> None:
    said = ("WARNING: another archive.", "SHORTCUT: a mark, AUROC 0.8: and much more", "nothing else")
    first = page(images(30, 30), said).verdict[0]
    assert first == "SHORTCUT: a mark, AUROC 0.8: and much more (1 more warning in the appendix). " + OF_SOURCES
    assert page(images(30, 30)).verdict[0].startswith(["The model flags 24", "30, 80% (62 to 91%)"][0][:15])


@pytest.mark.parametrize("part", PLAIN)
def test_the_first_page_has_plain_words_for_every_alarm(part) -> None:
    told, follows = PLAIN[part]
    assert page(images(30, 30), [f"WARNING: {part}, AUROC 0.97 (n=9)."]).verdict[0] == f"WARNING: {told}. {follows}"
    assert not {"probe", "embedding", "AUROC"} & set(told.split())


def test_drift_says_nothing_of_the_disease() -> None:
    said = "WARNING: the archive (12 images) does not look like the training data of model abc: pixel_sd: median 0.25."
    assert page(images(30, 30), [said]).verdict[0].endswith(OF_THE_ARCHIVE)


def test_counts_whole_percent_and_both_classes() -> None:
    found = page(images(30, 40))
    numbers = dict(found.numbers)
    assert numbers["Images scored"] == "70 of 70"
    assert numbers["COVID-19 flagged"].startswith("21 of 30, 70% (")
    assert numbers["Ranking (AUROC; 0.5 is guessing)"].endswith(", 30 + 40 images")
    assert len(found.numbers) <= 6
    assert len(found.verdict) <= 3


def test_two_negatives_give_a_reason_and_no_auroc() -> None:
    table = images(240, 2)
    found = page(table)
    text = " ".join([*found.verdict, *(told for _, told in found.numbers)])
    assert "negatives of only 2 patients, and a number needs at least 10" in text
    assert "0." not in text.replace("at least 10.", "")
    assert dict(found.numbers)["Others not flagged"].endswith("of 2 (too few for a share)")
    metrics = suppressed(screen_metrics(table, "test", draws=30), table, 10)
    values = {(m.metric, m.at): m.value for m in metrics if m.group == "all" and m.level == "image"}
    assert values["auroc", None] is values["eer", None] is values["sensitivity_at_specificity", 0.9] is None
    assert values["sensitivity_at_operating_point", "specificity_0.90"] is not None


def test_a_source_with_both_classes_says_what_is_left_inside_it() -> None:
    table = images(30, 60)
    dataset = np.where((np.arange(90) < 30) | (np.arange(90) >= 75), "a", "b")
    found = page(table.assign(dataset=dataset))
    assert " inside a" in found.verdict[-1]
    assert "Ranking (AUROC) inside a" in dict(found.numbers)
    apart = page(table.assign(dataset=np.where(np.arange(90) < 30, "a", "b")))
    assert "it is not shown whether the model learned the disease" in apart.verdict[-1]


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [
        (28 / 30, 0.844, 0.9961, "93% (84 to 100%)"),
        (0.5, 0.29, 0.71, "50% (29 to 71%)"),
        (0.5, None, None, "50% (no interval)"),
    ],
)
def test_the_ends_of_an_interval_are_rounded_outward(value, low, high, told) -> None:
    assert percent(value, low, high) == told


def test_as_many_digits_as_the_interval_supports() -> None:
    assert decimals(Metric("auroc", 0.754, 9, "s", "all", low=0.601, high=0.899)) == "0.8 (0.6 to 0.9)"
    assert decimals(Metric("auroc", 0.964, 9, "s", "all", low=0.943, high=0.981)) == "0.96 (0.94 to 0.99)"
    assert in_words(Metric("share", 1.0, 3, "s", "all", low=0.4, high=1.0), 10) == "3 of 3 (too few for a share)"
