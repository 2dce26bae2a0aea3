"""Decoding in processes of their own: a file that kills or stalls its decoder costs one row, and never the job.

Decoders are C code on foreign bytes. Each thread that decodes has a process that is kept alive from file to file. All
are forked by one host (`decoder_host`), which this process starts when it first decodes something: a fork of this
process itself, with its threads, would not be safe. Bytes of the file go in, and what is made of them comes back.
"""

import atexit
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Concatenate, ParamSpec, TypeVar

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images import radiograph
from comit_ray.data.images.decoder_host import ANSWER, BUG, DIED, FAULT, GO, HEAD, KILL, NEW, READY, REQUEST, ROOM, send
from comit_ray.errors import ComitError, DecodeError, Reason

More = ParamSpec("More")
Made = TypeVar("Made")

CLOCK = 20
"""Seconds by the clock for each second of CPU that a file may take: a decoder that waits uses none. Many, since on a
machine with too much work a sound file waits for its CPU."""
START_S = 300.0
"""For the host to import its libraries, on a machine that does much else."""
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from comit_ray.data.images.decoder_host import main
main(int(sys.argv[2]))
"""


def run(
    work: Callable[Concatenate[bytes, DecodeLimits, bytes | None, More], Made],
    data: bytes,
    limits: DecodeLimits,
    sidecar: bytes | None,
    *more: More.args,
    **named: More.kwargs,
) -> Made:
    """What `work` makes of a file, in another process.

    Args:
        work: a function of a module; what it takes and gives travels as a pickle.
        data: the file.
        limits: bounds; those of time and memory are the kernel's to keep.
        sidecar: of the file.
        more: further arguments of `work`.
        named: likewise.

    Raises:
        DecodeError: that `work` raised, or CRASHED_DECODER or TIMED_OUT.
        ComitError: no process can be started, or `work` has a fault; nothing is said of the file.
    """
    asked = pickle.dumps((work, (limits, sidecar, *more), named), pickle.HIGHEST_PROTOCOL)
    for _ in range(2):
        decoder = _pool.take()
        try:
            kind, answer = decoder.ask(asked, data, limits)
        except _HostEndedError:
            _pool.end(decoder)
            continue
        except BaseException:
            _pool.end(decoder)
            raise
        _pool.give(decoder)
        if kind == BUG:
            raise ComitError(f"decoding met a fault of this program, please report it: {answer.decode()}")
        made = pickle.loads(answer)  # noqa: S301 - from a process of our own
        if kind == FAULT:
            raise made
        return made  # type: ignore[no-any-return]
    raise ComitError("expected a host of decoding processes, it was ended from outside twice: is there memory for it?")


class _HostEndedError(Exception):
    """The host is gone, and with it the process that was asked."""


class _Decoder:
    """One decoding process, as the thread that asks it sees it."""

    def __init__(self, host: "_Host", number: int, own: socket.socket) -> None:
        self.host, self.number, self.socket = host, number, own

    @property
    def idle(self) -> bool:
        """Whether it waits for a file, and has a host to end it; one that has ended has said so."""
        return not (self.host.has_ended or select.select([self.socket], [], [], 0)[0])

    def ask(self, asked: bytes, data: bytes, limits: DecodeLimits) -> tuple[bytes, bytearray]:
        """Kind and payload of its answer to one request."""
        clock = CLOCK * limits.max_seconds
        until = monotonic() + clock
        with ExitStack() as held:
            try:
                self.socket.settimeout(clock)
                self.socket.sendall(REQUEST.pack(len(asked), len(data), limits.max_seconds, limits.max_memory) + asked)
                self.socket.sendall(data)
                while True:
                    kind, payload = self._message(until)
                    if kind in (ANSWER, FAULT, BUG):
                        return kind, payload
                    if kind == DIED:
                        raise _death(struct.unpack("<q", payload)[0], limits)
                    assert kind == ROOM, kind
                    began = monotonic()
                    held.enter_context(radiograph.room(struct.unpack("<Q", payload)[0]))
                    until += monotonic() - began
                    send(self.socket, GO)
            except TimeoutError:
                detail = f"expected decoding to take at most {limits.max_seconds:g} s, nothing came in {clock:g} s"
                raise DecodeError(Reason.TIMED_OUT, detail) from None
            except (EOFError, OSError):
                if self.host.has_ended:
                    raise _HostEndedError from None
                raise DecodeError(Reason.CRASHED_DECODER, "expected pixels, the decoder's process ended") from None

    def _message(self, until: float) -> tuple[bytes, bytearray]:
        kind, length = HEAD.unpack(self._exactly(HEAD.size, until))
        return kind, self._exactly(length, until)

    def _exactly(self, count: int, until: float) -> bytearray:
        data = bytearray(count)
        view, at = memoryview(data), 0
        while at < count:
            self.socket.settimeout(max(1e-3, until - monotonic()))
            came = self.socket.recv_into(view[at:])
            if not came:
                raise EOFError
            at += came
        return data


def _death(status: int, limits: DecodeLimits) -> DecodeError:
    if status == -signal.SIGPROF:
        return DecodeError(
            Reason.TIMED_OUT, f"expected decoding to take at most {limits.max_seconds:g} s of a CPU, it took longer"
        )
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    return DecodeError(Reason.CRASHED_DECODER, f"expected pixels, the decoder's process ended with {how}")


class _Host:
    """The process that forks decoding processes, and the socket that it takes orders from."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own text
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **one_thread},
                start_new_session=True,  # Ctrl-C is for the job
            )
        self._numbers = 0
        self._control.settimeout(START_S)
        try:
            ready = self._control.recv(1)
        except TimeoutError:
            ready = b""
        if ready != READY:
            self.end()
            raise ComitError("expected a host of decoding processes, it did not start: what it says stands above")

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def fork(self) -> _Decoder:
        """A new decoding process.

        Raises:
            OSError: the host has ended.
        """
        self._numbers += 1
        own, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [HEAD.pack(NEW, self._numbers)], [theirs.fileno()])
        return _Decoder(self, self._numbers, own)

    def kill(self, decoder: _Decoder) -> None:
        """End a process that does not end by itself."""
        with suppress(OSError):  # then the host has ended, and its processes with it
            self._control.sendall(HEAD.pack(KILL, decoder.number))

    def end(self) -> None:
        """Let the host end its processes and itself."""
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)


class _Pool:
    """The decoding processes of this process: as many as threads ever decoded at one time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._host: _Host | None = None

    def take(self) -> _Decoder:
        """A process that waits for a file."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.idle:
                    return decoder
                decoder.socket.close()
            if self._host is None or self._host.has_ended:
                self._host = _Host()
            try:
                return self._host.fork()
            except OSError:
                self._host.end()
                self._host = _Host()
                return self._host.fork()

    def give(self, decoder: _Decoder) -> None:
        """Have it back for the next file."""
        with self._lock:
            self._idle.append(decoder)

    def end(self, decoder: _Decoder) -> None:
        """It is of no more use."""
        with self._lock:
            decoder.host.kill(decoder)
        decoder.socket.close()

    def close(self) -> None:
        """End all of them; the next file begins anew."""
        with self._lock:
            for decoder in self._idle:
                decoder.socket.close()
            self._idle.clear()
            if self._host is not None:
                self._host.end()
            self._host = None


_pool = _Pool()
atexit.register(lambda: _pool.close())


def _after_fork() -> None:
    """A fork of this process has no part in its pool."""
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_after_fork)
