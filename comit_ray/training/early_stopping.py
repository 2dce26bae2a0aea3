"""Early stopping: when patience ends a training, which epoch is best, and whether a run is complete."""

from collections.abc import Sequence

from comit_ray.training.validation import EpochMetrics


def best_epoch(history: Sequence[EpochMetrics]) -> int | None:
    """Returns the index of the epoch with the lowest validation loss; None if no epoch has one.

    Among equal epochs it is the last, as Ray Train keeps it.
    """
    known = _lowest(history)
    return known[-1] if known else None


def given_up(history: Sequence[EpochMetrics], patience: int | None) -> bool:
    """Whether `patience` epochs have passed without a lower validation loss; never if `patience` is None."""
    known = _lowest(history)
    return patience is not None and bool(known) and len(history) - 1 - known[0] >= patience


def _lowest(history: Sequence[EpochMetrics]) -> list[int]:
    """Returns the epochs with the lowest validation loss."""
    losses = [metrics["val_loss"] for metrics in history]
    lowest = min((loss for loss in losses if loss is not None), default=None)
    return [epoch for epoch, loss in enumerate(losses) if loss is not None and loss == lowest]


def whole(history: Sequence[EpochMetrics], epochs: int, patience: int | None) -> bool:
    """Whether a run has all requested epochs, or has stopped early."""
    return len(history) >= epochs or given_up(history, patience)
