import pyarrow as pa
import pytest

from comit_ray.errors import ConfigError, ManifestError
from comit_ray.prepare.frames import FRAMES
from comit_ray.training.run_training import ACCOUNT_COLUMNS, account_rows, check_accounts, check_left_out


def table(*rows: tuple[str | None, str | None, str | None, int | None]) -> pa.Table:
    """(split, left_out, failed, covid) of each row."""
    names = ("split", "left_out", "failed", "covid")
    records = [{"image_id": f"x/{i}", **dict(zip(names, row, strict=True))} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(records, schema=FRAMES).select(ACCOUNT_COLUMNS)


GOOD = [("train", None, None, 1), ("train", None, None, 0), ("train", None, None, None), ("val", None, None, 1)]
TEST = ("test", "split: test", None, None)
BROKEN = ("train", None, "truncated: half a file", 1)


def test_every_row_is_counted_once() -> None:
    accounts = account_rows(table(*GOOD, TEST, TEST, BROKEN))
    assert accounts.used == {"train": 3, "val": 1}
    assert accounts.covid == 1
    assert accounts.left_out == {"split: test": 2}
    assert accounts.failed == [("x/6", "truncated: half a file")]
    assert accounts.rows == sum(accounts.used.values()) + 2 + 1
    assert accounts.lines[0] == (
        "manifest: 7 rows = 3 to train on (1 with COVID-19) + 1 to validate on + 2 left out + 1 failed"
    )
    assert accounts.lines[1:] == [
        "left out: 2 split: test",
        "failed: 1 truncated",
        "  x/6: truncated: half a file",
    ]


def test_failures_above_the_allowed_share_stop_the_training() -> None:
    accounts = account_rows(table(*GOOD, BROKEN))
    check_accounts(accounts, 0.2)
    with pytest.raises(ManifestError, match=r"1 of 5 images cannot be read.*x/4: truncated"):
        check_accounts(accounts, 0.19)


@pytest.mark.parametrize(("rows", "split"), [(GOOD[:3], "val"), (GOOD[3:], "train"), ([TEST], "train")])
def test_an_empty_split_stops_the_training(rows, split) -> None:
    with pytest.raises(ManifestError, match=f"expected images of the {split} split"):
        check_accounts(account_rows(table(*rows)), 0.05)


def test_many_failures_are_cut_to_a_few_and_counted() -> None:
    lines = account_rows(table(*GOOD, *[BROKEN] * 8)).lines
    assert lines[1] == "failed: 8 truncated"
    assert lines[-1] == "  and 3 more"


def test_a_source_that_has_nothing_to_leave_out_is_a_slip_and_is_named() -> None:
    accounts = account_rows(table(*GOOD, ("train", "source: nih", None, None)))
    check_left_out(accounts, ("nih",))
    with pytest.raises(ConfigError, match="leave_out: the data have no image of NIH to train or validate on"):
        check_left_out(accounts, ("nih", "NIH"))
