import pyarrow as pa
import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks.accounts import Accounts
from comit_ray.errors import Reason
from comit_ray.screening.screen_summary import account_lines, next_lines, queue_lines, scores_line, time_line

POINT = OperatingPoint("specificity_0.90", {"covid": 0.3174, "unhealthy": 0.5})
ACCOUNTS = Accounts(
    asked=1205,
    by_status={"ok": 1170, "excluded": 35},
    by_reason={("ok", ""): 1170, ("excluded", "lateral"): 12, ("excluded", "wrong_modality"): 23},
    flagged=150,
    problems=(),
)


@pytest.mark.parametrize(
    ("scores", "temperatures", "expected"),
    [
        ((), {}, "the model has no score"),
        (("covid",), {}, "not calibrated (--temperature off)"),
        (("covid", "other"), {"covid": 1.7345, "other": 0.5}, "log-odds of covid by 1.73, other by 0.5"),
    ],
)
def test_the_screen_says_what_its_scores_are(scores, temperatures, expected):
    assert expected in scores_line(scores, temperatures)


def test_every_image_is_counted_and_what_has_no_score_has_its_reason_in_words():
    assert ACCOUNTS.balanced
    assert account_lines(ACCOUNTS, POINT) == [
        "1,205 images in the manifest: 1,170 ok, 35 excluded, 0 failed",
        "  excluded: 23 wrong_modality (it is not a radiograph (CT, for example)), 12 lateral (it is a lateral view)",
        "flagged for COVID-19: 150 of 1,170 (score at or above 0.317, specificity_0.90); not flagged is not normal",
    ]


def test_of_many_reasons_the_commonest_are_told_and_the_others_counted():
    reasons = [Reason.EMPTY, Reason.MISSING, Reason.BLANK, Reason.CORRUPT, Reason.TRUNCATED, Reason.TOO_LARGE]
    by_reason = {("failed", str(reason)): 10 - number for number, reason in enumerate(reasons)}
    count = sum(by_reason.values())
    lines = account_lines(Accounts(count, {"failed": count}, by_reason, 0, ()), POINT)
    assert lines[1].startswith("  failed: 10 empty (the file is empty), 9 missing (there is no file), 8 blank")
    assert lines[1].endswith("7 corrupt (the file is damaged), 11 for 2 more reasons (docs/tables.md counts them)")


def test_accounts_that_do_not_balance_say_so():
    broken = Accounts(10, {"ok": 9}, {("ok", ""): 9}, 0, ("chunk file x is absent",))
    text = "\n".join(account_lines(broken, POINT))
    assert "PROBLEM: chunk file x is absent" in text
    assert "do NOT balance" in text


def test_images_that_the_storage_refused_are_to_be_tried_again():
    refused = Accounts(3, {"ok": 1, "failed": 2}, {("ok", ""): 1, ("failed", "unreadable"): 2}, 0, ())
    assert "the storage refused 2 images: run the same command again" in "\n".join(account_lines(refused, POINT))


def test_a_model_without_scores_flags_nothing():
    assert "the model has no score: no image is flagged" in account_lines(ACCOUNTS, None)[2]


QUEUE = pa.table(
    {
        "rank": [1, 2, 3, 4],
        "image_id": ["files/doe.png", "files/b.png", "files/c.dcm", "files/d.png"],
        "reasons": [["above_operating_point", "child"], ["near_threshold"], ["failed"], ["random_negative"]],
        "score": [0.934, 0.5, None, 0.1],
        "p_covid": [0.934, 0.5, None, 0.1],
    }
)


def test_the_head_of_the_queue_is_told_with_names_on_a_terminal_alone():
    assert queue_lines(QUEUE, 4, names=True) == [
        "to be read: 4 images in the review queue, the most urgent first:",
        "  1. score 0.93, flagged for COVID-19: files/doe.png",
        "  2. score 0.50, COVID-19 score below its threshold, but near it: files/b.png",
        "  3. could not be scored: files/c.dcm",
    ]
    assert "doe" not in "\n".join(queue_lines(QUEUE, 4, names=False))
    healthy_or_not = QUEUE.set_column(4, "p_covid", pa.nulls(4, pa.float64()))
    assert queue_lines(healthy_or_not, 4, names=False)[1] == "  1. score 0.93, flagged as unhealthy"
    assert queue_lines(QUEUE.slice(0, 0), 0, names=True) == ["the review queue is empty"]


def test_the_speed_is_that_of_this_run_and_a_run_without_work_says_so():
    assert time_line(1205, 10.0) == "120.5 images/s in this run (1,205 in 10.0 s, start-up included)"
    assert "nothing was left to do" in time_line(0, 1.0)


def test_what_follows_is_a_command():
    lines = next_lines("/out", "/out/manifest", 4, None)
    assert lines[0] == "tables: /out/predictions, /out/masks, /out/review_queue"
    assert lines[1] == "next: comit-ray review --results /out"
    assert "comit-ray requeue --results /out --manifest /out/manifest --queue.capacity 2 " in lines[2]
    assert len(next_lines("/out", "/out/manifest", 0, None)) == 1
