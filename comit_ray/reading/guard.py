"""Security headers of every answer, and checks of every request: no other host, no frame, no foreign page."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""Content-Security-Policy: the page asks nobody but its own server, and no page may hold it in a frame."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}
MOST_BYTES = 64 * 1024
"""Of a request: a verdict has some hundred."""

Handler = Callable[[Request], Awaitable[Response]]


def guarded(tls: bool) -> Callable[[Request, Handler], Awaitable[Response]]:
    """The middleware.

    Args:
        tls: whether the server itself speaks TLS.
    """
    headers = HEADERS | TLS_HEADERS if tls else HEADERS

    async def dispatch(request: Request, call_next: Handler) -> Response:
        problem = refused(request)
        response = await call_next(request) if problem is None else problem
        for name, value in headers.items():
            response.headers[name] = value
        return response

    return dispatch


def refused(request: Request) -> Response | None:
    """Why a request is not even looked at, or None."""
    if request.method in ("GET", "HEAD"):
        return None
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None or urlsplit(origin).netloc.lower() != host.lower():
        return answer(403, "another_page", "expected a request of this server's own page")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return answer(415, "not_json", "expected Content-Type application/json")
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MOST_BYTES:
        return answer(413, "too_long", f"expected at most {MOST_BYTES} bytes, and to be told how many")
    return None


def answer(status: int, problem: str, detail: str, **more: str) -> JSONResponse:
    """A refusal: `problem` is a code that the page has words for, `detail` a sentence for the log."""
    return JSONResponse({"problem": problem, "detail": detail} | more, status)
