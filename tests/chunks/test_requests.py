"""What a chunk costs in requests to object storage, counted by the server (docs/sizing.md)."""

import logging
from collections import Counter

import pytest

from comit_ray.chunks import compaction
from comit_ray.chunks.accounts import take
from comit_ray.chunks.ownership import take_lease
from comit_ray.chunks.plan import ChunkPlan, PartPlan, Plan
from comit_ray.screening.screen_tables import layout, stage_predictions
from comit_ray.tables.schema import PREDICTIONS
from comit_ray.tables.staging import staging
from tests.chunks import test_compaction as chunks


class Requests:
    """Counts of the requests since the last question, by method; listings are GETs of the server's own kind."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog

    def new(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for record in self.caplog.records:
            line = record.getMessage()
            for method in ("PUT", "HEAD", "DELETE", "GET"):
                if f"{method} /" in line:
                    found["LIST" if method == "GET" and "list-type=2" in line else method] += 1
                    break
        self.caplog.clear()
        return found


def plan_of(numbers: range) -> Plan:
    found = tuple(ChunkPlan(f"c{n}", chunks.name(n), 2) for n in numbers)
    return Plan((PartPlan("none", found),), "f")


def test_requests_of_a_chunk(bucket, caplog, monkeypatch):
    monkeypatch.setattr(chunks, "OWNER", take_lease(f"{bucket}/out", chunks.OWNER))
    caplog.set_level(logging.INFO, logger="werkzeug")
    requests, output = Requests(caplog), f"{bucket}/out"
    spent: dict[str, list[Counter[str]]] = {"commit": [], "accounts": [], "read": [], "read large": [], "compact": []}
    for numbers in (range(2), range(2, 6)):
        requests.new()
        for number in numbers:
            chunks.commit(output, number)
        spent["commit"].append(requests.new())
        asked = range(numbers.stop)
        assert take(plan_of(asked), output, layout(embeddings=False), chunks.OWNER).balanced
        spent["accounts"].append(requests.new())
        read(output)
        spent["read"].append(requests.new())
    names = [chunks.name(n) for n in range(6)]
    compaction.compact(output, names, chunks.TABLES)
    spent["compact"].append(requests.new())
    read(output)
    spent["read large"].append(requests.new())
    new = {"commit": 2, "accounts": 4, "read": 4}
    per_chunk = {
        what: {k: (spent[what][1][k] - spent[what][0][k]) / n for k in spent[what][1]} for what, n in new.items()
    }
    assert per_chunk["commit"] == {"PUT": 2, "HEAD": 2, "GET": 2, "LIST": 2}
    assert per_chunk["accounts"] == {"HEAD": 3, "GET": 2, "LIST": 0}
    assert per_chunk["read"] == {"HEAD": 1, "GET": 1, "LIST": 0}
    assert sum(spent["read large"][0].values()) <= 6


def read(output: str) -> None:
    with staging(0.25) as tables:
        stage_predictions(tables, "found", output, [PREDICTIONS.field("image_id")])
