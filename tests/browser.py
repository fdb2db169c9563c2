"""A real browser without a window, for the tests of pages; Debian's packages are chromium and chromium-driver."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, which drives a browser")
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

__all__ = ["ActionChains", "Keys", "Page", "ScrollOrigin", "browser", "needs_browser"]

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name leads anywhere
    "--window-size=1300,850",
]


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A browser that keeps its things in a folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in [*ARGUMENTS, f"--user-data-dir={profile}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def contrast(*colours: list[int]) -> float:
    """Between two colours, given as red, green and blue up to 255: as WCAG 2 counts it."""
    light = []
    for colour in colours:
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in (c / 255 for c in colour)]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


class Page:
    """The explorer's page, open in a browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> Page:
        self.driver.get_log("browser")
        self.driver.get(path.as_uri())
        self.wait("document.documentElement.dataset.ready === 'yes'")
        self.calm()
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        WebDriverWait(self.driver, 10, poll_frequency=0.02).until(lambda d: d.execute_script(f"return {condition}"))

    def calm(self) -> None:
        """Wait until what was asked to be drawn is drawn, and nothing moves."""
        self.driver.execute_async_script(
            "const done = arguments[0]; let at = '', quiet = 0; const look = () => {"
            "const now = JSON.stringify([explorer.camera.x, explorer.camera.y, explorer.camera.scale]);"
            "quiet = now === at ? quiet + 1 : 0; at = now;"
            "if (quiet > 3) done(); else requestAnimationFrame(look); }; look();"
        )

    def text(self, place: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).textContent", place))

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def search(self, query: str) -> None:
        self.keys("/", query, Keys.ENTER, Keys.ESCAPE)
        self.calm()

    def go(self, step: int) -> None:
        """Move the slider, as dragging does."""
        self.run(
            "const slider = document.getElementById('step');"
            "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'))",
            step,
        )

    def colours(self) -> list[list[int]]:
        """The different colours on the canvas, sampled, the most frequent one first."""
        return self.run(
            "const c = document.getElementById('graph'), copied = document.createElement('canvas');"
            "Object.assign(copied, {width: c.width, height: c.height});"
            "const copy = copied.getContext('2d', {willReadFrequently: true}); copy.drawImage(c, 0, 0);"
            "const d = copy.getImageData(0, 0, c.width, c.height).data;"
            "const seen = new Map(); for (let k = 0; k < d.length; k += 28) { const key = d.slice(k, k + 3).join();"
            "seen.set(key, (seen.get(key) ?? 0) + 1); }"
            "return [...seen].sort((a, b) => b[1] - a[1]).map(([key]) => key.split(',').map(Number))"
        )

    def selected(self) -> str | None:
        return self.run("return explorer.marked.selected && document.getElementById('title').textContent")

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def prefer(self, **features: str) -> None:
        """What the system's user prefers: color_scheme, reduced_motion; nothing for what it was."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def contrast(self) -> float:
        """Between text and page."""
        colours = self.run("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
        return contrast(*([int(x) for x in re.findall(r"\d+", colour)[:3]] for colour in colours))

    def contrasts(self) -> list[float]:
        """Of each text that is drawn in a box from now on, before `calm`: between it and what was filled last."""
        pairs = self.driver.execute_async_script(
            "const done = arguments[0], pen = CanvasRenderingContext2D.prototype, {fill, fillText} = pen;"
            "const pairs = new Set(); let last = null;"
            "pen.fill = function (...a) { last = this.fillStyle; return fill.apply(this, a); };"
            "pen.fillText = function (...a) {"
            "if (this.textAlign === 'center') pairs.add(last + this.fillStyle); return fillText.apply(this, a); };"
            "explorer.redraw(); requestAnimationFrame(() => requestAnimationFrame(() => {"
            "Object.assign(pen, {fill, fillText}); done([...pairs]); }));"
        )
        return [contrast(*(list(bytes.fromhex(colour)) for colour in pair[1:].split("#"))) for pair in pairs]
