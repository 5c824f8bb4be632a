"""A real browser for tests: Debian's Chromium, without a window, driven by selenium.

What a page asks of the network, writes to its console and opens as a dialog is all recorded.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from needs import need_module, need_program

INSTALL = "apt-get install chromium chromium-driver"
NO_NETWORK = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
)
DRAWN = "return document.documentElement.dataset.ready === 'yes'"
PATIENCE = 30  # seconds for a page to be drawn on a busy machine


class Browser:
    """One Chromium; pages are opened in it one after the other."""

    def __init__(self) -> None:
        need_module("selenium", "pip install selenium")
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = need_program("chromium", INSTALL)
        for argument in ("--headless=new", "--disable-gpu", *NO_NETWORK):
            options.add_argument(argument)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium has none for root
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.unhandled_prompt_behavior = "ignore"
        service = ChromeService(need_program("chromedriver", INSTALL))
        self.driver = Chrome(options=options, service=service)

    def close(self) -> None:
        self.driver.quit()

    def cdp(self, command: str, **options: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, options)

    def open(
        self,
        path: Path,
        *,
        width: int = 1000,
        height: int = 900,
        scheme: str = "light",
        media: str = "screen",
        until: str = DRAWN,
    ) -> None:
        """Open a page as a fresh visitor and wait until all of it is drawn, or what is asked."""
        self.resize(width, height)
        self.emulate(scheme, media)
        self.driver.get("about:blank")
        self.console(), self.events()  # of the page before
        self.driver.get(path.absolute().as_uri())
        self.wait(until)

    def resize(self, width: int, height: int) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def emulate(self, scheme: str = "light", media: str = "screen") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", media=media, features=features)

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: object) -> Any:
        """Wait until a script returns something, and return that."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if found := self.run(script, *arguments):
                return found
            time.sleep(0.02)
        raise AssertionError(f"never came true: {script}; console: {self.console()}")

    def console(self) -> list[str]:
        """Return what was written to the console since it was asked last, uncaught errors too."""
        return [f"{one['level']}: {one['message']}" for one in self.driver.get_log("browser")]

    def events(self) -> list[dict[str, Any]]:
        """Return what the browser's own log has since it was asked last."""
        return [json.loads(one["message"])["message"] for one in self.driver.get_log("performance")]

    def has_dialog(self) -> bool:
        """Say whether a page has opened an alert or the like."""
        from selenium.common.exceptions import NoAlertPresentException

        try:
            self.driver.switch_to.alert.dismiss()
        except NoAlertPresentException:
            return False
        return True

    def elements(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def element(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def click(self, element: Any) -> None:
        """Click on an element, scrolled to where nothing that sticks to an edge is over it."""
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def text(self, selector: str) -> str:
        """Return what a reader sees of an element, hidden or not."""
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def point_at(self, x: float, y: float, *, click: bool = False) -> None:
        """Move the mouse to a place in the window, and click there."""
        from selenium.webdriver import ActionChains

        chain = ActionChains(self.driver, duration=0)
        chain.w3c_actions.pointer_action.move_to_location(round(x), round(y))
        if click:
            chain.w3c_actions.pointer_action.click()
        chain.perform()

    def picture(self, file: Path) -> None:
        """Write a picture of the whole page."""
        found = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))


def requests_of(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return the addresses that were asked for, by whatever part of a page."""
    sent = [one["params"] for one in events if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent if one["documentURL"] != "about:blank"]


def dialogs_of(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return the messages of dialogs that a page has opened."""
    opened = [one for one in events if one["method"] == "Page.javascriptDialogOpening"]
    return [one["params"]["message"] for one in opened]


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that is closed in the end."""
    found = Browser()
    try:
        yield found
    finally:
        found.close()


# Returns [text, ratio, least] of every visible text that has too little contrast with what lies
# under it. `pointer-events` is set so that the browser itself says what is there, svg included.
CONTRAST = """
const style = document.createElement('style');
style.textContent = '* { pointer-events: all !important; transition: none !important }';
document.head.append(style);
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
canvas.canvas.width = canvas.canvas.height = 1;
function rgba(text) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = text;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
function over(top, below) {
  return [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
}
function luminance(color) {
  const [r, g, b] = color.map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function opacity(element) {
  let all = 1;
  for (; element; element = element.parentElement) all *= getComputedStyle(element).opacity;
  return all;
}
function painted(element) {
  const is = getComputedStyle(element);
  if (element instanceof SVGElement && !(element instanceof SVGSVGElement)) {
    if (!(element instanceof SVGGeometryElement) || is.fill === 'none') return [0, 0, 0, 0];
    const area = element.getBBox();
    if (!area.width || !area.height) return [0, 0, 0, 0];  // a line
    const fill = rgba(is.fill);
    return [...fill.slice(0, 3), fill[3] * is.fillOpacity * opacity(element)];
  }
  const back = rgba(is.backgroundColor);
  return [...back.slice(0, 3), back[3] * opacity(element)];
}
const found = [], seen = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, owner = node.parentElement;
  if (!node.data.trim() || owner.closest('script, style, noscript, template')) continue;
  if (!owner.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getClientRects()[0];
  if (!box || box.width < 1 || box.height < 1) continue;
  const x = box.x + box.width / 2, y = box.y + box.height / 2;
  const pile = document.elementsFromPoint(x, y), at = pile.indexOf(owner);
  if (at < 0) continue;  // scrolled out of its box: nobody sees it
  const below = pile.slice(owner instanceof SVGElement ? at + 1 : at);
  let back = [255, 255, 255, 1];
  for (const element of below.reverse()) back = over(painted(element), back);
  const is = getComputedStyle(owner), svg = owner instanceof SVGElement;
  const ink = rgba(svg ? is.fill : is.color);
  ink[3] *= opacity(owner) * (svg ? is.fillOpacity : 1);
  const [a, b] = [luminance(over(ink, back)), luminance(back)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const size = parseFloat(is.fontSize), bold = is.fontWeight >= 700;
  const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
  seen.push(node.data);
  if (ratio < least) found.push([node.data.trim().slice(0, 60), ratio.toFixed(2), least]);
}
style.remove();
return [seen.length, found];
"""
