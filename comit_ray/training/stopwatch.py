"""Where an epoch's time goes: waiting for data, forward, backward, optimiser."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds by part. A GPU works behind its host's back: there its own events are the clock, read at the end.

    So on a GPU the host's waiting may overlap the device's parts. On a CPU a part may hold a wait for other workers:
    forward, for the count of labels in the step; backward, for their gradients.

    Args:
        device: that computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def host(self, part: str) -> Iterator[None]:
        """Count what the host spends, for instance waiting."""
        began = time.perf_counter()
        yield
        self._seconds[part] += time.perf_counter() - began

    @contextmanager
    def device(self, part: str) -> Iterator[None]:
        """Count what the device spends."""
        if not self._on_gpu:
            with self.host(part):
                yield
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        yield
        end.record()
        self._events.append((part, begin, end))

    def seconds(self) -> dict[str, float]:
        """Sum of each part, in seconds; on a GPU this waits until it has done everything."""
        if self._events:
            torch.cuda.synchronize()
        for part, begin, end in self._events:
            self._seconds[part] += begin.elapsed_time(end) / 1000  # milliseconds
        self._events.clear()
        return dict(self._seconds)
