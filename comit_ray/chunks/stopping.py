"""Ends a job within ten seconds of a signal, with one sentence.

SIGINT and SIGTERM raise `Stopped` in the main thread. Storage that never answers may not let go of that thread, and
Ray may take long to end. So the first signal also starts a clock that ends the process. What is committed stays; a
chunk appears whole or not at all.

Ray puts handlers of its own in place when it starts, one of which prints a C++ stack. `renew` takes them back.
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
"""From the signal to the end of the process, at most."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as shells have it: 128 and the signal's number."""
        return 128 + self.number


class _Watch:
    """One job's answer to signals."""

    def __init__(self, sentence: str) -> None:
        self.sentence, self.told, self.stopping = sentence, False, False
        self.clock: threading.Timer | None = None
        self.before: dict[signal.Signals, Any] = {}
        self.signals = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # by nohup

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:  # the clock runs
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
    """Have signals end the block; `tell` of what is given prints the sentence once.

    In another thread than the main one, signals are left as they are.
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
        if not watch.stopping:  # else a second signal would print what Python, or Ray, says of it
            _put_back(watch)
        else:
            _ended.append(watch)


_ended: list[_Watch] = []


def stand_down() -> bool:
    """Let this process live on after a signal ended its job, and put earlier handlers back; whether a signal did.

    For a process that is more than its job, as one that runs tests.
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
    """Put the handlers of the job at hand in place again, after Ray has started; nothing without such a job."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        for number in _current.signals:
            signal.signal(number, _current.handle)
