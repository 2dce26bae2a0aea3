"""The reading room over HTTP: serves pages and images to readers with a token.

A request names an image by its image_id and by nothing else. If the id is not in the queue, or not this reader's, the
answer is "not found".
"""

from collections.abc import Callable
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from comit_ray.config.reading_config import LOOPBACK
from comit_ray.errors import REASON_WORDS, ConfigError, DecodeError, StorageError
from comit_ray.reading.access import RateLimit, Tokens, cookie_name
from comit_ray.reading.guard import answer, guarded
from comit_ray.reading.room import Room
from comit_ray.reading.store import Verdict
from comit_ray.reading.values import to_jpeg, to_values

SCRIPTS = (
    "page.js", "about_image.js", "clock.js", "dialogs.js", "elements.js", "levels.js", "server.js", "tools.js",
    "verdict.js", "viewer.js", "words.js",
)  # fmt: skip
PAGE = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    **dict.fromkeys(SCRIPTS, "text/javascript; charset=utf-8"),
    "icon.svg": "image/svg+xml",
    "words.en.json": "application/json",
}
"""Files of the page and their media types. They hold no data of patients or readers, so the server gives them to
everybody."""
NOT_YOURS = "no image of this id is assigned to you"

Answer = Callable[[str, Request], Response]


class Server:
    """The routes of one reading room.

    Args:
        room: the room that is served.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        config = room.config
        self._tokens, self._limit = Tokens(room.screen.results), RateLimit()
        self._cookie = cookie_name(room.screen.results)
        self._tls = config.certificate is not None
        page = resources.files("comit_ray.reading").joinpath("page")
        self._page = {name: page.joinpath(name).read_bytes() for name in PAGE}

    def app(self) -> Starlette:
        """Return the ASGI application."""
        reads = {
            "me": lambda reader, _: JSONResponse(self._room.me(reader)),
            "list": lambda reader, _: JSONResponse(self._room.worklist(reader)),
            "case": self._case,
            "picture": self._picture,
            "values": self._values,
            "overlay": self._overlay,
            "zones": self._zones,
        }
        writes = {"shown": self._shown, "verdict": self._verdict, "pause": self._pause}
        routes = [Route("/", self._file), Route("/enter", self._file), Route("/page/{name}", self._file)]
        routes += [Route(f"/api/{name}", self._read(found)) for name, found in reads.items()]
        routes += [Route(f"/api/{name}", self._write(found), methods=["POST"]) for name, found in writes.items()]
        routes.append(Route("/api/enter", self._enter, methods=["POST"]))
        middleware = [
            Middleware(BaseHTTPMiddleware, dispatch=guarded(self._tls)),
            Middleware(_GzipAfar, minimum_size=1024, compresslevel=1),
        ]
        return Starlette(routes=routes, middleware=middleware)

    def _file(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self._page:
            return answer(404, "not_found", "no such file of the page")
        return Response(self._page[name], media_type=PAGE[name])

    async def _enter(self, request: Request) -> Response:
        """Exchange the token of a link for a cookie.

        The page takes the token from the link's fragment and sends it in a body, so the token appears in no server's
        log.
        """
        body = await _json(request)
        token = body.get("token") if isinstance(body, dict) else None
        if self._room.config.trust_header is not None:
            return answer(403, "by_proxy", "the proxy identifies readers: this server does not accept links")
        reader = await run_in_threadpool(self._reader_of, str(token or ""), request)
        if isinstance(reader, Response):
            return reader
        await run_in_threadpool(self._room.events.write, "entered", reader)
        response = JSONResponse({"reader": reader})
        age = self._room.config.token_days * 86_400
        response.set_cookie(
            self._cookie, str(token), max_age=age, path="/", secure=self._tls, httponly=True, samesite="strict"
        )
        return response

    def _read(self, found: Answer) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            reader = self._who(request)
            return reader if isinstance(reader, Response) else _or_problem(found, reader, request)

        return endpoint

    def _write(self, found: Callable[[str, Any], Response]) -> Any:
        async def endpoint(request: Request) -> Response:
            reader = await run_in_threadpool(self._who, request)
            if isinstance(reader, Response):
                return reader
            body = await _json(request)
            return await run_in_threadpool(_or_problem, found, reader, body)

        return endpoint

    def _who(self, request: Request) -> str | Response:
        """The reader, by the cookie or by the proxy's header."""
        config, address = self._room.config, _address(request)
        if config.trust_header is None:
            token = request.cookies.get(self._cookie)
            if not token:
                return answer(401, "no_token", "open the link that was made for you")
            return self._reader_of(token, request)
        name = request.headers.get(config.trust_header)
        if address not in config.proxies:
            return answer(
                403, "not_the_proxy", f"{config.trust_header} is accepted only from {', '.join(config.proxies)}"
            )
        if not name or not self._room.deal.knows(name):
            return answer(401, "unknown_reader", f"expected a reader's name in {config.trust_header}")
        return name

    def _reader_of(self, token: str, request: Request) -> str | Response:
        reader = self._tokens.reader(token)
        if reader is None:  # only unknown tokens count: a colleague's old link must not lock out a valid one
            address = _address(request)
            wait = self._limit.wait(address)
            if wait > 0:
                return answer(429, "too_many", f"too many wrong tokens: wait {wait:.0f} s", wait=f"{wait:.0f}")
            reader = self._tokens.look_for(token)
            if reader is None:
                self._limit.wrong(address)
        if reader is None or not self._room.deal.knows(reader):
            self._room.events.write("refused", None, why="wrong_token")
            return answer(401, "wrong_token", "the link is unknown, was revoked or has expired: ask for a new one")
        return reader

    def _case(self, reader: str, request: Request) -> Response:
        found = self._room.case(reader, request.query_params.get("id", ""))
        return answer(404, "not_found", NOT_YOURS) if found is None else JSONResponse(found)

    def _picture(self, reader: str, request: Request) -> Response:
        opened = self._room.opened(reader, request.query_params.get("id", ""))
        if opened is None:
            return answer(404, "not_found", NOT_YOURS)
        size = {"X-Rows": str(opened.radiograph.height), "X-Columns": str(opened.radiograph.width)}
        return Response(to_jpeg(opened.radiograph), media_type="image/jpeg", headers=size)

    def _values(self, reader: str, request: Request) -> Response:
        opened = self._room.opened(reader, request.query_params.get("id", ""))
        if opened is None:
            return answer(404, "not_found", NOT_YOURS)
        return Response(to_values(opened), media_type="application/octet-stream")

    def _overlay(self, reader: str, request: Request) -> Response:
        query = request.query_params
        png = self._room.overlay(reader, query.get("id", ""), query.get("kind", ""))
        return answer(404, "not_found", NOT_YOURS) if png is None else Response(png, media_type="image/png")

    def _zones(self, reader: str, request: Request) -> Response:
        return JSONResponse(self._room.zones(reader, request.query_params.get("id", "")))

    def _shown(self, reader: str, body: Any) -> Response:
        image_id = body.get("image_id") if isinstance(body, dict) else None
        found = self._room.shown(reader, str(image_id))
        return JSONResponse({}) if found else answer(404, "not_found", NOT_YOURS)

    def _pause(self, reader: str, body: Any) -> Response:
        paused = isinstance(body, dict) and body.get("paused") is True
        self._room.events.write("paused" if paused else "resumed", reader)
        return JSONResponse({})

    def _verdict(self, reader: str, body: Any) -> Response:
        row = self._room.judge(reader, Verdict.parse(body, origin="verdict"))
        if row is None:
            return answer(404, "not_found", NOT_YOURS)
        return JSONResponse({"revision": row["revision"], "read_at": row["read_at"].isoformat()})


def _or_problem(found: Callable[[str, Any], Response], reader: str, asked: Any) -> Response:
    """Return the answer, or turn an error of this package into a refusal. uvicorn logs any other error."""
    try:
        return found(reader, asked)
    except DecodeError as error:
        return answer(422, "not_shown", REASON_WORDS[error.reason], reason=str(error.reason))
    except ConfigError as error:
        return answer(400, "not_understood", str(error))
    except StorageError as error:
        return answer(503, "not_stored", str(error))


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


class _GzipAfar(GZipMiddleware):
    """Compresses answers to other machines only. On the same machine, gzip takes longer than it saves."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        if scope["type"] == "http" and client and client[0] in LOOPBACK:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
