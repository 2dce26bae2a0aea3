"""Ends a job within ten seconds of a signal, with one sentence.

SIGINT and SIGTERM raise `Stopped` in the main thread. A storage that never answers may block that thread, and Ray may
take long to end. So the first signal also starts a timer that ends the process. Committed chunks stay; a chunk appears
whole or not at all.

Ray installs signal handlers of its own when it starts, and one of them prints a C++ stack. `renew` installs ours again.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SECONDS = 8.0
"""Longest time in seconds from the signal to the end of the process."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Raised when a signal asks this process to end.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as shells define it: 128 plus the number of the signal."""
        return 128 + self.number


class _Watch:
    """The signal handling of one job."""

    def __init__(self, sentence: str) -> None:
        self.sentence, self.told, self.stopping = sentence, False, False
        self.clock: threading.Timer | None = None
        self.before: dict[signal.Signals, Any] = {}
        self.signals = [
            number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
        ]  # nohup ignores one

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:  # the timer runs already
            return
        self.stopping = True
        self.clock = threading.Timer(SECONDS, self.end, (number,))
        self.clock.daemon = True
        self.clock.start()
        raise Stopped(number)

    def tell(self) -> None:
        if not self.told:
            self.told = True
            print(f"\n{self.sentence}", file=sys.stderr, flush=True)

    def end(self, number: int) -> None:
        self.tell()
        os._exit(128 + number)


_current: _Watch | None = None


@contextmanager
def watched(sentence: str) -> Iterator[_Watch]:
    """Ends the block on a signal; the yielded object's `tell` prints the sentence once.

    In any thread other than the main one, signal handlers stay unchanged.
    """
    global _current
    watch = _Watch(sentence)
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    watch.before = {number: signal.getsignal(number) for number in SIGNALS}
    outer, _current = _current, watch
    renew()
    try:
        yield watch
    finally:
        _current = outer
        if not watch.stopping:  # else a second signal would print a message of Python or Ray
            _put_back(watch)
        else:
            _ended.append(watch)


_ended: list[_Watch] = []


def stand_down() -> bool:
    """Lets this process live on after a signal ended its job, and restores the earlier handlers.

    This is for a process that does more than the job, such as a test run.

    Returns:
        Whether a signal had ended a job.
    """
    stopped = bool(_ended)
    while _ended:
        watch = _ended.pop()
        if watch.clock is not None:
            watch.clock.cancel()
            watch.clock.join()
        _put_back(watch)
    return stopped


def _put_back(watch: _Watch) -> None:
    for number, handler in watch.before.items():
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def renew() -> None:
    """Installs the handlers of the current job again after Ray has started; does nothing without such a job."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        for number in _current.signals:
            signal.signal(number, _current.handle)
