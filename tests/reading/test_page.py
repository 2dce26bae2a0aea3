"""The page in a browser: by keyboard alone, and pixel by pixel."""

import base64
import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.dicom_display import display
from comit_ray.data.images.load import decode_with_values
from comit_ray.reading import access
from comit_ray.reading.store import Reviews
from comit_ray.tables.vocabulary import ReviewReason
from tests.reading.browsers import chromium, hosts, keys, ready, resize, until
from tests.reading.screens import serving, write_real_screen, write_screen

pytestmark = pytest.mark.slow

PIXELS = """
const base = reading.viewer().base;
const data = base.getContext("2d").getImageData(0, 0, base.width, base.height).data;
const grey = new Uint8Array(base.width * base.height);
for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
let text = "";
for (let i = 0; i < grey.length; i += 32768) text += String.fromCharCode(...grey.subarray(i, i + 32768));
return [base.width, base.height, btoa(text)];
"""

SHOWN = "reading.state.ready && reading.state.case && !reading.pending()"
"""An image is before the reader, and the verdict before it is stored."""


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> str:
    return write_screen(tmp_path_factory.mktemp("screen"), images=8)[0]


@pytest.fixture(scope="module")
def room(screen):
    with serving(screen) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


def enter(browser, screen: str, port: int, reader: str) -> None:
    browser.get("about:blank")  # from one fragment to another a browser stays on its page
    browser.get(f"http://127.0.0.1:{port}/enter#{access.invite(screen, reader, 1)}")
    until(browser, "window.reading && (reading.state.at || !document.getElementById('closing').hidden)")


def pixels(browser) -> np.ndarray:
    width, height, text = browser.execute_script(PIXELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)


def test_a_queue_is_read_by_keyboard_alone(browser, screen, room):
    """All answers of the form, an undo, a pause, and the page at the end."""
    port = room[1]
    enter(browser, screen, port, "keys")
    ready(browser)
    first = browser.execute_script("return reading.state.at.image_id")
    keys(browser, Keys.ENTER)
    assert "Choose a judgement first" in browser.execute_script("return document.getElementById('saved').textContent")
    keys(browser, "a", "1", "g", Keys.SPACE, Keys.ARROW_RIGHT, Keys.SPACE, Keys.ESCAPE, "z", "012312", Keys.ESCAPE)
    browser.execute_cdp_cmd(
        "Input.dispatchKeyEvent",
        {"type": "rawKeyDown", "key": "$", "code": "Digit4", "windowsVirtualKeyCode": 52, "modifiers": 8},
    )
    keys(browser, "t", "left base", Keys.ENTER)
    ready(browser, 1)
    until(browser, "document.getElementById('saved').textContent === 'Saved'")
    row = Reviews(screen).on_image(first)["keys"]
    assert (row["verdict"], row["category"], row["confidence"], row["comment"]) == (
        "abnormal",
        "typical",
        4,
        "left base",
    )
    assert (row["findings"], row["zones"]) == (["consolidation", "ground_glass"], [0, 1, 2, 3, 1, 2])
    assert row["seconds"] > 0
    assert row["shown_at"] <= row["read_at"]

    keys(browser, "u")
    until(browser, f"reading.state.at.image_id === {json.dumps(first)} && reading.state.list.every((r) => !r.verdict)")
    until(browser, "document.querySelector('#verdicts [aria-checked=true]').dataset.value === 'abnormal'")
    assert "keys" not in Reviews(screen).on_image(first)
    keys(browser, "p")
    until(browser, "document.getElementById('paused').open")
    keys(browser, "n")  # a key that would judge does nothing while the image is hidden
    keys(browser, "p")
    until(browser, "!document.getElementById('paused').open")
    assert (
        browser.execute_script("return document.querySelector('#verdicts [aria-checked=true]').dataset.value")
        == "abnormal"
    )
    for place in range(8):
        until(browser, SHOWN)
        keys(browser, ("a", "n", "c", "x")[place % 4], Keys.ENTER)
        until(browser, f"reading.state.history.length === {place + 1}")
    until(browser, "!document.getElementById('closing').hidden")
    assert "All read" in browser.execute_script("return document.getElementById('closing').textContent")
    current = {key: row for key, row in Reviews(screen).current().items() if key[1] == "keys"}
    assert len(current) == 8
    assert hosts(browser) == {f"127.0.0.1:{port}"}
    severe = [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]
    assert [one for one in severe if "422" not in one and "favicon" not in one] == []


