"""The server is killed while four readers send verdicts: none that was acknowledged is lost, none is there twice."""

import http.client
import multiprocessing
import os
import random
import socket
import threading
import time
import uuid
from collections import Counter

import pytest

from comit_ray.config.reading_config import ReviewConfig
from comit_ray.reading import access, serve
from comit_ray.reading.store import Reviews
from tests.reading.screens import Client, write_screen

pytestmark = pytest.mark.slow
KILLS, READERS = int(os.environ.get("COMIT_TEST_KILLS") or 4), 4
"""Kills take three seconds of a processor each."""
SERVERS = multiprocessing.get_context("forkserver")
SERVERS.set_forkserver_preload(["comit_ray.reading.serve"])  # else each server imports everything anew


def _silent(_: str) -> None:
    """The server's link is nobody's business here."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_kills_lose_nothing_and_double_nothing(tmp_path):
    results, _ = write_screen(tmp_path, images=6)
    port = free_port()
    config = ReviewConfig(results=results, port=port)
    images = [f"a/{number:03d}.{'png' if number % 2 else 'dcm'}" for number in range(6)]
    acknowledged: list[tuple[str, str]] = []
    done = threading.Event()

    def read(name: str) -> None:
        rng = random.Random(name)
        token = access.invite(results, name, 1)
        reader = Client(port, token, access.cookie_name(results))
        while not done.is_set():
            body = {"image_id": rng.choice(images), "verdict": rng.choice(("abnormal", "normal"))}
            body["submission"] = uuid.uuid4().hex
            while not done.is_set():  # sent again until it is acknowledged, as the page does
                try:
                    status = reader.ask("/api/verdict", body)[0]
                except (OSError, http.client.HTTPException):
                    time.sleep(0.02)
                    continue
                assert status == 200
                acknowledged.append((name, body["submission"]))
                break

    threads = [threading.Thread(target=read, args=(f"reader{number}",)) for number in range(READERS)]
    rng = random.Random(0)
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            before = len(acknowledged)
            server = SERVERS.Process(target=serve.review, args=(config, _silent), daemon=True)
            server.start()
            while len(acknowledged) < before + rng.randint(5, 40):
                assert server.is_alive(), "the server ended by itself"
                time.sleep(0.005)
            server.kill()  # SIGKILL
            server.join()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    reviews = Reviews(results)
    names = [f"reader{number}" for number in range(READERS)]
    rows = [row for name in names for image_id in images for row in reviews.of_image(name, image_id)]
    stored = Counter((row["reader"], row["submission"]) for row in rows)
    assert len(acknowledged) == len(set(acknowledged)) >= 5 * KILLS
    assert set(acknowledged) <= stored.keys(), "acknowledged and lost"
    assert max(stored.values()) == 1, "stored twice"
    print(f"{len(acknowledged)} verdicts acknowledged over {KILLS} kills, {len(stored)} stored")
