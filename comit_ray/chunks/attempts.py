"""How often a chunk was begun and not ended: a process that dies over one is replaced, but not for ever.

Ray starts a task anew, and an actor too, as often as their process dies. That is right where a machine was lost. Where
the chunk itself is to blame, as one whose images fill the memory, it would never end. So the tries are counted in an
actor, which outlives them: after some tries the chunk's rows say that they failed, and the run goes on.
"""

from typing import Any

import ray
from ray.exceptions import RayActorError

MOST_GIVEN_UP = 3
"""Chunks of a run that a model may fail on; more are no fault of the images, and end the run."""


class _Ledger:
    """An actor. Name of what was begun and not ended -> how often."""

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
    """The tries of one run's chunks; it is made in the driver, once Ray runs, and travels to the tasks.

    Where the node of its actor is lost, the counts begin anew.
    """

    def __init__(self) -> None:
        self._ledger: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Ledger).remote()

    def begin(self, name: str) -> int:
        """How many tries of this name were begun before, and did not end."""
        return self._ask(self._ledger.begin.remote(name))

    def end(self, name: str) -> None:
        """The try has ended, and another one of this name is a first."""
        self._ledger.end.remote(name)

    def give_up(self, name: str) -> int:
        """How many names were given up in this run, with this one."""
        return self._ask(self._ledger.give_up.remote(name))

    @staticmethod
    def _ask(answer: Any) -> int:
        try:
            return int(ray.get(answer))
        except RayActorError:
            return 0
