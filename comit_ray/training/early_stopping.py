"""Early stopping: when patience ends a training, which epoch is best, whether a run is complete."""

from collections.abc import Sequence

from comit_ray.training.validation import EpochMetrics


def best_epoch(history: Sequence[EpochMetrics]) -> int | None:
    """Index of the epoch with the lowest validation loss, the last of equals, as Ray Train keeps it; None: no epoch."""
    known = _lowest(history)
    return known[-1] if known else None


def given_up(history: Sequence[EpochMetrics], patience: int | None) -> bool:
    """Whether `patience` epochs have passed without a lower validation loss; never if it is None."""
    known = _lowest(history)
    return patience is not None and bool(known) and len(history) - 1 - known[0] >= patience


def _lowest(history: Sequence[EpochMetrics]) -> list[int]:
    """The epochs that have the lowest validation loss."""
    losses = [metrics["val_loss"] for metrics in history]
    lowest = min((loss for loss in losses if loss is not None), default=None)
    return [epoch for epoch, loss in enumerate(losses) if loss is not None and loss == lowest]


def whole(history: Sequence[EpochMetrics], epochs: int, patience: int | None) -> bool:
    """Whether a run has all the epochs that are asked for, or has given up."""
    return len(history) >= epochs or given_up(history, patience)