def test_thirty_real_radiographs_are_read_by_keyboard(cxr, browser, tmp_path):
    """PNG, JPEG and DICOM of public archives, screened by a small network that is not trained."""
    results = write_real_screen(cxr, tmp_path, 30)
    seen: dict[str, int] = {}
    with serving(results) as (room, port):
        flags = Counter(case.queued["covid_flag"] for case in room.screen.cases.values())
        assert min(flags[True], flags[False]) >= 5, flags
        enter(browser, results, port, "anna")
        for place in range(30):
            until(browser, SHOWN)
            for kind in browser.execute_script("return reading.state.case.overlays"):
                seen[kind] = seen.get(kind, 0) + 1
            keys(browser, "an"[place % 2], Keys.ENTER)
            until(browser, f"reading.state.history.length === {place + 1}")
        until(browser, "!document.getElementById('closing').hidden")
    assert len(Reviews(results).current()) == 30
    assert seen["lung"] == seen["disease"] > 5, "the network's masks, where the model is not hidden"
    assert hosts(browser) <= {f"127.0.0.1:{port}"}


def test_another_browser_goes_on_where_one_stopped(browser, screen, room, tmp_path):
    port = room[1]
    enter(browser, screen, port, "twice")
    ready(browser)
    first = browser.execute_script("return reading.state.at.image_id")
    keys(browser, "n", Keys.ENTER)
    ready(browser, 1)
    until(browser, "document.getElementById('saved').textContent === 'Saved'")
    second = browser.execute_script("return reading.state.at.image_id")
    with chromium(tmp_path / "profile") as other:
        enter(other, screen, port, "twice")
        ready(other)
        assert other.execute_script("return reading.state.at.image_id") == second != first
        assert other.execute_script("return document.getElementById('place').textContent") == "1 of 8 read"


@pytest.mark.parametrize("image_id", ["a/000.dcm", "a/002.dcm"])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1024, 2048), (1500.5, 300), (3000, 1), (700, 4095)])
def test_the_canvas_shows_what_the_display_pipeline_gives(browser, screen, room, image_id, center, width):
    """Five windows of 12-bit DICOM files, every pixel; the second is MONOCHROME1 with rescale and padding."""
    enter(browser, screen, room[1], "pixels")
    go_to(browser, image_id)
    data = Path(room[0].screen.cases[image_id].known.place.file.uri).read_bytes()
    radiograph, image = decode_with_values(data, DecodeLimits())
    np.testing.assert_array_equal(pixels(browser), radiograph.pixels_HW)
    browser.execute_script(f"reading.viewer().setWindow({{center: {center}, width: {width}, function: 'LINEAR'}});")
    image.elements.WindowCenter, image.elements.WindowWidth = center, width
    expected, applied = display(image.values_HW, image.elements, str(image.photometric))
    assert "window" in applied
    np.testing.assert_array_equal(pixels(browser), expected)
    browser.execute_script("reading.viewer().setInverted(true)")
    np.testing.assert_array_equal(pixels(browser), 255 - expected)


def drag(browser, x: int, y: int, by: tuple[int, int], button: str = "left") -> None:
    """The hand on an image, from a point of the page."""
    to = x + by[0], y + by[1]
    for kind, at in (("mousePressed", (x, y)), ("mouseMoved", to), ("mouseReleased", to)):
        more = {"buttons": 0 if kind == "mouseReleased" else {"left": 1, "right": 2}[button]}
        browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent", {"type": kind, "x": at[0], "y": at[1], "button": button, **more}
        )


def go_to(browser, image_id: str) -> None:
    """An image of the list, with all its values."""
    browser.execute_script("window.wanted = reading.state.list.find((row) => row.image_id === arguments[0])", image_id)
    keys(browser, "j")
    until(browser, "document.getElementById('list').open")
    browser.execute_script(
        "const place = String(wanted.place);"
        "[...document.querySelectorAll('#rows button')].find((b) => b.firstChild.textContent === place).click()"
    )
    until(browser, f"reading.state.at.image_id === {json.dumps(image_id)}")
    ready(browser)


def test_outlines_say_how_coarse_they_are_blocks_have_headings_and_no_path_is_shown(browser, screen, room, monkeypatch):
    flagged = next(one for one in room[0].screen.cases.values() if one.block == "above_operating_point")
    monkeypatch.setitem(flagged.queued, "flag_trusted", False)
    monkeypatch.setitem(flagged.known.row, "view", "unknown")
    enter(browser, screen, room[1], "eyes")
    ready(browser)
    go_to(browser, flagged.image_id)
    until(browser, "reading.viewer().outline")
    assert browser.execute_script("return document.getElementById('about').textContent").startswith("View not known")
    assert "do not trust the flags" in browser.execute_script("return document.getElementById('said').textContent")
    corner = "return document.getElementById('grey').textContent"
    assert "lesion" not in browser.execute_script(corner), "masks are not shown yet"
    keys(browser, "m")
    assert "by the model on 64 x 64 pixels: one step is 7 pixels of" in browser.execute_script(corner)
    assert "An outline is not a lesion's border" in browser.execute_script(corner)
    keys(browser, "j")
    until(browser, "document.getElementById('list').open")
    heads = browser.execute_script("return [...document.querySelectorAll('#rows h3')].map((one) => one.textContent)")
    assert heads[0] == "COVID-19 score above the threshold: highest score first"
    assert "Drawn at random" not in " ".join(heads), "it would tell which images are the sample"
    shown = browser.execute_script("return document.documentElement.outerHTML")
    assert not [one for one in room[0].screen.cases if one.removeprefix("a/") in shown]
    keys(browser, Keys.ESCAPE)


