"""What can be read off the figures of the epochs so far: the best one, and whether to go on."""

from collections.abc import Sequence

from comit_ray.training.scores import Figures


def best_epoch(history: Sequence[Figures]) -> int | None:
    """Index of the epoch with the lowest validation loss, the first of equals; None before the first."""
    losses = [figures["val_loss"] for figures in history]
    known = [(loss, epoch) for epoch, loss in enumerate(losses) if loss is not None]
    return min(known)[1] if known else None


def given_up(history: Sequence[Figures], patience: int | None) -> bool:
    """Whether `patience` epochs have passed without a lower validation loss; never if it is None."""
    best = best_epoch(history)
    return patience is not None and best is not None and len(history) - 1 - best >= patience
