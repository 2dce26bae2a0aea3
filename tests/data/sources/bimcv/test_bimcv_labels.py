from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comit_ray.data.sources.bimcv.bimcv_labels import DAYS_POSITIVE, CovidTest, covid_label

DAY = date(2020, 3, 20)


def label(*tests: tuple[int, str, str], act: bool = False) -> int | None:
    """The label of a radiograph with tests so many days after it."""
    return covid_label(DAY, [CovidTest(DAY + timedelta(days=d), kind, result) for d, kind, result in tests], act=act)


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([(0, "PCR", "POSITIVO")], 1),
        ([(13, "PCR", "POSITIVO")], 1),
        ([(-13, "PCR", "POSITIVO")], 1),
        ([(14, "PCR", "POSITIVO")], 0),
        ([(-14, "PCR", "POSITIVO")], 0),
        ([(15, "PCR", "POSITIVO"), (-13, "IGG", "POSITIVO")], 1),
        ([(5, "PCR", "POSITIVO"), (4, "PCR", "NEGATIVO")], 0),
        ([(5, "PCR", "POSITIVO"), (-6, "PCR", "NEGATIVO")], 1),
        ([(5, "PCR", "POSITIVO"), (-5, "PCR", "NEGATIVO")], 1),
        ([(13, "PCR", "POSITIVO"), (13, "PCR", "NEGATIVO")], 1),
        ([(14, "PCR", "POSITIVO"), (14, "PCR", "NEGATIVO")], 0),
        ([(0, "PCR", "POSITIVO"), (0, "PCR", "NEGATIVO")], 1),
        ([(2, "PCR", "POSITIVO"), (9, "PCR", "POSITIVO"), (3, "PCR", "NEGATIVO")], 1),
        ([(0, "PCR", "NEGATIVO")], 0),
        ([(300, "IGM", "NEGATIVO")], 0),
        ([(0, "PCR", "INDETERMINADO")], None),
        ([(0, "PCR", "INDETERMINADO"), (13, "PCR", "POSITIVO")], 1),
        ([(0, "PCR", "INDETERMINADO"), (1, "PCR", "NEGATIVO"), (2, "PCR", "POSITIVO")], 0),
        ([(7, "IGG", "POSITIVO")], 1),
        ([(7, "IGM", "POSITIVO")], 1),
        ([(7, " RT-PCR ", " positivo\n")], 1),
        ([(7, "IgG", "Negativo")], 0),
        ([(7, "PCR", "DETECTADO")], None),
        ([(7, "ELISA", "POSITIVO")], None),
        ([], None),
    ],
)
def test_the_rule(tests: list[tuple[int, str, str]], expected: int | None) -> None:
    assert label(*tests) == expected


@pytest.mark.parametrize(
    ("tests", "without", "counted"),
    [
        ([(0, "ACT", "POSITIVO")], None, 1),
        ([(0, "ACT", "NEGATIVO")], None, 0),
        ([(5, "PCR", "POSITIVO"), (1, "ACT", "NEGATIVO")], 1, 0),
        ([(5, "PCR", "NEGATIVO"), (5, "act", "POSITIVO")], 0, 1),
    ],
)
def test_antigen_tests_count_only_if_asked_for(
    tests: list[tuple[int, str, str]], without: int | None, counted: int
) -> None:
    assert label(*tests) == without
    assert label(*tests, act=True) == counted


def test_without_a_day_nothing_is_said() -> None:
    assert covid_label(None, [CovidTest(DAY, "PCR", "POSITIVO")]) is None
    unreadable = CovidTest(None, "PCR", "POSITIVO")
    assert covid_label(DAY, [unreadable]) is None
    assert covid_label(DAY, [unreadable, CovidTest(DAY, "PCR", "NEGATIVO")]) == 0


TESTS = st.lists(
    st.builds(
        CovidTest,
        st.none() | st.integers(-30, 30).map(lambda days: DAY + timedelta(days=days)),
        st.sampled_from(["PCR", "IGG", "IGM", "ACT", "ELISA"]),
        st.sampled_from(["POSITIVO", "NEGATIVO", "INDETERMINADO"]),
    ),
    max_size=6,
)


@given(TESTS, st.booleans())
def test_the_rule_is_the_papers(tests: list[CovidTest], act: bool) -> None:
    """Section 4.4, spelt out in another way: every test that counts, one after another."""
    kinds = {"PCR", "IGG", "IGM"} | ({"ACT"} if act else set())
    distances = [
        (abs((test.taken_on - DAY).days), test.result)
        for test in tests
        if test.taken_on is not None and test.kind in kinds and test.result != "INDETERMINADO"
    ]
    found = covid_label(DAY, tests, act=act)
    if not distances:
        assert found is None
        return
    nearest = min(distance for distance, _ in distances)
    positive_is_nearest = (nearest, "POSITIVO") in distances
    assert found == int(positive_is_nearest and nearest < DAYS_POSITIVE)


@given(TESTS, st.randoms(), st.integers(-400, 400))
def test_order_repetition_and_shifts_of_time_change_nothing(tests: list[CovidTest], random, days: int) -> None:
    expected = covid_label(DAY, tests)
    again = [*tests, *tests]
    random.shuffle(again)
    assert covid_label(DAY, again) == expected
    shift = timedelta(days=days)
    moved = [test._replace(taken_on=test.taken_on and test.taken_on + shift) for test in tests]
    assert covid_label(DAY + shift, moved) == expected
    mirrored = [test._replace(taken_on=test.taken_on and DAY - (test.taken_on - DAY)) for test in tests]
    assert covid_label(DAY, mirrored) == expected


@given(TESTS)
def test_a_positive_test_on_the_day_decides(tests: list[CovidTest]) -> None:
    assert covid_label(DAY, [*tests, CovidTest(DAY, "PCR", "POSITIVO")]) == 1
