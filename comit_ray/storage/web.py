"""A DICOMweb client (PS3.18): QIDO-RS, WADO-RS and STOW-RS over HTTP, with retries.

An instance is fetched as the server stores it; rendered frames, whose window the server chooses, are never requested. A
request states its length, because some servers answer 200 to a chunked one and store nothing. For the same reason the
answer to a store is not trusted: the caller asks by QIDO what is stored.

Credentials come only from the environment: `COMIT_DICOMWEB_TOKEN` (a bearer token), or `COMIT_DICOMWEB_USER` and
`COMIT_DICOMWEB_PASSWORD`; `COMIT_DICOMWEB_CA` (file of certificates to trust), `COMIT_DICOMWEB_CERT` and
`COMIT_DICOMWEB_KEY` (files of our own certificate and its key); `COMIT_DICOMWEB_PATIENCE` (seconds for which a server
that does not answer is asked again, 60).
"""

import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from comit_ray.errors import ConfigError, NotFoundError, StorageError

TIMEOUT = (10, 120)
"""Time limits in seconds for connecting, and between two pieces of an answer."""
PAGE = 500
"""Number of search results per request."""
PATIENCE_S, FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 0.25, 8.0
_BUSY = {408, 425, 429, 502, 503, 504}
_GONE = {404, 410}
_PIECE = 2**16

_mine = threading.local()


def is_web(uri: str) -> bool:
    """Whether a URI is that of a DICOMweb server or of an instance on one."""
    return uri.startswith(("https://", "http://"))


def refuse(uri: str) -> None:
    """Raises for a URI of a DICOMweb server where files are needed.

    Raises:
        StorageError: the URI is that of a DICOMweb server.
    """
    if is_web(uri):
        raise StorageError("expected a local path or an s3:// URI, got that of a DICOMweb server")


def instance_path(study: str, series: str, instance: str) -> str:
    """Returns the path of an instance below the server's root (PS3.18 section 10.4)."""
    return f"studies/{study}/series/{series}/instances/{instance}"


