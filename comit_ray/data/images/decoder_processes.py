"""Decodes in separate processes: a file that kills or stalls its decoder costs one row, and never the job.

Decoders are C code on foreign bytes. Each thread that decodes has a process that is kept from file to file. One host
(`decoder_host`) forks them all; this process starts the host when it first decodes something, because forking this
process itself, with its threads, would not be safe. A file's bytes go to the process, and the result comes back.
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
from dataclasses import dataclass
from operator import is_
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images import decoder_answers, radiograph
from comit_ray.data.images.decoder_host import (
    ANSWER,
    BUG,
    FAULT,
    GO,
    HEAD,
    KILL,
    NEW,
    READY,
    REQUEST,
    ROOM,
    STATUS,
    send,
    send_all,
)
from comit_ray.errors import ComitError, DecodeError, Reason

More = ParamSpec("More")
Made = TypeVar("Made")

CLOCK = 20
"""Seconds by the clock for each CPU second that a file may take, since a decoder that waits uses no CPU. The number is
large because on an overloaded machine a sound file waits for its CPU."""
START_S = 300.0
"""Seconds for the host to import its libraries on a busy machine."""
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
    """Runs `work` on a file in another process, and returns the result.

    Args:
        work: function of a module; its arguments and result travel as a pickle.
        data: the file.
        limits: limits; the kernel enforces those of time and memory.
        sidecar: sidecar of the file, or None.
        more: further arguments of `work`.
        named: further keyword arguments of `work`.

    Raises:
        DecodeError: error that `work` raised, or CRASHED_DECODER or TIMED_OUT.
        ComitError: no process can be started, or `work` has a fault; this does not concern the file.
    """
    request = _Request(work, limits, more, named)
    for _ in range(2):
        decoder = _pool.take()
        try:
            kind, answer, buffers = decoder.ask(request, data, sidecar)
        except _HostEndedError:
            _pool.end(decoder)
            continue
        except BaseException:
            _pool.end(decoder)
            raise
        _pool.give(decoder)
        if kind == BUG:
            fault = bytes(answer).decode()
            raise ComitError(f"decoding met a fault of this program, please report it: {fault}")
        if kind == FAULT:
            raise pickle.loads(answer)  # noqa: S301 - from a process of our own
        return decoder_answers.from_bytes(answer, buffers)  # type: ignore[no-any-return]
    raise ComitError("expected a host of decoding processes, it was ended from outside twice: is there memory for it?")


@dataclass(frozen=True, slots=True)
class _Request:
    """The work for a file. Consecutive files mostly have the same request, which then travels once."""

    work: Callable[..., Any]
    limits: DecodeLimits
    more: tuple[Any, ...]
    named: dict[str, Any]

    def is_that_of(self, other: "_Request | None") -> bool:
        """Returns whether both requests have the same objects; these are not changed once made."""
        return (
            other is not None
            and self.work is other.work
            and self.limits is other.limits
            and len(self.more) == len(other.more)
            and all(map(is_, self.more, other.more))
            and not self.named
            and not other.named
        )

    def pickled(self) -> bytes:
        """Returns the request as bytes, for a process that has not seen it."""
        return pickle.dumps((self.work, (self.limits, *self.more), self.named), pickle.HIGHEST_PROTOCOL)


class _HostEndedError(Exception):
    """The host has ended, and with it the process that was asked."""


class _Decoder:
    """One decoding process, as seen by the thread that uses it."""

    def __init__(self, host: "_Host", number: int, own: socket.socket, told: socket.socket) -> None:
        self.host, self.number, self.socket, self._told = host, number, own, told
        self._known: _Request | None = None
        self._clock: float | None = None

    @property
    def idle(self) -> bool:
        """Whether the process waits for a file and has a living host; the end of either is seen on a socket."""
        return not select.select([self.socket, self._told], [], [], 0)[0]

    def ask(self, request: _Request, data: bytes, sidecar: bytes | None) -> tuple[bytes, memoryview, list[memoryview]]:
        """Sends one request, and returns kind, payload and buffers of the answer."""
        limits = request.limits
        clock = CLOCK * limits.max_seconds
        if clock != self._clock:
            wait = struct.pack("@ll", *divmod(int(1e6 * clock), 1_000_000))
            for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self.socket.setsockopt(socket.SOL_SOCKET, way, wait)
            self._clock = clock
        asked = b"" if request.is_that_of(self._known) else request.pickled()
        beside = -1 if sidecar is None else len(sidecar)
        head = REQUEST.pack(len(asked), len(data), beside, limits.max_seconds, limits.max_memory)
        with ExitStack() as held:
            try:
                send_all(self.socket, [head + asked + (sidecar or b""), data])
                self._known = request
                while True:
                    kind, payload, buffers = self._message()
                    if kind in (ANSWER, FAULT, BUG):
                        return kind, payload, buffers
                    assert kind == ROOM, kind
                    held.enter_context(radiograph.room(struct.unpack("<Q", payload)[0]))
                    send(self.socket, GO)
            except BlockingIOError:
                detail = f"expected decoding to take at most {limits.max_seconds:g} s, nothing came in {clock:g} s"
                raise DecodeError(Reason.TIMED_OUT, detail) from None
            except (EOFError, OSError):
                raise self._death(limits) from None

    def _death(self, limits: DecodeLimits) -> "DecodeError | _HostEndedError":
        """Returns the error for a process that ended, by the report of its host."""
        self._told.settimeout(START_S)
        try:
            said = self._told.recv(STATUS.size)
        except OSError:  # the host does not report
            said = b""
        if len(said) < STATUS.size:
            return _HostEndedError()
        [status] = STATUS.unpack(said)
        if status == -signal.SIGPROF:
            return DecodeError(
                Reason.TIMED_OUT, f"expected decoding to take at most {limits.max_seconds:g} s of a CPU, it took longer"
            )
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        return DecodeError(Reason.CRASHED_DECODER, f"expected pixels, the decoder's process ended with {how}")

    def close(self) -> None:
        """Closes the sockets, so that the process ends."""
        self.socket.close()
        self._told.close()

    def _message(self) -> tuple[bytes, memoryview, list[memoryview]]:
        kind, length, count = HEAD.unpack(self._exactly(HEAD.size))
        payload = self._exactly(length)
        if not count:
            return kind, payload, []
        sizes = struct.unpack_from(f"<{count}Q", payload)
        return kind, payload[8 * count :], [self._exactly(size) for size in sizes]

    def _exactly(self, count: int) -> memoryview:
        """Receives exactly `count` bytes.

        Raises:
            BlockingIOError: nothing arrived within the socket's time limit.
            EOFError: the process ended.
        """
        view, at = np.empty(count, np.uint8).data, 0
        while at < count:
            came = self.socket.recv_into(view[at:], 0, socket.MSG_WAITALL)
            if not came:
                raise EOFError
            at += came
        return view


class _Host:
    """The process that forks decoding processes, and the socket on which it takes orders."""

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
        """Whether the host's process has ended."""
        return self._process.poll() is not None

    def fork(self) -> _Decoder:
        """Returns a new decoding process.

        Raises:
            OSError: the host has ended.
        """
        self._numbers += 1
        (own, theirs), (told, teller) = socket.socketpair(), socket.socketpair()
        with theirs, teller:
            try:
                handles = [theirs.fileno(), teller.fileno()]
                socket.send_fds(self._control, [HEAD.pack(NEW, self._numbers, 0)], handles)
            except OSError:
                own.close()
                told.close()
                raise
        return _Decoder(self, self._numbers, own, told)

    def kill(self, decoder: _Decoder) -> None:
        """Kills a process that does not end by itself."""
        with suppress(OSError):  # then the host has ended, and its processes with it
            self._control.sendall(HEAD.pack(KILL, decoder.number, 0))

    def end(self) -> None:
        """Lets the host end its processes and itself."""
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)


class _Pool:
    """The decoding processes of this process: as many as threads have ever decoded at one time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._host: _Host | None = None

    def take(self) -> _Decoder:
        """Returns a process that waits for a file."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.idle:
                    return decoder
                decoder.close()
            if self._host is None or self._host.has_ended:
                self._host = _Host()
            try:
                return self._host.fork()
            except OSError:
                self._host.end()
                self._host = _Host()
                return self._host.fork()

    def give(self, decoder: _Decoder) -> None:
        """Takes a process back for the next file."""
        with self._lock:
            self._idle.append(decoder)

    def end(self, decoder: _Decoder) -> None:
        """Ends a process that can no longer be used."""
        with self._lock:
            decoder.host.kill(decoder)
        decoder.close()

    def close(self) -> None:
        """Ends all processes; the next file starts new ones."""
        with self._lock:
            for decoder in self._idle:
                decoder.close()
            self._idle.clear()
            if self._host is not None:
                self._host.end()
            self._host = None


_pool = _Pool()
atexit.register(lambda: _pool.close())


def _after_fork() -> None:
    """Gives a fork of this process an empty pool of its own."""
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_after_fork)
