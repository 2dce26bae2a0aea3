"""An S3 store that is not to be trusted: a proxy before a sound one that answers wrongly for some requests."""

import base64
import hashlib
import http.client
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Faults:
    """What the proxy does wrong, and how often it did.

    Attributes:
        not_found: share of reads of images that are answered with 404.
        cut: share of reads whose body is cut in half, its Content-Length too.
        flip_get: share of reads in whose body one bit flips.
        flip_put: share of writes of results in whose body one bit flips.
        refuse_put: share of writes of results that are answered with 503.
        count: faults that were done.
    """

    def __init__(self, seed: int) -> None:
        self.not_found = self.cut = self.flip_get = self.flip_put = self.refuse_put = 0.0
        self.count = 0
        self._random, self._lock = random.Random(seed), threading.Lock()

    def happens(self, share: float) -> bool:
        """Whether a fault of this share is done now."""
        with self._lock:
            happens = self._random.random() < share
            self.count += happens
            return happens

    def flipped(self, data: bytes) -> bytes:
        """The bytes with one bit flipped."""
        with self._lock:
            at = self._random.randrange(8 * len(data))
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        return bytes(changed)


@contextmanager
def proxy(endpoint: str, faults: Faults) -> Iterator[str]:
    """URL of a proxy to the store at `endpoint`. It compares checksums of what is put, as S3 itself does."""
    target = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            of_image, of_result = "/images/" in self.path, "/results" in self.path
            if self.command == "PUT" and of_result and body:
                if faults.happens(faults.refuse_put):
                    self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
                    return
                if faults.happens(faults.flip_put):
                    body = faults.flipped(body)
                if not self._is_whole(body):
                    self._answer(400, {}, b"<Error><Code>BadDigest</Code></Error>")
                    return
            connection = http.client.HTTPConnection(target, timeout=60)
            connection.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            data, headers = answer.read(), dict(answer.getheaders())
            connection.close()
            if of_image and self.command in ("GET", "HEAD") and faults.happens(faults.not_found):
                self._answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>" if self.command == "GET" else b"")
                return
            if of_image and self.command == "GET" and len(data) > 1 and answer.status < 300:
                if faults.happens(faults.cut):
                    data = data[: len(data) // 2]
                if faults.happens(faults.flip_get):
                    data = faults.flipped(data)
            self._answer(answer.status, headers, data)

        def _is_whole(self, body: bytes) -> bool:
            sums = {
                "Content-MD5": hashlib.md5(body, usedforsecurity=False),
                "x-amz-checksum-sha256": hashlib.sha256(body),
            }
            said = {name: self.headers.get(name) for name in sums}
            return all(said[name] in (None, base64.b64encode(sums[name].digest()).decode()) for name in sums)

        def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            length = headers.get("Content-Length") or headers.get("content-length") or "0"
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" and status < 300 else str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
