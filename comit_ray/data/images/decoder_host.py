"""The host that forks decoding processes for `decoder_processes`, and the work of one such process.

The host has one thread and has imported what decoding needs, so a new process costs some milliseconds and shares the
libraries' memory. A process takes one request after the other until its socket closes. The kernel limits time and
memory, and so also ends a loop in C code that never returns to Python.
"""

import gc
import os
import pickle
import resource
import selectors
import signal
import socket
import struct
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from comit_ray.data.images import decoder_answers, radiograph
from comit_ray.errors import DecodeError, Reason

ANSWER, FAULT, BUG, ROOM, GO = b"a", b"f", b"b", b"r", b"g"
"""Kinds of message between a process and its client: the result, a `DecodeError`, a fault of this package, a request
for memory, and the memory granted."""
NEW, KILL = b"n", b"k"
"""Orders to the host: fork a process for the sockets that come with the message, or kill the process of that number.
Only the process has the first socket, so its end is seen there; on the second the host reports how it ended."""
STATUS = struct.Struct("<q")
"""The end of a process, as in `os.waitstatus_to_exitcode`."""
READY = b"!"
"""The first message of the host."""
FREE = 12 * 2**20
"""Bytes that each process may take without asking, since asking costs as much as decoding a very small image."""
HEAD = struct.Struct("<cQB")
"""Kind, payload length and number of buffers of a message; in an order to the host: kind, number and 0."""
REQUEST = struct.Struct("<QQqdQ")
"""Lengths of the pickled request (0: same as for the last file), of the file and of its sidecar (-1: none), seconds of
CPU, and bytes of memory."""


def send_all(to: socket.socket, parts: Sequence[bytes | memoryview]) -> None:
    """Sends all parts in order, mostly in one call, so that the receiver wakes up once."""
    left = [memoryview(part) for part in parts if len(part)]
    while left:
        sent = to.sendmsg(left[:_PARTS])
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if left:
            left[0] = left[0][sent:]


_PARTS = 512
"""Most parts of a message in one call; the kernel takes 1,024."""


def send(to: socket.socket, kind: bytes, payload: bytes = b"", buffers: Sequence[memoryview] = ()) -> None:
    """Sends one message: kind, lengths of its buffers, payload, and the buffers, which are not copied."""
    sizes = struct.pack(f"<{len(buffers)}Q", *map(len, buffers))
    send_all(to, [HEAD.pack(kind, len(sizes) + len(payload), len(buffers)) + sizes + payload, *buffers])


def receive(source: socket.socket, count: int) -> bytes:
    """Receives exactly `count` bytes, without copying them.

    Raises:
        EOFError: the other side closed the socket before.
    """
    data = source.recv(count, socket.MSG_WAITALL) if count else b""
    while len(data) < count:  # a signal interrupted the call
        more = source.recv(count - len(data), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        data += more
    return data


def serve(control: socket.socket) -> None:
    """Forks a process for every pair of sockets that arrives over `control`, and reports how it ended."""
    tellers: dict[int, tuple[int, socket.socket]] = {}  # process id -> number, and the socket for its end
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    Image.preinit()  # otherwise each process would look for the formats again
    gc.freeze()
    with selectors.DefaultSelector() as waiting:
        waiting.register(control, selectors.EVENT_READ)
        waiting.register(woken, selectors.EVENT_READ)
        while True:
            for ready, _ in waiting.select():
                if ready.fileobj is woken:
                    woken.recv(4096)
                    _bury(tellers)
                    continue
                order, handles, _, _ = socket.recv_fds(control, HEAD.size, 2)
                if len(order) < HEAD.size:  # the client has ended
                    for pid in tellers:
                        os.kill(pid, signal.SIGKILL)
                    return
                kind, number, _ = HEAD.unpack(order)
                if kind == KILL:
                    for pid, (owner, _) in tellers.items():
                        if owner == number:
                            os.kill(pid, signal.SIGKILL)
                    continue
                asked, teller = (socket.socket(fileno=handle) for handle in handles)
                pid = os.fork()
                if pid == 0:
                    waiting.close()
                    for other in (control, woken, waker, teller, *(held for _, held in tellers.values())):
                        other.close()
                    _work(asked)
                asked.close()
                tellers[pid] = number, teller


def _bury(tellers: dict[int, tuple[int, socket.socket]]) -> None:
    while tellers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _, teller = tellers.pop(pid)
        with teller, suppress(OSError):  # nobody may be waiting for it
            teller.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))


def _work(asked: socket.socket) -> NoReturn:
    """Runs one decoding process, which answers requests until the socket closes."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold a patient's image
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # libraries print values of headers
    serving = _Serving(asked)
    try:
        with radiograph.room_asked_of(serving.ask_for_room):
            while True:
                serving.answer()
    except (EOFError, OSError):
        os._exit(0)
    finally:
        os._exit(1)


class _Serving:
    """The state that a decoding process keeps between files: its socket, the last request, and its memory limit."""

    def __init__(self, asked: socket.socket) -> None:
        self._socket = asked
        self._asked: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None = None
        self._memory: int | None = None

    def answer(self) -> None:
        """Reads one file and sends one answer.

        Raises:
            EOFError: the client has ended.
        """
        length, size, beside, seconds, memory = REQUEST.unpack(receive(self._socket, REQUEST.size))
        if length:
            self._asked = pickle.loads(receive(self._socket, length))  # noqa: S301 - from who forked this process
        assert self._asked is not None, "the first request is whole"
        work, (limits, *more), named = self._asked
        sidecar = None if beside < 0 else receive(self._socket, beside)
        data = receive(self._socket, size)
        if memory != self._memory:
            self._bound(memory)
        buffers: list[memoryview] = []
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            made, buffers = decoder_answers.to_bytes(work(data, limits, sidecar, *more, **named))
            kind = ANSWER
        except DecodeError as error:
            kind, made, buffers = FAULT, pickle.dumps(error), []
        except MemoryError:
            self._bound(None)  # reporting the error takes memory, too
            detail = f"expected decoding to take at most {memory:,} bytes of memory, it wanted more"
            kind, made, buffers = FAULT, pickle.dumps(DecodeError(Reason.TOO_LARGE, detail)), []
        except Exception as error:  # noqa: BLE001 a fault of this package: reported without values of a header
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind, made = BUG, f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}".encode()
            buffers = []
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(self._socket, kind, made, buffers)

    def ask_for_room(self, need: int) -> None:
        """Waits until the client has `need` bytes to spare for this file."""
        if need <= FREE:
            return
        send(self._socket, ROOM, struct.pack("<Q", need))
        receive(self._socket, HEAD.size)

    def _bound(self, memory: int | None) -> None:
        """Limits this process to `memory` bytes beside what it has now; None removes the limit."""
        self._memory = memory
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        has = None if memory is None else _address_space()
        if memory is None or has is None:
            most = hard
        else:
            most = has + memory if hard == resource.RLIM_INFINITY else min(has + memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _address_space() -> int | None:
    """Returns the bytes of address space of this process; None outside Linux, where memory has no limit."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def main(handle: int) -> None:
    """Serves as the host for the process at the other end of the socket with this handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the job
    with socket.socket(fileno=handle) as control:
        control.sendall(READY)
        serve(control)
