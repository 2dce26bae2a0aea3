"""The other side of `decoder_processes`: a host that forks decoding processes, and what one of them does.

The host has one thread and has imported what decoding needs, so a new process costs some milliseconds and shares the
libraries' memory. A process takes one request after the other until its socket closes. Time and memory are bounded by
the kernel, which also ends a loop in C code that never returns to Python.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from PIL import Image

from comit_ray.data.images import radiograph
from comit_ray.errors import DecodeError, Reason

ANSWER, FAULT, BUG, ROOM, GO, DIED = b"a", b"f", b"b", b"r", b"g", b"d"
"""Kinds of message between a process and who asks it: what was made, why it was not (a `DecodeError`, or a fault of
this package), memory is asked for, it is there, the process ended."""
NEW, KILL = b"n", b"k"
"""What the host is told: fork a process for the socket that comes with the message, or end the one of that number."""
READY = b"!"
"""What the host says first."""
FREE = 12 * 2**20
"""Bytes that each process may take without asking: a question costs as much as decoding a very small image."""
HEAD = struct.Struct("<cQ")
"""Kind and length of a message; of one to the host kind and number."""
REQUEST = struct.Struct("<QQdQ")
"""Lengths of the pickled request and of the file, seconds of CPU, and bytes of memory."""


def send(to: socket.socket, kind: bytes, payload: bytes = b"") -> None:
    """One message: its kind, its length, its bytes."""
    to.sendall(HEAD.pack(kind, len(payload)) + payload)


def receive(source: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes, without a copy of them.

    Raises:
        EOFError: the other side closed the socket before.
    """
    data = source.recv(count, socket.MSG_WAITALL) if count else b""
    while len(data) < count:  # a signal came in between
        more = source.recv(count - len(data), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        data += more
    return data


def serve(control: socket.socket) -> None:
    """Fork a process for every socket that comes over `control`, and tell each socket how its process ended."""
    sockets: dict[int, tuple[int, socket.socket]] = {}  # process id -> number and its socket
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    Image.preinit()  # else each process would look for the formats anew
    gc.freeze()
    with selectors.DefaultSelector() as waiting:
        waiting.register(control, selectors.EVENT_READ)
        waiting.register(woken, selectors.EVENT_READ)
        while True:
            for ready, _ in waiting.select():
                if ready.fileobj is woken:
                    woken.recv(4096)
                    _bury(sockets)
                    continue
                order, handles, _, _ = socket.recv_fds(control, HEAD.size, 1)
                if len(order) < HEAD.size:  # whoever asked has ended
                    for pid in sockets:
                        os.kill(pid, signal.SIGKILL)
                    return
                kind, number = HEAD.unpack(order)
                if kind == KILL:
                    for pid, (mine, _) in sockets.items():
                        if mine == number:
                            os.kill(pid, signal.SIGKILL)
                    continue
                mine = socket.socket(fileno=handles[0])
                pid = os.fork()
                if pid == 0:
                    waiting.close()
                    for other in (control, woken, waker, *(held for _, held in sockets.values())):
                        other.close()
                    _work(mine)
                sockets[pid] = number, mine


def _bury(sockets: dict[int, tuple[int, socket.socket]]) -> None:
    while sockets:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _, mine = sockets.pop(pid)
        with mine:
            try:
                send(mine, DIED, struct.pack("<q", os.waitstatus_to_exitcode(status)))
            except OSError:
                continue  # nobody waits for it


def _work(asked: socket.socket) -> NoReturn:
    """One decoding process: requests in, answers out, until the socket closes."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold a patient's image
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # libraries print values of headers
    try:
        while True:
            _answer(asked)
    except (EOFError, OSError):
        os._exit(0)
    finally:
        os._exit(1)


def _answer(asked: socket.socket) -> None:
    length, size, seconds, memory = REQUEST.unpack(receive(asked, REQUEST.size))
    work, arguments, named = pickle.loads(receive(asked, length))  # noqa: S301 - from the process that forked this one
    data = receive(asked, size)
    with radiograph.room_asked_of(lambda need: _ask_for_room(asked, need)), _bounded(seconds, memory):
        try:
            kind, made = ANSWER, pickle.dumps(work(data, *arguments, **named), pickle.HIGHEST_PROTOCOL)
        except DecodeError as error:
            kind, made = FAULT, pickle.dumps(error)
        except MemoryError:
            detail = f"expected decoding to take at most {memory:,} bytes of memory, it wanted more"
            kind, made = FAULT, pickle.dumps(DecodeError(Reason.TOO_LARGE, detail))
        except Exception as error:  # noqa: BLE001 a fault of this package: told, without values of a header
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind, made = BUG, f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}".encode()
    send(asked, kind, made)


def _ask_for_room(asked: socket.socket, need: int) -> None:
    if need <= FREE:
        return
    send(asked, ROOM, struct.pack("<Q", need))
    receive(asked, HEAD.size)


@contextmanager
def _bounded(seconds: float, memory: int) -> Iterator[None]:
    """The kernel ends this process after `seconds` of CPU, and gives it `memory` bytes beside what it has."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    has = _address_space()
    most = hard if has is None else has + memory if hard == resource.RLIM_INFINITY else min(has + memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _address_space() -> int | None:
    """Bytes of address space of this process; None elsewhere than on Linux: there memory has no limit."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def main(handle: int) -> None:
    """Be the host for the process at the other end of the socket with this handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the job
    with socket.socket(fileno=handle) as control:
        control.sendall(READY)
        serve(control)
