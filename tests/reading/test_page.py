"""The page in a browser: by keyboard alone, and pixel by pixel."""

import base64
import json
import re
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
from tests.reading.browsers import chromium, hosts, keys, ready, until
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
    """PNG, JPEG and DICOM of public archives; what the model said of them is made up."""
    results = write_real_screen(cxr, tmp_path, 30)
    with serving(results) as (_, port):
        enter(browser, results, port, "anna")
        for place in range(30):
            until(browser, SHOWN)
            keys(browser, "an"[place % 2], Keys.ENTER)
            until(browser, f"reading.state.history.length === {place + 1}")
        until(browser, "!document.getElementById('closing').hidden")
    assert len(Reviews(results).current()) == 30
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
    browser.execute_script("window.go = reading.state.list.find((row) => row.image_id === arguments[0])", image_id)
    keys(browser, "j")
    until(browser, "document.getElementById('list').open")
    browser.execute_script(
        "const place = String(go.place);"
        "[...document.querySelectorAll('#rows button')].find((b) => b.firstChild.textContent === place).click()"
    )
    until(browser, f"reading.state.at.image_id === {json.dumps(image_id)}")
    ready(browser)
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


def test_a_drag_changes_the_window_and_the_other_radiograph_follows(browser, screen, room):
    enter(browser, screen, room[1], "hand")
    ready(browser)
    assert browser.execute_script("return reading.viewer().window") is None
    for kind, x, y in (("mousePressed", 400, 300), ("mouseMoved", 460, 340), ("mouseReleased", 460, 340)):
        browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            {"type": kind, "x": x, "y": y, "button": "left", "buttons": 0 if kind == "mouseReleased" else 1},
        )
    assert until(browser, "reading.viewer().window")["function"] == "LINEAR_EXACT"
    keys(browser, "b")
    until(browser, "!document.getElementById('pane-other').hidden")
    assert "2020-03-0" in browser.execute_script("return document.getElementById('about-other').textContent")
    before = browser.execute_script("return reading.viewer().view.scale")
    keys(browser, "+")
    until(browser, f"reading.viewer().view.scale > {before}")
    keys(browser, "i")
    assert browser.execute_script("return document.getElementById('invert').getAttribute('aria-pressed')") == "true"


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
    assert {f"reason_{reason}" for reason in ReviewReason} <= known.keys()
