import json
import struct

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.reading_config import ReviewConfig
from comit_ray.data.images.load import decode
from comit_ray.errors import ConfigError
from comit_ray.reading import access, cases, events, serve
from comit_ray.reading.store import Reviews
from tests.reading.screens import Client, client, serving, write_screen


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> str:
    return write_screen(tmp_path_factory.mktemp("screen"))[0]


@pytest.fixture(scope="module")
def open_room(screen):
    with serving(screen) as (room, port):
        yield room, port


@pytest.fixture
def anna(screen, open_room) -> Client:
    return client(screen, open_room[1])


IMAGES = ("/api/picture", "/api/values", "/api/case", "/api/zones", "/api/overlay?kind=lung&x=")


def test_nothing_without_a_token_but_the_empty_page(screen, open_room, tmp_path, monkeypatch):
    room, port = open_room
    image_id = next(iter(room.screen.cases))
    other = access.invite(str(tmp_path), "anna", 30)
    name = access.cookie_name(screen)
    monkeypatch.setattr(access.RateLimit, "wrong", lambda *_: None)
    for stranger in (Client(port), Client(port, "wrong", name), Client(port, other, name), Client(port, "", name)):
        for path in ("/api/me", "/api/list", *(f"{path}{'&' if '?' in path else '?'}id={image_id}" for path in IMAGES)):
            status, _, data = stranger.ask(path)
            assert status == 401, (path, data)
            assert json.loads(data)["problem"] in ("no_token", "wrong_token")
        assert (
            stranger.ask("/api/verdict", {"image_id": image_id, "verdict": "normal", "submission": "x" * 8})[0] == 401
        )
    assert not Reviews(screen).of_image("anna", image_id)
    assert Client(port).ask("/")[0] == 200


def test_the_link_becomes_a_cookie_that_no_script_and_no_other_page_can_use(screen, open_room):
    port = open_room[1]
    token = access.invite(screen, "anna", 30)
    status, headers, data = Client(port).ask("/api/enter", {"token": token})
    assert (status, json.loads(data)) == (200, {"reader": "anna"})
    parts = {part.strip().lower() for part in headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert any(event["event"] == "entered" and event["reader"] == "anna" for event in events.read(screen))


def test_no_frame_no_other_host_no_cache(open_room, anna):
    for path in ("/", "/page/page.js", "/api/me", "/api/nothing"):
        headers = anna.ask(path)[1]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "http" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Content_Type": "text/plain"},
     {"Content_Type": "application/x-www-form-urlencoded"}],
)  # fmt: skip
def test_a_post_of_another_page_is_refused(screen, open_room, anna, headers):
    image_id = next(iter(open_room[0].screen.cases))
    body = {"image_id": image_id, "verdict": "normal", "submission": "x" * 8}
    assert anna.ask("/api/verdict", body, **headers)[0] in (403, 415)
    assert not any(row["submission"] == "x" * 8 for row in Reviews(screen).of_image("anna", image_id))


@pytest.mark.parametrize(
    "image_id",
    ["../../../../etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd", "a/000.dcm/../001.png", "a/000.dcm%00",
     "", "a/999.png", "file:///etc/passwd", "a//000.dcm", "{results}/run.json"],
)  # fmt: skip
def test_nothing_but_images_of_the_queue_can_be_reached(screen, anna, image_id):
    asked = image_id.format(results=screen)
    for path in ("/api/picture", "/api/values", "/api/case"):
        assert anna.ask(f"{path}?id={asked}")[0] == 404
    for path in ("/page/../serve.py", "/page/..%2fserve.py", "/page//etc/passwd", "/page/findings.yaml"):
        assert anna.ask(path)[0] == 404


def test_too_many_wrong_tokens_make_wait(screen):
    with serving(screen) as (_, port):
        stranger, good = Client(port), client(screen, port)
        assert good.ask("/api/me")[0] == 200
        asked = [stranger.ask("/api/enter", {"token": f"wrong{number}"})[0] for number in range(12)]
        assert asked == [401] * 10 + [429] * 2
        assert good.ask("/api/me")[0] == 200, "who is in stays in"


def test_values_are_those_of_the_file_and_the_table_that_of_the_screen(open_room, anna):
    for image_id, bits in (("a/000.dcm", 16), ("a/001.png", 8)):
        data = anna.ask(f"/api/values?id={image_id}")[2]
        length = struct.unpack("<I", data[:4])[0]
        header = json.loads(data[4 : 4 + length])
        count = 2**16 if bits == 16 else 256
        table = np.frombuffer(data, np.uint8, count, 4 + length)
        dtype = np.uint16 if bits == 16 else np.uint8
        values = np.frombuffer(data, dtype, offset=4 + length + count).reshape(header["height"], header["width"])
        place = open_room[0].screen.cases[image_id].known.place
        shown = decode(open(place.file.uri, "rb").read(), DecodeLimits())  # noqa: SIM115
        np.testing.assert_array_equal(table[values], shown.pixels_HW)
        assert header["bits"] == bits
        if bits == 16:
            assert values.max() > 255
            assert [(w["center"], w["width"]) for w in header["windows"]] == [(2048, 4096), (1024, 2048)]
            assert header["orientation"] == ["L", "F"]


