import pytest

from comit_ray.training.early_stopping import best_epoch, given_up


def history(*losses: float | None) -> list[dict[str, float | None]]:
    return [{"val_loss": loss} for loss in losses]


def test_the_best_epoch_is_the_last_of_the_lowest() -> None:
    assert best_epoch(history()) is None
    assert best_epoch(history(3, 1, 2, 1)) == 3


@pytest.mark.parametrize(
    ("losses", "patience", "over"),
    [
        ([], 1, False),
        ([3, 2, 1], 1, False),
        ([1, 2], 1, True),
        ([1, 1], 1, True),
        ([1, 2], 2, False),
        ([1, 2, 3], 2, True),
        ([1, 2, 3, 0.5], 2, False),
        ([1, 2, 3, 4, 5], None, False),
    ],
)
def test_patience_counts_epochs_without_a_lower_loss(losses, patience, over) -> None:
    assert given_up(history(*losses), patience) is over
