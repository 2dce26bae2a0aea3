"""What became of every manifest row before training: used, left out on purpose, or failed; each counted and told."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.errors import ConfigError, ManifestError
from comit_ray.tables.vocabulary import Split

COLUMNS = ["image_id", "split", "left_out", "failed", "covid"]
"""Of `comit_ray.prepare.frames.FRAMES`: small ones, so that a large manifest's fit on the driver."""
EXAMPLES = 5


@dataclass(frozen=True)
class Accounts:
    """Counts of manifest rows; `rows` is the sum of all the others.

    Attributes:
        rows: of the manifest.
        used: split -> frames.
        covid: frames of the training split with COVID-19.
        left_out: why -> rows that training does not want.
        failed: (image id, reason and sentence) of wanted rows that could not be read.
    """

    rows: int
    used: dict[str, int]
    covid: int
    left_out: dict[str, int]
    failed: list[tuple[str, str]]

    @property
    def lines(self) -> list[str]:
        """For a person: one line of counts, one of what was left out, and one a failure for the first few."""
        train, val = self.used.get(Split.TRAIN, 0), self.used.get(Split.VAL, 0)
        counts = (
            f"manifest: {self.rows} rows = {train} to train on ({self.covid} with COVID-19) + {val} to validate on + "
            f"{sum(self.left_out.values())} left out + {len(self.failed)} failed"
        )
        lines = [counts]
        if self.left_out:
            why = sorted(self.left_out.items(), key=lambda item: -item[1])
            lines.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in why))
        if self.failed:
            codes = Counter(_code(text) for _, text in self.failed)
            lines.append("failed: " + ", ".join(f"{count} {code}" for code, count in codes.most_common()))
            lines += [f"  {image_id}: {text}" for image_id, text in self.failed[:EXAMPLES]]
            if len(self.failed) > EXAMPLES:
                lines.append(f"  and {len(self.failed) - EXAMPLES} more")
        return lines


def account(frames: pa.Table) -> Accounts:
    """The accounts of `COLUMNS` of all frame rows."""
    used = frames.filter(pc.and_(pc.is_null(frames["left_out"]), pc.is_null(frames["failed"])))
    train = used.filter(pc.equal(used["split"], Split.TRAIN))
    failed = frames.filter(pc.is_valid(frames["failed"]))
    return Accounts(
        rows=frames.num_rows,
        used=dict(Counter(used["split"].to_pylist())),
        covid=int(pc.sum(pc.equal(train["covid"], 1)).as_py() or 0),
        left_out=dict(Counter(frames["left_out"].drop_null().to_pylist())),
        failed=sorted(zip(failed["image_id"].to_pylist(), failed["failed"].to_pylist(), strict=True)),
    )


def check(accounts: Accounts, max_failed_share: float) -> None:
    """Stop before a training that would not be the one that was asked for.

    Raises:
        ManifestError: if a split is empty, or more than `max_failed_share` of the wanted rows failed.
    """
    wanted = sum(accounts.used.values()) + len(accounts.failed)
    if len(accounts.failed) > max_failed_share * wanted:
        raise ManifestError(
            f"{len(accounts.failed)} of {wanted} images cannot be read, more than max_failed_share "
            f"({max_failed_share:g}) allows; {'; '.join(accounts.lines[-EXAMPLES - 2 :])}"
        )
    for split in (Split.TRAIN, Split.VAL):
        if not accounts.used.get(split):
            raise ManifestError(
                f"the manifest has no image of the {split} split with a label or mask for the model's tasks; "
                f"{'; '.join(accounts.lines)}"
            )


def check_left_out(accounts: Accounts, sources: Sequence[str]) -> None:
    """A source that is to be left out and has nothing to leave out is a slip of the pen.

    Raises:
        ConfigError: naming it, and those that were left out.
    """
    nothing = [name for name in sources if not accounts.left_out.get(f"source: {name}")]
    if nothing:
        raise ConfigError(
            f"leave_out: the data have no image of {', '.join(nothing)} to train or validate on; datasets are named as "
            f"in the manifest's column `dataset`. {'; '.join(accounts.lines)}"
        )


def _code(text: str) -> str:
    return text.partition(":")[0]
