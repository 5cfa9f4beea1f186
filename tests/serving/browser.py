"""A real browser for the tests of the dashboard: headless Chromium through Selenium, and a server on a socket."""

import json
import shutil
import threading
from contextlib import contextmanager
from functools import partial

import pytest

from nexus.living.opening import open_living
from nexus.serving.app import make_app
from nexus.serving.desk import Desk
from nexus.serving.engine import Engine
from nexus.serving.journal_thread import JournalThread
from nexus.serving.server import bind
from tests.serving.small import release_of

TOKENS = 24  # of an answer
WAIT = 60  # seconds at most for what the page does; a busy machine is slow
BINARIES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def open_browser():
    """A driver for Chromium, or a skipped test that says what is missing."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra dev)")
    driver, binary = shutil.which("chromedriver"), next(filter(None, map(shutil.which, BINARIES)), None)
    if not driver or not binary:
        pytest.skip("no Chromium with chromedriver on PATH: apt install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return selenium.Chrome(options=options, service=selenium.ChromeService(driver))


@contextmanager
def on_a_socket(path, release=None, keys=(), gate=False):
    """A running server; gives its address."""
    release = release or release_of()
    desk = Desk(release, partial(open_living, release, path)) if gate else None
    app = make_app(Engine(release, desk=desk), keys=keys, name="nexus", journal=JournalThread(path) if path else None)
    server, sock = bind(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


class Tab:
    """The page in a browser, with what the tests do to it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url, width=1280, height=800, dark=False):
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")  # the page before asks no more
        self.complaints()
        self.addresses()
        self.driver.get(url)
        return self

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, selector):
        """The one element that is shown and matches."""
        return self.until(lambda: next((e for e in self.all(selector) if e.is_displayed()), None), selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def button(self, words, within="body"):
        """The button with these words."""

        def find():
            found = [b for b in self.all(f"{within} button") if b.text == words and b.is_displayed()]
            return found[0] if found else None

        return self.until(find, f"button {words}")

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def until(self, condition, what):
        """Wait for a condition; gives its value."""
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, WAIT, 0.05, [StaleElementReferenceException])
        try:
            return wait.until(lambda _driver: condition())
        except TimeoutException:
            raise AssertionError(f"{what} never came; the page:\n{self.text('body')}\n{self.complaints()}") from None

    def shows(self, selector, words):
        """Wait until an element's text contains these words."""
        self.until(lambda: words in self.text(selector), f"{words!r} in {selector}")

    def press(self, *keys):
        """Press keys, whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        return self.driver.switch_to.active_element

    def ask(self, question):
        """Ask for a short answer, and wait for the whole of it."""
        self.run("document.getElementById('length').value = arguments[0]", TOKENS)
        before = len(self.all("#log .answer[aria-busy=false]"))
        self.one("#question").send_keys(question, "\n")
        done = "#log .answer[aria-busy=false]"
        self.until(lambda: len(self.all(done)) > before, "an answer")
        return self.all(done)[-1]

    def complaints(self):
        """What the browser complained about, blocked content among it."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def addresses(self):
        """Everything that was asked for over the network."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:", "chrome", "about:"))]
