"""The first page, on made-up screens: every answer is there with its interval, or says why not."""

from pathlib import Path
from typing import Any

from comit_ray.evaluation import summary
from comit_ray.evaluation.screen_metrics import join_tables, screen_metrics
from tests.support import manifest_row, prediction_row, write_results


def told(root: Path, belief: tuple[str, ...] = (), sources: str = "ab", **changes: Any) -> dict[str, str]:
    """Of 40 images, every fourth with COVID-19, all of the first source; two sources."""
    manifest, predictions = [], []
    for number in range(40):
        covid = int(number % 4 == 0)
        source = sources[0] if covid or number % 2 else sources[-1]
        name = f"{source}/{number:02d}"
        manifest.append(manifest_row(name, covid=covid, unhealthy=covid, patient_id=f"p{number // 2}"))
        predictions.append(prediction_row(name, 0.2 + 0.6 * covid + number / 1_000) | changes)
    manifest.append(manifest_row(f"{sources[0]}/failed", covid=1))
    predictions.append(prediction_row(f"{sources[0]}/failed", None))
    order = sorted(range(len(manifest)), key=lambda at: str(manifest[at]["image_id"]))
    results, uri = write_results(root, [manifest[at] for at in order], [predictions[at] for at in order], [])
    images = join_tables(results, uri, "test")
    rows = summary.table(images, screen_metrics(images, "test", draws=20), "test", None, belief).rows
    return {question: answer for question, answer in rows}  # noqa: C416 rows have any length


def test_question_data_answer_and_what_it_does_not_mean(tmp_path: Path) -> None:
    found = told(tmp_path)
    assert list(found) == [
        "What was asked",
        "On what data",
        "The answer: COVID-19",
        "The answer: unhealthy",
        "Inside one source",
        "Can it be believed?",
        "What it does not mean",
    ]
    assert (
        "model m find COVID-19 and disease in the test split? An image is flagged if its score for COVID-19 is 0.8 or "
        "more (" in (found["What was asked"])
    )
    assert found["On what data"].startswith(
        "41 images of 21 patients, 40 of them scored; with COVID-19 10 images of 10 patients (0.25 of 40 labelled "
        "images). 10 patients with COVID-19 (10 images): one patient is worth 10.0 percentage points of patient-level "
        "sensitivity. Sources: a 30, b 10."
    )
    answer = found["The answer: COVID-19"]
    assert "at the stored threshold (it is not recorded where it was chosen) sensitivity 1.00 [0.72, 1.00] w" in answer
    assert "AUROC 1.00 [" in answer
    assert found["Inside one source"].startswith(
        "AUROC inside a source, where recognising the source does not help: a 1"
    )
    assert found["Inside one source"].endswith("Sources with one class alone: b.")
    assert "not flagged is not normal" in found["What it does not mean"]


def test_an_alarm_comes_first(tmp_path: Path) -> None:
    said = ("Nothing was found here.", "SHORTCUT: a mark.", "WARNING: another archive.")
    assert told(tmp_path, said)["Can it be believed?"] == "SHORTCUT: a mark. WARNING: another archive."


def test_without_an_alarm_the_first_sentence_and_without_any_that_nothing_was_examined(tmp_path: Path) -> None:
    assert told(tmp_path / "a", ("Nothing was found.", "More."))["Can it be believed?"] == "Nothing was found."
    assert "Not examined" in told(tmp_path / "b")["Can it be believed?"]


def test_one_source_alone_is_said(tmp_path: Path) -> None:
    assert told(tmp_path, sources="aa")["Inside one source"] == (
        "All images come from one source, a, so that the AUROC above is inside it."
    )


def test_a_model_without_scores_has_no_answer_and_says_no_threshold_decides(tmp_path: Path) -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        ("p_covid", "p_unhealthy", "covid_flag", "unhealthy_flag", "operating_point")
    )
    found = told(tmp_path, **nothing)
    assert "There is no threshold that decides flags." in found["What was asked"]
    assert not [question for question in found if question.startswith("The answer")]