def test_the_patients_other_radiograph_has_the_same_window_and_linked_zoom(browser, screen, room):
    """A picture of 8 bits beside a file of 12: the same share of the range, as its numbers mean something else."""
    enter(browser, screen, room[1], "hand")
    go_to(browser, "a/000.dcm")
    assert browser.execute_script("return reading.viewer().window") is None
    drag(browser, 400, 300, (60, 40))
    own = until(browser, "reading.viewer().window")
    assert own["function"] == "LINEAR_EXACT"
    keys(browser, "b")
    until(browser, "reading.other().values")
    assert "2020-03-02" in browser.execute_script("return document.getElementById('about-other').textContent")
    full = "values.presets.find((one) => one.name === 'full')"
    main, other = (
        browser.execute_script(f"const values = reading.{name}().values; return {full}") for name in ("viewer", "other")
    )
    mapped = until(browser, "reading.other().window")
    assert mapped["width"] == pytest.approx(own["width"] * other["width"] / main["width"])
    share = [(one["center"] - whole["center"]) / whole["width"] for one, whole in ((own, main), (mapped, other))]
    assert share[0] == pytest.approx(share[1])
    before = browser.execute_script("return reading.viewer().view.scale")
    keys(browser, "+", "i", Keys.ARROW_LEFT)
    until(browser, f"reading.viewer().view.scale > {before}")
    linked = "return [reading.viewer().middle(), reading.other().middle()]"
    one, two = browser.execute_script(linked)
    assert one == pytest.approx(two)
    assert browser.execute_script("return reading.other().inverted")
    box = browser.execute_script("return document.getElementById('other').getBoundingClientRect().toJSON()")
    drag(browser, int(box["x"] + 60), int(box["y"] + 200), (25, 30), "right")  # the other one leads
    moved, followed = browser.execute_script(linked)
    assert moved == pytest.approx(followed)
    assert moved["y"] != pytest.approx(one["y"])
    assert browser.execute_script("return document.getElementById('invert').getAttribute('aria-pressed')") == "true"
    keys(browser, "n", Keys.ENTER)
    ready(browser, 1)
    until(browser, "document.getElementById('pane-other').hidden || reading.other().values")
    dates = browser.execute_script("return reading.state.case.beside.map((one) => one.acquired_on)")
    said = browser.execute_script("return document.getElementById('about-other').textContent")
    assert said.partition("\n")[0] in [*dates, ""], "one patient's radiograph never stays beside another's"


def test_the_sites_viewer_opens_in_its_own_tab_and_by_its_link_alone(browser, screen):
    """The page asks it for nothing: only the reader's click does."""
    with (
        serving(screen) as (there, elsewhere),
        serving(screen, viewer=f"http://127.0.0.1:{elsewhere}/?StudyInstanceUIDs={{study}}") as (room, port),
    ):
        shown = next(one for one in room.screen.cases.values() if not one.hidden)
        local = shown.known.row["uri"]
        enter(browser, screen, port, "viewer")
        go_to(browser, shown.image_id)
        assert not browser.find_element("id", "viewer").is_displayed(), "of a file no study is known"
        shown.known.row["uri"] = "https://pacs.example/dicom-web/studies/1.2/series/3.4/instances/5.6"
        hosts(browser)
        enter(browser, screen, port, "viewer")
        go_to(browser, shown.image_id)
        until(browser, "reading.state.case && !document.getElementById('viewer').hidden")
        assert hosts(browser) == {f"127.0.0.1:{port}"}
        tab = browser.current_window_handle
        keys(browser, "v")
        until(browser, "true")
        (new,) = set(browser.window_handles) - {tab}
        browser.switch_to.window(new)
        assert browser.current_url.endswith(f":{elsewhere}/?StudyInstanceUIDs=1.2")
        assert browser.execute_script("return [window.opener, document.referrer]") == [None, ""]
        browser.close()
        browser.switch_to.window(tab)
        shown.known.row["uri"] = local
        assert there.config.viewer is None


