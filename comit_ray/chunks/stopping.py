"""Ends a job within ten seconds of a signal, with one sentence.

SIGINT and SIGTERM raise `Stopped` in the main thread. A storage that never answers may block that thread, and Ray may
take long to end. So a second thread hears the first signal too and ends the process after some seconds. Committed
chunks stay; a chunk appears whole or not at all.

Python runs a signal's handler only between two steps of the main thread. A signal that comes just before a call into C
waits for the end of that call. So the second thread hears signals by `signal.set_wakeup_fd`, and sends the signal again
until the handler has run: that ends a call that the system would let wait, such as a sleep or a read.

Ray installs signal handlers of its own when it starts, and one of them prints a C++ stack. `renew` installs ours again.
"""

import os
import signal
import sys
import threading
import time
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
        self.before: dict[signal.Signals, Any] = {}
        self.signals = [
            number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
        ]  # nohup ignores one
        self.over = threading.Event()
        self.listener: threading.Thread | None = None
        self.wakeup = self.wakeup_before = -1

    def handle(self, number: int, frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            raise Stopped(number)

    def listen(self) -> None:
        """Starts the second thread; to be called in the main thread."""
        heard, self.wakeup = os.pipe()
        os.set_blocking(self.wakeup, False)
        self.wakeup_before = signal.set_wakeup_fd(self.wakeup, warn_on_full_buffer=False)
        self.listener = threading.Thread(target=self._hear, args=(heard, threading.get_ident()), daemon=True)
        self.listener.start()

    def deafen(self) -> None:
        """Ends the second thread; to be called in the main thread."""
        signal.set_wakeup_fd(self.wakeup_before)
        self.over.set()
        os.close(self.wakeup)
        if self.listener is not None:
            self.listener.join()

    def _hear(self, heard: int, main_thread: int) -> None:
        with os.fdopen(heard, "rb", buffering=0) as numbers:
            while read := numbers.read(1):  # nothing: the other end is closed, and the job is over
                if read[0] in self.signals:
                    self._wait(read[0], main_thread)
                    return

    def _wait(self, number: int, main_thread: int) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if self.over.wait(0.5):
                return
            if not self.stopping:
                signal.pthread_kill(main_thread, number)
        self.end(number)

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
    watch.listen()
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
        _put_back(_ended.pop())
    return stopped


def _put_back(watch: _Watch) -> None:
    watch.deafen()
    for number, handler in watch.before.items():
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def renew() -> None:
    """Installs the handlers of the current job again after Ray has started; does nothing without such a job."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        for number in _current.signals:
            signal.signal(number, _current.handle)
