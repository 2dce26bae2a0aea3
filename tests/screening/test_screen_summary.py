import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks.accounts import Accounts
from comit_ray.errors import Reason
from comit_ray.screening.drift import Drift, read, untrusted_lines
from comit_ray.screening.drift_signals import Signal, SignalKind
from comit_ray.screening.results_folder import unread_lines
from comit_ray.screening.screen_summary import account_lines, next_lines, queue_lines, scores_line, time_line
from comit_ray.tables import parquet
from comit_ray.tables.schema import REVIEW_QUEUE, UNREAD

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


def folder(root: Path, reasons: list[list[str]], trusted: bool | None) -> str:
    """A results folder with a queue of scored images, and what was found when it was compared."""
    rows = [
        {"rank": n, "image_id": f"a/{n}", "reasons": why, "score": 0.9, "sampling_weight": 1.0, "uri": "/a/b",
         "status": "ok", "model_id": "m"}
        for n, why in enumerate(reasons, start=1)
    ]  # fmt: skip
    parquet.write_table(f"{root}/review_queue/queue.parquet", pa.Table.from_pylist(rows, schema=REVIEW_QUEUE))
    parquet.write_table(f"{root}/unread/unread.parquet", UNREAD.empty_table())
    far = Signal("pixel_mean", SignalKind.RANGE, 0.9, 180, 0.8, 0.95, 0.05, differs=not trusted)
    if trusted is not None:
        (root / "drift.json").write_text(json.dumps(asdict(Drift("m", 4, 4, (far,)))))
    return str(root)


FLAGGED = ["above_operating_point"]


def test_what_follows_is_a_command(tmp_path):
    where = folder(tmp_path, [FLAGGED] * 4, None)
    lines = next_lines(where, "/m", None)
    assert lines[0] == f"tables: {where}/predictions, {where}/masks, {where}/review_queue"
    assert lines[1:] == [
        f"next: comit-ray review --results {where}",
        f"if that is too many to read: comit-ray requeue --results {where} --manifest /m --queue.capacity 2",
    ]
    assert len(next_lines(folder(tmp_path / "empty", [], True), "/m", None)) == 1


def test_where_flags_are_not_trusted_a_random_sample_is_the_one_next_step(tmp_path):
    """From the warning to the last line: no line asks to read the queue in the order of these flags."""
    where = folder(tmp_path / "ranked", [FLAGGED] * 4, False)
    drifted = read(where)
    assert drifted is not None
    told = [*untrusted_lines(drifted, "ranked", "warn"), *unread_lines(where), *next_lines(where, "/m", None)]
    assert [line.partition("   ")[0] for line in told if line.startswith(("next:", "then:"))] == [
        f"next: comit-ray requeue --results {where} --manifest /m --queue.untrusted random --queue.capacity 200",
        f"then: comit-ray review --results {where}",
        f"then: comit-ray calibrate --results {where} --output SITE",
    ]
    assert "queue.csv has 4 images, ordered by flags that are not trusted" in told
    assert not [line for line in told if "keeps the N most urgent" in line or "too many" in line]


def test_once_the_sample_is_queued_it_is_to_be_read(tmp_path):
    where = folder(tmp_path, [[*FLAGGED, "flags_untrusted"]] * 4, False)
    assert [line.partition(" --")[0] for line in next_lines(where, "/m", 200)[1:]] == [
        "next: comit-ray review",
        "then: comit-ray calibrate",
    ]
    assert unread_lines(where) == ["read the 4 images of queue.csv, all with a reason"]


def test_a_random_order_is_not_called_urgent():
    order = QUEUE.append_column("placed_by", pa.array(["random_order"] * 4))
    assert queue_lines(order, 4, names=False)[0] == "to be read: 4 images in the review queue, in random order:"
    assert queue_lines(QUEUE, 4, names=False, untrusted=True)[0].endswith("by flags that are not trusted:")
