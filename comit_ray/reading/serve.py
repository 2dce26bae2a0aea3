"""Starts the server of the reading room, or makes a reader's link."""

import socket
from collections.abc import Callable

import uvicorn

from comit_ray.config.reading_config import ReviewConfig
from comit_ray.errors import ConfigError
from comit_ray.reading import access, cases, reader_deal
from comit_ray.reading.reader_deal import Deal
from comit_ray.reading.room import Room
from comit_ray.reading.server import Server
from comit_ray.storage import storage

OWNER = "reader"
"""Name of the person who starts a server without --readers and --invite."""


def review(config: ReviewConfig, say: Callable[[str], None] = print) -> None:
    """Make a link (`--invite`), or serve the page until the process ends.

    Args:
        config: options of the job.
        say: prints one line.

    Raises:
        ConfigError: the reader is unknown, or the port is taken.
        ComitError: as `cases.load`.
    """
    results = storage.normalise(config.results)
    people = reader_deal.read_file(config.readers) if config.readers else None
    deal = Deal(people, config.double)
    if config.invite is not None:
        if not deal.knows(config.invite):
            raise ConfigError(
                f"--invite {config.invite}: expected a reader of {config.readers}: add the name there, or give another"
            )
        say(link(config, config.port, access.invite(results, config.invite, config.token_days)))
        say(f"This link is for {config.invite} only and valid for {config.token_days} days.")
        say("It is not stored: pass it on now.")
        return
    room = Room(cases.load(results, config.manifest, config.blind), deal, config)
    listener = bind(config)
    port = listener.getsockname()[1]
    room.events.write("server_started", None, blind=config.blind, double=config.double)
    say(f"images to read: {len(room.screen.cases):,}, verdicts so far: {len(room.reviews.current()):,}")
    if config.trust_header is not None:
        say(f"readers come through a proxy that sets {config.trust_header}; listening on {config.host}:{port}")
    elif people is None:
        say(f"open: {link(config, port, access.invite(results, OWNER, config.token_days))}")
    else:
        say(f"listening on {config.host}:{port}; `review --invite NAME` makes a reader's link")
    options = uvicorn.Config(
        Server(room).app(),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # never believe an address that a header states
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
    )
    uvicorn.Server(options).run(sockets=[listener])


def link(config: ReviewConfig, port: int, token: str) -> str:
    """Return a reader's link. The token is in the link's fragment, which a browser sends to no server."""
    scheme = "https" if config.certificate else "http"
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{scheme}://{host}:{port}/enter#{token}"


def bind(config: ReviewConfig) -> socket.socket:
    """Return the listening socket.

    Raises:
        ConfigError: the address is taken, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {config.host}:{config.port} ({error.strerror}): choose another --port"
        ) from None
    return listener
