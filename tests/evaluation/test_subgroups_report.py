"""What may be said of differences between groups, and what not."""

import numpy as np

from comit_ray.evaluation import subgroups, subgroups_report
from comit_ray.evaluation.subgroups_report import BY_CHANCE
from tests.evaluation.support import scored_images
from tests.evaluation.test_subgroups import figure, sample


def told(images, minimum: int = 10) -> str:
    return "\n".join(
        subgroups_report.sentences(images, subgroups.subgroup_metrics(images, "test", minimum, 60), minimum)
    )


def test_a_difference_beyond_the_intervals_is_named_with_its_count() -> None:
    said = told(sample(worse=0.25))
    assert "COVID-19: in 2 of 3 comparisons of two groups (by sex) the intervals do not overlap. The largest" in said
    assert "is in sensitivity by sex: 0.8" in said
    assert " for sex=F and 0." in said
    assert " for sex=M (by sex, 2 of 3 comparisons; by chance alone about 0.1)." in said
    assert "Not compared, because it is not known or the same for all images: age, view, dataset, site, device." in said


def test_intervals_that_overlap_allow_no_claim_in_either_direction() -> None:
    said = told(sample())
    assert (
        "COVID-19: in 3 comparisons of two groups (by sex) all intervals overlap, so that no difference is shown"
        in said
    )
    assert "This does not show that there is none." in said
    assert "largest" not in said


def test_what_chance_gives_in_many_comparisons_is_no_difference() -> None:
    """Twenty sites, 190 pairs, one of which is apart: chance alone gives about one."""
    images = sample(site=[f"s{number % 20:02d}" for number in range(600)], sex="F")
    found = [figure(f"site=s{number:02d}", 0.5, 0.8) for number in range(18)]
    found += [figure("site=s18", 0.3, 0.55), figure("site=s19", 0.6, 0.9)]
    (said, _) = subgroups_report.sentences(images, found, 10)
    assert said == (
        "COVID-19: in 1 of 190 comparisons of two groups (by site) the intervals do not overlap, no more often than by "
        "chance alone (about 1.1), so that no difference is shown."
    )


def test_chance_of_one_pair() -> None:
    """Two estimates of one truth, equally exact: how often do their intervals not overlap?"""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 400_000))
    assert abs(np.mean(np.abs(first - second) > 2 * 1.96) - BY_CHANCE) < 0.0005


def test_few_patients_are_not_compared() -> None:
    said = told(sample(30))
    assert "COVID-19 by sex: no two groups have enough patients for a comparison." in said
    assert "Suppressed because they have fewer than 10 patients: " in said


def test_nothing_known_is_said_to_be_nothing() -> None:
    assert told(scored_images(4, covid=1.0, p_covid=0.5)).startswith("There are no subgroups: sex, age, view")


def test_a_table_an_attribute_with_what_is_suppressed_counted() -> None:
    images = sample(age=[5.0] * 6 + [50.0] * 594)
    found = subgroups.subgroup_metrics(images, "test", 10, 40)
    tables = subgroups_report.tables(images, found, 10)
    assert list(tables) == ["by_sex", "by_age"]
    assert tables["by_sex"].columns[:4] == ("score", "sex", "images", "patients")
    assert [row[:4] for row in tables["by_sex"].rows] == [("COVID-19", sex, "300", "300") for sex in "FM"]
    child, adult = tables["by_age"].rows
    assert child[1:4] == ("0-17", "6", "6")
    assert all(cell.startswith("suppressed (n=") for cell in child[4:])
    assert all("[" in cell for cell in adult[4:])
    assert (
        "Suppressed: 4 of 8 metrics, because they have fewer than 10 patients with a positive image"
        in tables["by_age"].note
    )
