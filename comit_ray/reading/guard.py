"""Sets security headers on every answer, and refuses requests that another site's page may have sent."""

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
"""Content-Security-Policy: the page may contact only its own server, and no page may show it in a frame."""
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
"""Largest body of a request in bytes. A verdict has a few hundred."""

Handler = Callable[[Request], Awaitable[Response]]


def guarded(tls: bool) -> Callable[[Request, Handler], Awaitable[Response]]:
    """Return the middleware that checks requests and sets the headers.

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
    """Return the refusal of a request that must not be processed, or None if the request is fine."""
    if request.method in ("GET", "HEAD"):
        return None
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None or urlsplit(origin).netloc.lower() != host.lower():
        return answer(403, "another_page", "expected a request from this server's own page")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return answer(415, "not_json", "expected Content-Type application/json")
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MOST_BYTES:
        return answer(413, "too_long", f"expected a Content-Length of at most {MOST_BYTES} bytes")
    return None


def answer(status: int, problem: str, detail: str, **more: str) -> JSONResponse:
    """Return a refusal: `problem` is a code that the page translates into words, `detail` a sentence for the log."""
    return JSONResponse({"problem": problem, "detail": detail} | more, status)
