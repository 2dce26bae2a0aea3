"""A headless Chromium of the test's own, driven by selenium; tests skip where there is none."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


@contextmanager
def chromium(profile: Path, width: int = 1280, height: int = 800) -> Iterator[webdriver.Chrome]:
    """A browser with a fresh profile in `profile`."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver: .ci/packages installs Debian's")
    options = Options()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.set_script_timeout(60)
        yield browser
    finally:
        browser.quit()


def resize(browser: webdriver.Chrome, width: int, height: int) -> None:
    """The page's size in pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def keys(browser: webdriver.Chrome, *pressed: str) -> None:
    """Keys for the page, one after the other."""
    ActionChains(browser).send_keys(*pressed).perform()


def until(browser: webdriver.Chrome, script: str, seconds: float = 60) -> Any:
    """The first true value of a JavaScript expression."""
    return WebDriverWait(browser, seconds, 0.02).until(lambda one: one.execute_script(f"return {script}"))


def ready(browser: webdriver.Chrome, place: int | None = None) -> None:
    """An image with all its values is before the reader; the one after `place` saved verdicts, if given."""
    if place is not None:
        until(browser, f"reading.state.history.length === {place}")
    until(browser, "window.reading?.state.ready && reading.values() && reading.viewer().base !== null")


def hosts(browser: webdriver.Chrome) -> set[str]:
    """Every host that the pages asked for anything."""
    found = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = urlsplit(message["params"]["request"]["url"])
            if url.scheme in ("http", "https", "ws", "wss"):
                found.add(url.netloc)
    return found