def test_everything_is_reached_and_named_without_a_mouse(browser, screen, room):
    """Tab goes through the page, each stop with a name and a ring; arrows go on inside a group."""
    enter(browser, screen, room[1], "tabs")
    until(browser, SHOWN)
    ready(browser)
    stops = []
    for _ in range(60):
        keys(browser, Keys.TAB)
        stop = browser.execute_script(
            "const one = document.activeElement; if (one === document.body) return null;"
            "const style = getComputedStyle(one);"
            "const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;"
            "return {id: one.id || one.parentElement.id, ring,"
            " name: one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.[0]?.textContent || ''}"
        )
        if stop is None or stop in stops:
            break
        stops.append(stop)
    found = {stop["id"] for stop in stops}
    assert {"main", "fit", "windows", "verdicts", "categories", "findings", "severity", "confidence", "comment",
            "save", "undo", "open-list", "open-pause", "open-help"} <= found, found  # fmt: skip
    assert [stop for stop in stops if not stop["name"] or not stop["ring"]] == []
    assert sum(stop["id"] == "verdicts" for stop in stops) == 1, "a group is one stop"
    browser.execute_script("document.querySelector('#verdicts button').focus()")
    keys(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    said = "return document.querySelector('#verdicts [aria-checked=true]').dataset.value"
    assert browser.execute_script(said) == "cannot_tell"
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('button, select, input, textarea, canvas, [role], dialog, progress')]"
        ".filter((one) => !['alert', 'status'].includes(one.getAttribute('role')) && !one.getAttribute('aria-label')"
        " && !one.getAttribute('aria-labelledby') && !one.textContent.trim() && !one.labels?.length)"
        ".map((one) => one.outerHTML)"
    )
    assert unnamed == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 768), (800, 1280), (768, 1024)])
def test_image_and_form_have_room_on_a_screen_and_on_a_tablet(browser, screen, room, width, height):
    resize(browser, width, height)
    try:
        enter(browser, screen, room[1], "size")
        until(browser, SHOWN)
        ready(browser)
        boxes = browser.execute_script(
            "return ['main', 'form', 'save', 'top', 'tools']"
            ".map((id) => document.getElementById(id).getBoundingClientRect().toJSON())"
        )
        main, form, save, top, tools = boxes
        assert main["height"] >= 400
        assert main["width"] >= 400
        for box in (form, save, top, tools):
            assert 0 <= box["left"] <= box["right"] <= width
            assert 0 <= box["top"] <= box["bottom"] <= height
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        if folder := os.environ.get("COMIT_READING_PICTURES"):
            browser.save_screenshot(f"{folder}/page_{width}x{height}.png")
    finally:
        resize(browser, 1280, 800)


def test_without_a_link_the_page_says_what_to_do(browser, room):
    browser.delete_all_cookies()
    browser.get(f"http://127.0.0.1:{room[1]}/")
    until(browser, "!document.getElementById('outside').hidden && document.getElementById('why').textContent")
    assert "open the link" in browser.execute_script("return document.getElementById('why').textContent")
    browser.get("about:blank")
    browser.get(f"http://127.0.0.1:{room[1]}/enter#{'x' * 43}")
    assert "another reading room" in until(browser, "document.getElementById('why')?.textContent")


def test_the_page_lies_in_no_frame(browser, room, tmp_path):
    outer = tmp_path / "outer.html"
    outer.write_text(f"<iframe src='http://127.0.0.1:{room[1]}/' width=900 height=600></iframe>")
    browser.get(f"file://{outer}")
    browser.switch_to.frame(0)
    assert "chrome-error" in browser.execute_script("return location.href")
    browser.switch_to.default_content()


def test_the_page_is_small_and_every_word_is_in_its_file():
    page = Path(access.__file__).parent / "page"
    assert sum(file.stat().st_size for file in page.iterdir()) < 300_000
    known = json.loads((page / "words.en.json").read_text())
    html = (page / "index.html").read_text()
    asked = set(re.findall(r'data-(?:word|label|hint)="(\w+)"', html))
    for script in page.glob("*.js"):
        text = script.read_text()
        asked |= set(re.findall(r'words\("(\w+)"', text))
        assert "http://" not in text
        assert "https://" not in text
    assert asked <= known.keys(), sorted(asked - known.keys())
    own = re.sub(r"<kbd>[^<]{1,2}</kbd>|<[^>]*>", "", html)  # single letters are keys, the same in every language
    assert not own.strip(), f"words outside of words.en.json: {own.split()}"
    assert not re.findall(r'(?:aria-label|placeholder|title)="', html)
    assert {f"reason_{reason}" for reason in ReviewReason} <= known.keys()
