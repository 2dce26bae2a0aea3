import json
import time

import pytest

from comit_ray.errors import ConfigError, StorageError
from comit_ray.reading import access
from comit_ray.reading.access import RateLimit, Tokens, cookie_name, invite
from comit_ray.storage import storage


def test_a_token_is_of_its_own_screen_alone_and_kept_nowhere(tmp_path):
    ours, other = str(tmp_path / "a"), str(tmp_path / "b")
    token = invite(ours, "anna", 30)
    invite(other, "anna", 30)
    assert Tokens(ours).reader(token) == "anna"
    assert Tokens(other).reader(token) is None
    assert Tokens(ours).reader("") is None
    assert not [file for file in tmp_path.rglob("*.json") if token in file.read_text()]
    assert cookie_name(ours) != cookie_name(other)


def test_a_token_ends_and_is_revoked_by_removing_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "LOOK_AGAIN", 0.0)
    results = str(tmp_path)
    token, second = invite(results, "anna", 30), invite(results, "anna", 30)
    tokens = Tokens(results)
    assert tokens.reader(token) == tokens.reader(second) == "anna"
    file = next(
        f for f in (tmp_path / "readers").iterdir() if json.loads(f.read_text())["sha256"] == access._hash(token)
    )
    file.unlink()
    assert (tokens.reader(token), tokens.look_for(token), tokens.reader(second)) == (None, None, "anna")
    rest = next((tmp_path / "readers").iterdir())
    rest.write_text(rest.read_text().replace('"ends_at": "20', '"ends_at": "19'))
    assert tokens.reader(second) is None


def test_tokens_lie_in_object_storage_too(bucket):
    assert Tokens(bucket).reader(invite(bucket, "anna", 1)) == "anna"
    storage.write_bytes(f"{bucket}/readers/x.json", b"{}")
    with pytest.raises(StorageError, match=r"x\.json: expected a reader's link"):
        Tokens(bucket).reader("t")


def test_a_name_that_is_a_path_is_not_invited(tmp_path):
    with pytest.raises(ConfigError, match="expected a reader's name"):
        invite(str(tmp_path), "../../etc/passwd", 30)


def test_an_address_with_too_many_wrong_tokens_waits(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = RateLimit(most=3, seconds=60)
    for _ in range(3):
        assert limit.wait("1.2.3.4") == 0
        limit.wrong("1.2.3.4")
    assert limit.wait("1.2.3.4") == 60
    assert limit.wait("5.6.7.8") == 0
    now[0] += 61
    assert limit.wait("1.2.3.4") == 0