def check_root(url: str) -> str:
    """Returns the URL of a server without a trailing slash.

    Raises:
        ConfigError: it is not a URL, or holds a user or password, which would end up in tables and logs.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("expected the URL of a DICOMweb server, such as https://pacs.example/dicom-web")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError(
            "the URL of a DICOMweb server must hold neither user, password nor query: set COMIT_DICOMWEB_USER and "
            "COMIT_DICOMWEB_PASSWORD, or COMIT_DICOMWEB_TOKEN"
        )
    return url.rstrip("/")


def read_instance(uri: str, at_most: int | None = None) -> bytes:
    """Returns the DICOM file of an instance, by WADO-RS, or its first `at_most` bytes.

    Raises:
        NotFoundError: the server no longer has it.
        StorageError: the server refuses it, or does not answer; the message holds only the status.
    """
    headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}

    def take(answer: Any) -> bytes:
        # A part's headers and boundaries take some hundred bytes.
        limit = None if at_most is None else at_most + 2**13
        body = bytearray()
        for piece in answer.iter_content(_PIECE):
            body += piece
            if limit is not None and len(body) >= limit:
                break
        data = next(parts_of(bytes(body), answer.headers.get("Content-Type", "")), b"")
        return data if at_most is None else data[:at_most]

    return bytes(_request("GET", uri, take, headers=headers, stream=True))


def search(
    root: str, level: str, filters: Mapping[str, str], fields: Sequence[str] = (), page: int = PAGE
) -> Iterator[dict[str, Any]]:
    """Yields every result of a search by QIDO-RS, page by page, as DICOM JSON (PS3.18, annex F).

    Args:
        root: URL of the server.
        level: `studies`, `series` or `instances`, or a path that ends in one of them.
        filters: attribute -> value to match.
        fields: attributes to return beside the server's own.
        page: results per request.

    Raises:
        StorageError: the server refuses, does not answer, or returns no JSON.
    """
    query = "&".join(
        [
            *(f"{quote(name)}={quote(value, safe=',*?-')}" for name, value in filters.items()),
            *(f"includefield={quote(name)}" for name in fields),
        ]
    )
    seen = 0
    while True:
        url = f"{root}/{level}?{query}&limit={page}&offset={seen}"
        found = _request("GET", url, _json, headers={"Accept": "application/dicom+json"})
        yield from found
        seen += len(found)
        if len(found) < page:
            return


def store(root: str, study: str, files: Sequence[bytes]) -> tuple[int, str]:
    """Sends instances of one study by STOW-RS, and returns the answer's status and text; 200 and 202 prove nothing yet.

    Raises:
        StorageError: the server does not answer.
    """
    boundary = uuid.uuid4().hex
    body = bytearray()
    for file in files:
        body += f"--{boundary}\r\nContent-Type: application/dicom\r\nContent-Length: {len(file)}\r\n\r\n".encode()
        body += file + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }

    def take(answer: Any) -> tuple[int, str]:
        return int(answer.status_code), str(answer.text[:4000])

    status, words = _request("POST", f"{root}/studies/{study}", take, headers=headers, data=bytes(body), refused=True)
    return int(status), str(words)


def parts_of(body: bytes, content_type: str) -> Iterator[bytes]:
    """Yields the parts of a `multipart/related` answer (RFC 2387), the last perhaps cut; another answer is one part."""
    kind, *parameters = (part.strip() for part in content_type.split(";"))
    if kind.lower() != "multipart/related":
        yield body
        return
    named = (parameter.partition("=") for parameter in parameters)
    boundary = next((value.strip('"') for name, _, value in named if name.lower() == "boundary"), "")
    mark = b"--" + boundary.encode()
    at = body.find(mark)
    while at >= 0 and body[at + len(mark) : at + len(mark) + 2] != b"--":
        begin = body.find(b"\r\n\r\n", at)
        if begin < 0:
            return
        at = body.find(b"\r\n" + mark, begin + 4)
        yield body[begin + 4 : at if at >= 0 else len(body)]
        at = at + 2 if at >= 0 else -1


def _json(answer: Any) -> list[dict[str, Any]]:
    if answer.status_code == 204 or not answer.content:
        return []
    found = answer.json()
    if not isinstance(found, list):
        raise ValueError("no list")
    return found


def _request(
    method: str, url: str, take: Callable[[Any], Any], *, refused: bool = False, stream: bool = False, **more: Any
) -> Any:
    """Sends a request and returns what `take` makes of the answer; retries a busy or absent server, with growing waits.

    Args:
        method: GET or POST; a POST may be sent twice, because an instance that is stored already stays as it is.
        url: URL of the resource; never part of a message, because it may hold the searched values.
        take: reads the answer; the connection may break meanwhile, too.
        refused: whether `take` handles refusals as well.
        stream: whether `take` reads the body itself.
        more: headers and data.
    """
    import requests

    until = time.monotonic() + _patience()
    wait = FIRST_WAIT_S
    while True:
        cause: Exception
        try:
            with _session().request(
                method, url, timeout=TIMEOUT, verify=os.environ.get("COMIT_DICOMWEB_CA") or True, stream=stream, **more
            ) as answer:
                if answer.status_code in _GONE and not refused:
                    raise NotFoundError(f"the DICOMweb server has nothing there: {answer.status_code}")
                if answer.ok or (refused and answer.status_code not in _BUSY):
                    return take(answer)
                cause = StorageError(f"the DICOMweb server answered {answer.status_code} {answer.reason}")
                if answer.status_code not in _BUSY:
                    raise cause
                wait = max(wait, _asked_to_wait(answer.headers.get("Retry-After")))
        except requests.exceptions.SSLError as error:
            raise StorageError(f"no trusted connection to {urlsplit(url).hostname}: {type(error).__name__}") from None
        except (requests.exceptions.RequestException, ValueError) as error:
            # the error's text holds the URL
            cause = StorageError(
                f"the DICOMweb server at {urlsplit(url).netloc} gave no answer: {type(error).__name__}"
            )
        if time.monotonic() + wait > until:
            raise cause
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_S)


def _session() -> Any:
    """Returns this thread's connections, with the environment's credentials; new ones if these changed."""
    import requests

    names = ("TOKEN", "USER", "PASSWORD", "CERT", "KEY")
    token, user, password, cert, key = (os.environ.get(f"COMIT_DICOMWEB_{name}") or None for name in names)
    settings = (os.getpid(), token, user, password, cert, key)
    if getattr(_mine, "settings", None) != settings:
        session = requests.Session()
        if token:
            session.auth = _Bearer(token)
        elif user:
            session.auth = (user, password or "")
        session.cert = (cert, key) if cert and key else cert
        _mine.session, _mine.settings = session, settings
    return _mine.session


class _Bearer:
    """Authentication by a token; it is a separate object so that a `.netrc` cannot replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _patience() -> float:
    text = os.environ.get("COMIT_DICOMWEB_PATIENCE", "")
    try:
        return float(text) if text else PATIENCE_S
    except ValueError:
        raise ConfigError(f"COMIT_DICOMWEB_PATIENCE must be a number of seconds, got {text!r}") from None


def _asked_to_wait(header: str | None) -> float:
    return min(float(header), LONGEST_WAIT_S) if header and header.isdigit() else 0.0


def viewer_link(template: str, uri: str) -> str | None:
    """Returns the URL of the study in the site's own viewer; None for a file, whose study is known only as a hash.

    Args:
        template: URL with `{study}` where the study's UID belongs, such as
            `https://viewer.example/viewer?StudyInstanceUIDs={study}`.
        uri: URI of the image, as in a manifest.

    Raises:
        ConfigError: the template has no `{study}`, or is not a URL.
    """
    if not is_web(template) or template.count("{study}") != 1:
        raise ConfigError(f"expected a viewer's URL with one {{study}} in it, got {template!r}")
    found = re.search(r"/studies/([0-9.]{1,64})/", uri) if is_web(uri) else None
    return template.replace("{study}", found[1]) if found else None
