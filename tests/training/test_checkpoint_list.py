"""A torn list of checkpoints is made again, and Ray Train itself reads it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from ray.train import CheckpointConfig
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext

from comit_ray.checkpoint import checkpoint
from comit_ray.errors import ConfigError
from comit_ray.training import checkpoint_list
from comit_ray.training.run_directory import SNAPSHOT
from tests.support import write_checkpoint


def run_of(
    root: Path, losses: dict[int, float], snapshot: bytes = b'{"ray_version": "2.60.0", "checkpoint_res'
) -> Path:
    """A run with a checkpoint of each epoch, and a list of checkpoints."""
    for epoch, loss in losses.items():
        at = root / "run" / f"checkpoint_{epoch:04d}"
        write_checkpoint(at)
        (at / checkpoint.METRICS).write_text(json.dumps({"epoch": epoch, "val_loss": loss}))
    (root / "run").mkdir(exist_ok=True)
    (root / "run" / SNAPSHOT).write_bytes(snapshot)
    return root / "run"


def as_ray_reads(run: Path) -> tuple[str, list[str], dict[str, object]]:
    """Ray Train's latest checkpoint, its checkpoints from the worst to the best, and metrics of the best."""
    options = CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="val_loss", checkpoint_score_order="min")
    found = CheckpointManager(options, StorageContext(str(run.parent), run.name, read_only=True))
    latest, listed = found.latest_checkpoint_result, found._checkpoint_results
    assert latest is not None
    assert latest.checkpoint is not None
    return (
        Path(latest.checkpoint.path).name,
        [Path(one.checkpoint.path).name for one in listed if one.checkpoint is not None],
        found.best_checkpoint_results[0].metrics,
    )


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({7: 0.4}, ["checkpoint_0007"]),
        ({3: 0.2, 7: 0.4}, ["checkpoint_0007", "checkpoint_0003"]),
        ({3: 0.2, 6: 0.3, 7: 0.1}, ["checkpoint_0007"]),
        ({3: 0.2, 7: 0.2}, ["checkpoint_0007"]),
        ({3: 0.2, 7: float("nan")}, ["checkpoint_0007", "checkpoint_0003"]),
    ],
)
@pytest.mark.parametrize("snapshot", [b"", b'{"ray_version": "2.6', b"\x00" * 40, b"[]"])
def test_ray_train_goes_on_from_a_list_that_was_torn(
    tmp_path: Path, losses: dict[int, float], expected: Sequence[str], snapshot: bytes
) -> None:
    run = run_of(tmp_path, losses, snapshot)
    checkpoint_list.mend(str(run))
    latest, listed, metrics = as_ray_reads(run)
    assert latest == "checkpoint_0007"
    assert listed == expected
    assert metrics["epoch"] == int(expected[-1][-4:])


def test_a_checkpoint_that_was_not_written_to_its_end_is_left_out_and_named(tmp_path: Path, capsys) -> None:
    run = run_of(tmp_path, {3: 0.2, 7: 0.4, 8: 0.1, 9: 0.1})
    (run / "checkpoint_0008" / checkpoint.WEIGHTS).write_bytes(b"half")
    state = run / "checkpoint_0009" / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:-100])
    checkpoint_list.mend(str(run))
    assert as_ray_reads(run)[:2] == ("checkpoint_0007", ["checkpoint_0007", "checkpoint_0003"])
    told = capsys.readouterr().out
    assert "2 complete checkpoints, the latest checkpoint_0007" in told
    assert told.count("not used: ") == 2


def test_without_a_complete_checkpoint_the_error_says_what_to_do(tmp_path: Path) -> None:
    run = run_of(tmp_path, {1: 0.2})
    (run / "checkpoint_0001" / checkpoint.WEIGHTS).unlink()
    with pytest.raises(ConfigError, match=r"is torn, and the run has no complete checkpoint.*give another --name"):
        checkpoint_list.mend(str(run))


def test_a_whole_list_stays_as_it_is(tmp_path: Path) -> None:
    run = run_of(tmp_path, {1: 0.2}, b'{"whole": true}')
    checkpoint_list.mend(str(run))
    assert (run / SNAPSHOT).read_bytes() == b'{"whole": true}'
    (run / SNAPSHOT).unlink()
    checkpoint_list.mend(str(run))
    assert not (run / SNAPSHOT).exists()
