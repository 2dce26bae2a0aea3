import pytest
from hypothesis import given
from hypothesis import strategies as st

from comit_ray.data.sources.bimcv.bimcv_labels import Report, join, parse_labels, targets, unhealthy_label


@pytest.mark.parametrize(
    ("cell", "labels", "whole"),
    [
        ("['normal']", ("normal",), True),
        ("[' COVID 19', ' pneumonia ', 'pneumonia']", ("COVID 19", "pneumonia"), True),
        ("['', 'COVID 19', ' ']", ("COVID 19",), True),
        ("['ground\\tglass  pattern' , 'nodule']", ("ground\\tglass pattern", "nodule"), True),
        ("[\"it's odd\", 'nodule']", ("it's odd", "nodule"), True),
        ("[]", (), True),
        ("", (), True),
        ("nan", (), True),
        ("COVID 19', ' unchanged', '", ("COVID 19", "unchanged"), True),  # the quality sheet's form
        ("normal", ("normal",), True),
        ("['normal', ' increased den", ("normal",), False),
        ("['normal', ", ("normal",), False),
        ("['normal'", ("normal",), False),
        ("[normal]", (), False),
        ("[__import__('os').getcwd()]", (), False),
        ("['normal'] + ['x']", (), False),
        ("{'normal'}", (), False),
    ],
)
def test_lists_are_parsed_and_never_evaluated(cell: str, labels: tuple[str, ...], whole: bool) -> None:
    assert parse_labels(cell) == Report(labels, whole)


@given(st.lists(st.text("ab ',", max_size=9) | st.text('ab ",', max_size=9)), st.integers(1, 99))
def test_what_repr_writes_is_read_back_and_a_cut_is_seen(labels: list[str], cut: int) -> None:
    plain = list(dict.fromkeys(filter(None, (" ".join(label.split()) for label in labels))))
    written = repr(labels)
    assert parse_labels(written) == Report(tuple(plain), True)
    found = parse_labels(written[: max(1, len(written) - cut)])
    assert not found.whole
    assert list(found.labels) == plain[: len(found.labels)]


@given(st.text(max_size=30))
def test_any_cell_gives_labels(cell: str) -> None:
    assert all(label and label == label.strip() for label in parse_labels(cell).labels)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["['normal']"], 0),
        (["['normal']", "[' Normal ']"], 0),
        (["['normal', 'unchanged']"], None),
        (["['normal', ' increased den"], None),
        (["['normal']", "['infiltrates']"], None),
        (["['pneumonia']"], 1),
        (["['pneumonia', 'increased den"], 1),
        (["['endotracheal tube', 'scoliosis']"], 1),
        (["['endotracheal tube', 'NSG tube']"], None),
        (["['unchanged']"], None),
        (["['COVID 19']"], None),
        (["['COVID 19', ' increased density']"], 1),
        (["['exclude', 'suboptimal study']"], None),
        (["[]"], None),
        ([], None),
    ],
)
def test_what_reports_say(cells: list[str], expected: int | None) -> None:
    assert unhealthy_label(join(parse_labels(cell) for cell in cells)) == expected


@pytest.mark.parametrize(
    ("covid", "cell", "expected"),
    [
        (1, "['pneumonia']", (1, 1, 0)),
        (1, "['normal']", (0, 1, 0)),
        (1, "", (None, 1, 0)),
        (0, "['pneumonia']", (None, 0, None)),
        (0, "['normal']", (None, 0, None)),
        (0, "", (None, 0, None)),
        (None, "['pneumonia']", (1, None, None)),
        (None, "['normal']", (0, None, 0)),
        (None, "", (None, None, None)),
    ],
)
def test_a_positive_test_is_no_radiographic_disease(
    covid: int | None, cell: str, expected: tuple[int | None, ...]
) -> None:
    assert targets(covid, parse_labels(cell)) == expected
