from comit_ray.statistics.metric import Metric


def test_what_stands_in_metrics_json() -> None:
    """The first eight have been there from the beginning: people's scripts read them."""
    found = Metric("auroc", 0.5, 10, "test", "all").to_json()
    old = {"metric": "auroc", "value": 0.5, "n": 10, "split": "test", "group": "all", "at": None, "low": None}
    assert list(found.items())[:7] == list(old.items())
    new = {"high": None, "interval": None, "patients": None, "level": "image", "reason": None}
    assert dict(list(found.items())[7:]) == new
