"""Counts how often a chunk was started and not finished, so that a chunk that kills its process is given up in the end.

Ray restarts a task or an actor as often as its process dies. That is right where a machine was lost. It would never end
where the chunk itself is the cause, such as images that fill the memory. So an actor that outlives the processes counts
the attempts. After some attempts the chunk's rows are written as failed, and the run continues.
"""

from typing import Any

import ray
from ray.exceptions import RayActorError

MOST_GIVEN_UP = 3
"""Number of chunks per run that may fail in the model. More than that is not the fault of the images, and ends
the run."""


class _Ledger:
    """The actor that counts, for each name, the attempts that were started and not finished."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._given_up: set[str] = set()

    def begin(self, name: str) -> int:
        before = self._begun.get(name, 0)
        self._begun[name] = before + 1
        return before

    def end(self, name: str) -> None:
        self._begun.pop(name, None)

    def give_up(self, name: str) -> int:
        self._given_up.add(name)
        return len(self._given_up)


class Attempts:
    """Counts the attempts at the chunks of one run.

    Create it in the driver after Ray has started; it can be passed to tasks. If the node of its actor is lost, counting
    starts again from zero.
    """

    def __init__(self) -> None:
        self._ledger: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Ledger).remote()

    def begin(self, name: str) -> int:
        """Records the start of an attempt, and returns how many earlier attempts under this name never finished."""
        return self._ask(self._ledger.begin.remote(name))

    def end(self, name: str) -> None:
        """Records that an attempt has finished, which resets the count of this name."""
        self._ledger.end.remote(name)

    def give_up(self, name: str) -> int:
        """Records that a name is given up, and returns how many names this run has given up, this one included."""
        return self._ask(self._ledger.give_up.remote(name))

    @staticmethod
    def _ask(answer: Any) -> int:
        try:
            return int(ray.get(answer))
        except RayActorError:
            return 0
