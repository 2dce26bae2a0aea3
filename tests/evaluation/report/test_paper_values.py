"""The paper's numbers agree with one another where they should, and where they do not a remark says so."""

import pytest

from comit_ray.evaluation.report import paper_values

PRINTED = [value for value in vars(paper_values).values() if isinstance(value, paper_values.Printed)]


@pytest.mark.parametrize("printed", [one for one in PRINTED if one.counts and one is not paper_values.ACCURACY])
def test_a_printed_share_is_that_of_its_counts(printed: paper_values.Printed) -> None:
    hits, whole = printed.counts or (0, 0)
    assert printed.value == pytest.approx(hits / whole, abs=0.00006)


def test_the_accuracy_differs_by_a_hundredth_and_says_so() -> None:
    hits, whole = paper_values.ACCURACY.counts or (0, 0)
    assert whole == 6_299
    assert f"{hits / whole:.2%}" == "98.78%"
    assert paper_values.ACCURACY.value == 0.9879
    assert "98.78%" in paper_values.ACCURACY.remark


def test_every_sensitivity_of_table_4_is_a_share_of_the_positives() -> None:
    assert len(paper_values.TABLE_4) == 9
    for row in paper_values.TABLE_4.values():
        for value in (row.at_99, row.at_90):
            assert value * paper_values.COVID_IMAGES == pytest.approx(
                round(value * paper_values.COVID_IMAGES), abs=1e-9
            )


def test_two_rows_of_table_5_are_not_and_the_remark_names_them() -> None:
    assert len(paper_values.TABLE_5) == 8
    odd = {
        f"{value:.2%}".removesuffix("%")
        for value in paper_values.TABLE_5.values()
        if abs(value * paper_values.COVID_IMAGES - round(value * paper_values.COVID_IMAGES)) > 1e-9
    }
    assert odd == {"84.40", "67.80"}
    assert all(value in paper_values.TABLE_5_REMARK for value in odd)


def test_the_same_network_has_the_same_numbers_in_all_tables() -> None:
    comit = paper_values.TABLE_4["COMiT-Net"]
    assert comit.at_90 == paper_values.TABLE_5["All 4 tasks"] == paper_values.SENSITIVITY_AT_90.value
    assert comit.at_99 == paper_values.SENSITIVITY_AT_99.value
    assert (
        paper_values.SEGMENTATION["COMiT-Net"]
        == paper_values.SEGMENTATION["All 4 tasks"]
        == paper_values.Segmentation(0.85, 0.87)
    )


def test_f1_is_that_of_precision_and_recall() -> None:
    precision, recall = paper_values.PRECISION.value, paper_values.SENSITIVITY_AT_99.value
    assert paper_values.F1.value == pytest.approx(2 * precision * recall / (precision + recall), abs=0.00005)


def test_found_and_missed_of_bimcv_are_all() -> None:
    assert paper_values.BIMCV_FOUND.counts == (2_098 - 305, 2_098)
    assert paper_values.BIMCV_MISSED_WITHOUT_ABNORMALITY.counts == (115, 305)


def test_every_number_has_its_place() -> None:
    assert len(PRINTED) == 9
    assert all(one.place.startswith("section 4.") and 0 < one.value < 1 for one in PRINTED)
