from comit_ray.evaluation.report import document, terminal
from comit_ray.evaluation.report.document import Chapter, ReportDocument, Table

ANSWERS = Table("What", ("question", "answer"), (("AUROC", "0.96 | all"), ("Inside one source", "0.75 (source_a)")))


def markdown(*chapters: Chapter) -> str:
    return document.markdown(ReportDocument("Evaluation: 56 images", "Not for diagnosis.", chapters, "Rounded."))


def test_the_title_and_the_first_chapter_are_told_without_the_escapes_of_markdown() -> None:
    text = markdown(
        Chapter("summary", "Summary", ["Few images."], {"summary": ANSWERS}),
        Chapter("scores", "Scores", ["Of the second chapter."], {}),
    )
    assert terminal.digest(text).splitlines() == [
        "Evaluation: 56 images",
        "Few images.",
        "AUROC: 0.96 | all",
        "Inside one source: 0.75 (source_a)",
    ]


def test_an_alarm_of_any_chapter_comes_first_and_once() -> None:
    alarm = "SHORTCUT: the network can tell the sources apart."
    text = markdown(
        Chapter("summary", "Summary", [], {"summary": ANSWERS}),
        Chapter("belief", "Can it be believed?", [alarm, "And more."]),
        Chapter("other", "Other", [alarm]),
    )
    lines = terminal.digest(text, ("SHORTCUT: ",)).splitlines()
    assert lines[1] == alarm
    assert lines.count(alarm) == 1


def test_a_long_report_is_ten_lines_and_a_long_sentence_ends_in_dots() -> None:
    text = markdown(Chapter("summary", "Summary", [f"{number} {'word ' * 200}" for number in range(30)]))
    lines = terminal.digest(text).splitlines()
    assert len(lines) == terminal.MOST_LINES
    assert all(len(line) <= terminal.WIDTH for line in lines)
    assert lines[1].endswith(" ...")
