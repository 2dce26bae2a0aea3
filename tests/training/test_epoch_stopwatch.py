import time

import torch

from comit_ray.training.epoch import Stopwatch


def test_each_part_has_its_own_time() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.host("waiting"):
        time.sleep(0.02)
    for _ in range(2):
        with watch.device("forward"):
            time.sleep(0.01)
    seconds = watch.seconds()
    assert set(seconds) == {"waiting", "forward"}
    assert all(value >= 0.02 for value in seconds.values())
