"""What one run took, summed over its processes: for whoever measures it (`jobs/benchmark.py`).

Nobody waits for an addition, for a predictor that waits would be measured as one without images. So one that is under
way when the sums are read is not in them: at most the last chunk of a process.
"""

from collections import defaultdict
from typing import Any

import ray


class _Sums:
    """An actor. One process adds after the other."""

    def __init__(self) -> None:
        self._found: dict[str, float] = defaultdict(float)

    def add(self, name: str, amount: float) -> None:
        self._found[name] += amount

    def read(self) -> dict[str, float]:
        return dict(self._found)


class Tally:
    """Seconds by stage, and actors that began.

    It is made in the driver, once Ray runs, and travels with what the stages are given.
    """

    def __init__(self) -> None:
        self._sums: Any = ray.remote(num_cpus=0)(_Sums).remote()

    def add(self, name: str, amount: float) -> None:
        """Add to a name of `comit_ray.work.stage_names`, in a moment."""
        self._sums.add.remote(name, amount)

    def read(self) -> dict[str, float]:
        """Name -> its sum so far, what this process added with it."""
        found: dict[str, float] = ray.get(self._sums.read.remote())
        return found