def test_a_picture_at_once_and_overlays_in_its_geometry(open_room, anna, tmp_path):
    status, headers, data = anna.ask("/api/picture?id=a/000.dcm")
    (tmp_path / "x.jpg").write_bytes(data)
    with Image.open(tmp_path / "x.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (400, 480))
    assert (headers["x-rows"], headers["x-columns"]) == ("480", "400")
    visible = next(one for one in open_room[0].screen.cases.values() if not one.hidden and one.queued["status"] == "ok")
    for kind in ("lung", "disease", "heat"):
        status, _, data = anna.ask(f"/api/overlay?kind={kind}&id={visible.image_id}")
        assert status == 200
        (tmp_path / "x.png").write_bytes(data)
        with Image.open(tmp_path / "x.png") as overlay:
            assert (overlay.mode, overlay.size) == ("RGBA", (400, 480))
            assert np.asarray(overlay)[..., 3].max() > 0
    assert anna.ask(f"/api/overlay?kind=../masks&id={visible.image_id}")[0] == 404
    zones = anna.json(f"/api/zones?id={visible.image_id}")
    assert zones["rows"] == sorted(zones["rows"])
    assert len(zones["rows"]) == 4


def test_what_the_model_says_of_hidden_images_stays_on_the_server(open_room, anna):
    room = open_room[0]
    hidden = [one for one in room.screen.cases.values() if one.hidden]
    flagged = {one.queued["covid_flag"] for one in hidden}
    assert flagged == {True, False} or {True, None} <= flagged, "who is hidden must not tell what is hidden"
    for case in hidden:
        said = anna.json(f"/api/case?id={case.image_id}")
        assert "model" not in said
        assert (said["reasons"], said["overlays"]) == ([], [])
        assert anna.ask(f"/api/overlay?kind=lung&id={case.image_id}")[0] == 404
    for row in anna.json("/api/list"):
        assert "random_negative" not in row["reasons"]
        assert not row["hidden"] or (not row["reasons"] and row["score"] is None)
    assert any(row["score"] for row in anna.json("/api/list")), "else images of one reason are all alike"


def test_a_blinded_reading_shows_nothing_of_the_model_and_no_rank(screen):
    with serving(screen, blind=True) as (room, port):
        anna = client(screen, port)
        assert all(row["hidden"] and not row["reasons"] for row in anna.json("/api/list"))
        order = [one.queued["rank"] for one in room.screen.cases.values()]
        assert order != sorted(order)
        row = anna.judge(next(iter(room.screen.cases)))
        assert row["revision"] >= 1
    assert any(row["blinded"] for row in Reviews(screen).current().values())


def test_a_broken_file_is_said_to_be_broken_and_can_be_judged(open_room, anna):
    status, _, data = anna.ask("/api/picture?id=a/011.png")
    assert (status, json.loads(data)["problem"]) == (422, "not_shown")
    assert anna.judge("a/011.png", "broken")["revision"] >= 1


def test_a_verdict_is_in_the_table_the_list_and_the_log(screen, open_room):
    ben = client(screen, open_room[1], "ben")
    ben.json("/api/shown", {"image_id": "a/000.dcm"})
    ben.judge("a/000.dcm", "abnormal", category="typical", findings=["consolidation"], zones=[0, 1, 2, 3, None, 0])
    row = Reviews(screen).of_image("ben", "a/000.dcm")[0]
    assert (row["covid"], row["findings"], row["model_id"], row["run_id"]) == (True, ["consolidation"], "m", "r")
    listed = {one["image_id"]: one["verdict"] for one in ben.json("/api/list")}
    assert (listed["a/000.dcm"], listed["a/001.png"]) == ("abnormal", None)
    assert ben.json("/api/case?id=a/000.dcm")["mine"]["category"] == "typical"
    mine = [event for event in events.read(screen) if event["reader"] == "ben"]
    assert [event["event"] for event in mine] == ["image_shown", "verdict"]
    assert ben.ask("/api/verdict", {"image_id": "a/000.dcm"})[0] == 400
    said = {"image_id": "a/000.dcm", "verdict": "normal", "submission": "x" * 8, "findings": ["made_up"]}
    assert ben.ask("/api/verdict", said)[0] == 400


def test_readers_see_their_own_images_and_never_anothers_verdict_before_theirs(tmp_path):
    results, _ = write_screen(tmp_path, images=8)
    (tmp_path / "readers.yaml").write_text("readers: [{name: anna}, {name: ben}, {name: clara, role: adjudicator}]")
    with serving(results, readers=str(tmp_path / "readers.yaml"), double=1.0) as (room, port):
        anna, ben, clara = (client(results, port, name) for name in ("anna", "ben", "clara"))
        image_id = "a/000.dcm"
        assert not [row for row in clara.json("/api/list") if row["role"]]
        assert clara.ask(f"/api/picture?id={image_id}")[0] == 404
        anna.judge(image_id, "normal")
        assert "others" not in ben.json(f"/api/case?id={image_id}")
        assert ben.json(f"/api/case?id={image_id}")["mine"] is None
        ben.judge(image_id, "abnormal")
        found = clara.json(f"/api/case?id={image_id}")
        assert (found["role"], {one["reader"]: one["verdict"] for one in found["others"]}) == (
            "adjudicator", {"anna": "normal", "ben": "abnormal"},
        )  # fmt: skip
        clara.judge(image_id, "abnormal")
        assert room.reviews.on_image(image_id)["clara"]["role"] == "adjudicator"
        assert clara.ask("/api/case?id=a/001.png")[0] == 404
    with serving(results, readers=str(tmp_path / "readers.yaml"), double=0.0) as (_, port):
        strangers = [row for row in client(results, port).json("/api/list") if not row["role"]]
        assert all(row.keys() == {"place", "role"} for row in strangers)
        assert client(results, port, "eve").ask("/api/me")[0] == 401


def test_the_patients_other_radiographs_come_with_their_dates(open_room, anna):
    assert anna.json("/api/case?id=a/000.dcm")["beside"] == [
        {"image_id": "a/001.png", "acquired_on": "2020-03-02", "view": anna.json("/api/case?id=a/001.png")["view"]}
    ]


def test_the_sites_viewer_is_linked_where_the_image_is_of_a_pacs_and_nothing_is_hidden(screen):
    template = "https://viewer.example/viewer?StudyInstanceUIDs={study}"
    with serving(screen, viewer=template) as (room, port):
        anna = client(screen, port)
        shown, hidden = ([one for one in room.screen.cases.values() if one.hidden is hide] for hide in (False, True))
        assert "viewer" not in anna.json(f"/api/case?id={hidden[0].image_id}"), "the viewer may show the model's masks"
        assert anna.json(f"/api/case?id={shown[0].image_id}")["viewer"] is None, "of a file only a hash is known"
        shown[0].known.row["uri"] = "https://pacs.example/dicom-web/studies/1.2/series/3.4/instances/5.6"
        assert anna.json(f"/api/case?id={shown[0].image_id}")["viewer"] == template.replace("{study}", "1.2")
    with pytest.raises(ConfigError, match="viewer's URL"), serving(screen, viewer="javascript:alert('{study}')"):
        pass


def test_a_proxys_header_is_believed_of_the_proxy_alone(screen):
    with serving(screen, trust_header="X-Reader", host="127.0.0.1") as (_, port):
        assert Client(port).ask("/api/me", X_Reader="anna")[0] == 200
        assert Client(port).ask("/api/me")[0] == 401
    with serving(screen, trust_header="X-Reader", proxies=("10.1.2.3",)) as (_, port):
        assert Client(port).ask("/api/me", X_Reader="anna")[0] == 403


def test_beyond_this_machine_only_encrypted_or_behind_a_proxy():
    with pytest.raises(ConfigError, match="give --certificate and --key, or --trust_header"):
        ReviewConfig.parse({"results": "r", "host": "0.0.0.0"}, origin="options")
    with pytest.raises(ConfigError, match="needed together"):
        ReviewConfig.parse({"results": "r", "certificate": "c.pem"}, origin="options")
    for more in ({"certificate": "c", "key": "k"}, {"trust_header": "X-User"}):
        ReviewConfig.parse({"results": "r", "host": "0.0.0.0", **more}, origin="options")


def test_an_invitation_is_a_link_and_starts_no_server(screen, tmp_path):
    said: list[str] = []
    serve.review(ReviewConfig(results=screen, invite="dora"), said.append)
    token = said[0].partition("#")[2]
    assert said[0].startswith("http://127.0.0.1:8642/enter#")
    assert access.Tokens(screen).reader(token) == "dora"
    (tmp_path / "r.yaml").write_text("readers: [{name: anna}]")
    with pytest.raises(ConfigError, match="expected a reader of"):
        serve.review(ReviewConfig(results=screen, invite="dora", readers=str(tmp_path / "r.yaml")), said.append)


def test_results_and_images_in_object_storage(bucket, tmp_path):
    results, _ = write_screen(tmp_path, images=4, uri=bucket)
    with serving(results) as (_, port):
        anna = client(results, port)
        assert anna.ask("/api/picture?id=a/000.dcm")[0] == 200
        anna.judge("a/000.dcm")
    assert Reviews(results).on_image("a/000.dcm")["anna"]["verdict"] == "abnormal"


def test_random_negatives_lie_anywhere_in_the_order(screen):
    random = [[*map(str, one.queued["reasons"])] == ["random_negative"] for one in cases.load(screen).cases.values()]
    assert any(random)
    assert random != sorted(random)
