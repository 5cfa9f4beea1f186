"""The dashboard in headless Chromium: what a person does with it, by mouse and by keyboard, large and small."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from nexus.living.gate import Certificate
from nexus.living.journal import OWNER, Journal
from tests.living.answers import certified_release
from tests.serving import browser
from tests.serving.browser import Tab, on_a_socket, open_browser
from tests.serving.small import alone, release_of

AXE = os.environ.get("NEXUS_AXE", "")  # the development copy of axe-core, if there is one
KEY = "0123456789abcdef0123"
NASTY = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture(scope="module")
def driver():
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def certified():
    """A release with a certificate, and questions of which its gate lets some through."""
    release, _, questions = certified_release()
    return release, questions


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


@pytest.fixture
def url(path):
    with on_a_socket(path) as url:
        yield url


@pytest.fixture
def tab(driver, url):
    """The page, open; whatever was done, nothing was blocked, and nothing came from elsewhere."""
    tab = Tab(driver).open(url)
    tab.shows("#connection-text", "ready")
    yield tab
    assert tab.complaints() == []
    assert {urlsplit(address).netloc for address in tab.addresses()} == {urlsplit(url).netloc}


def teach(tab, text, source=""):
    tab.one("#teach-text").send_keys(text)
    tab.one("#teach-source").send_keys(source)
    tab.button("Teach").click()
    tab.shows("#facts", text)


def test_teach_correct_roll_back_forget(tab, path):
    teach(tab, "The shop opens at nine.", "the door")
    tab.shows("#said", "Learnt, as fact 1.")
    tab.button("Correct", "#facts").click()
    field = tab.one("#edit-1")
    assert field == tab.focused()
    field.clear()
    field.send_keys("The shop opens at ten.")
    tab.button("Correct", "#facts").click()
    tab.shows("#facts", "The shop opens at ten.")
    assert "nine" not in tab.text("#facts")
    tab.one("#history button[aria-label='Go back to version 1']").click()
    tab.button("Go back to version 1").click()
    tab.shows("#facts", "The shop opens at nine.")
    tab.shows("#version-now", "version 3")
    tab.button("Forget", "#facts").click()
    tab.button("Forget for good").click()
    tab.shows("#facts", "Nothing was taught yet.")
    tab.shows("#history", "(forgotten)")
    assert "nine" not in tab.text("main")
    with Journal(path) as journal:
        assert [event.kind for event in journal.events(OWNER)] == ["teach", "correct", "rollback", "forget"]
        assert journal.verify() == 4


def test_an_answer_is_streamed_and_judged(tab, path):
    answer = tab.ask("Hello")
    release = release_of()
    ids = release.tokenizer.chat_ids([{"role": "user", "content": "Hello"}])
    said = tab.text("#log .answer .said-text")
    assert said == alone(release, ids, browser.TOKENS) != ""
    assert "no gate" in answer.text
    tab.button("✗ Wrong").click()
    tab.shows("#log", "Noted as wrong")
    tab.shows("#risk-text", "1 of 1 judged answers were wrong: 100\u202f%")
    tab.shows("#speed-note", "tokens a second, the first after")
    tab.button("Teach the answer").click()
    assert tab.focused() == tab.one("#teach-text")
    with Journal(path) as journal:
        (event,) = journal.events(OWNER)
        assert event.payload["right"] is False
        assert event.payload["about"].startswith("chatcmpl-")
    label = tab.one("#risk-chart svg").get_attribute("aria-label")
    assert "1 of 1 judged answers were wrong" in label


PROVED = "Every reptile is an animal. Rex is a reptile. Is Rex an animal?"


def test_each_answer_shows_what_stands_behind_it(driver, path, certified):
    release, questions = certified
    with on_a_socket(path, release, gate=True) as url:
        tab = Tab(driver).open(url)
        tab.shows("#connection-text", "ready")
        teach(tab, "Our shop is in Main Street. The shop opens at nine. Dogs may come in.", "the door")

        proof = tab.ask(PROVED)
        assert "Proved" in proof.text
        tab.one("#log details.proof summary").click()
        assert [line.text for line in tab.all("#log details.proof li")][-1].startswith("Rex is an animal")

        memory = tab.ask("When does the shop open?")
        assert "From what you taught" in memory.text
        assert [mark.text for mark in memory.find_elements("css selector", "mark")] == ["The shop opens at nine."]
        assert "the door" in memory.find_element("css selector", "figcaption").text

        kinds = set()
        for question in questions[-12:]:  # the surest, and some that are not known
            model = tab.ask(question)
            refused = "refusal" in model.get_attribute("class")
            kinds.add(refused)
            assert ("Not answered" if refused else "The model, certified") in model.text
            assert "not sure enough" in model.text or not refused
            assert "certificate" in model.find_element("css selector", ".figures").text
        assert kinds == {True, False}

        tab.shows("#coverage-text", "of 14 questions answered")
        alpha = Certificate.load(release.folder / "living" / "certificate.json").verdict.alpha
        assert f"{100 * alpha:g}\u202f% wrong" in tab.text("#channels")
        memory.find_elements("css selector", ".judge button")[0].click()
        tab.shows("#channels", "1 judged answer")
        assert tab.complaints() == []


def test_what_is_said_never_becomes_markup(tab):
    teach(tab, NASTY, NASTY)
    tab.ask(NASTY)
    assert tab.text("#log .question") == NASTY
    assert tab.all("#facts img, #log img, #history img, main script") == []
    assert tab.driver.title == "Nexus"


def test_everything_can_be_done_from_the_keyboard(tab):
    from selenium.webdriver.common.keys import Keys

    tab.press(Keys.TAB)
    assert tab.focused().text == "Skip to the question"
    tab.press(Keys.ENTER)
    assert tab.focused().get_attribute("id") == "question"
    seen = []
    while not seen or seen[-1] != "teach-send":
        assert len(seen) < 20, seen
        tab.press(Keys.TAB)
        seen.append(tab.focused().get_attribute("id"))
        outline = tab.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"the focus on {seen[-1]} cannot be seen"
        if seen[-1] == "teach-text":
            tab.press("Taught by keys alone.")
    assert [name for name in seen if name] == ["send", "anew", "export", "teach-text", "teach-source", "teach-send"]
    tab.press(Keys.ENTER)
    tab.shows("#facts", "Taught by keys alone.")
    assert tab.focused().get_attribute("id") == "teach-text"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_small_and_large_windows(tab, url, width):
    tab.open(url, width, 740)
    for name in ("memory", "live", "chat"):
        if width < 1040:
            tab.one(f"#to-{name}").click()
        assert tab.one(f"section.{name}").is_displayed()
        assert tab.run("return document.documentElement.scrollWidth") <= width
        small = tab.run(
            "return [...document.querySelectorAll('button, input, textarea, summary')].filter(e => e.checkVisibility()"
            " && Math.min(e.getBoundingClientRect().width, e.getBoundingClientRect().height) < 24)"
            ".map(e => e.id + e.textContent + e.type + e.getBoundingClientRect().height)"
        )
        assert [what for what in small if "range" not in what] == [], "WCAG 2.5.8: targets of 24 pixels"
    tab.ask("Hello")
    assert tab.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.skipif(not AXE, reason="NEXUS_AXE names no axe.min.js: npm pack axe-core, and unpack it")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(driver, path, certified, dark, width):
    with on_a_socket(path, certified[0], gate=True) as url:
        tab = Tab(driver).open(url, width, 740, dark)
        tab.shows("#connection-text", "ready")
        for view in ("memory", "live", "chat"):
            tab.run(f"document.getElementById('to-{view}').click()")
            if view == "memory":
                teach(tab, "The shop opens at nine.", "the door")
            if view == "chat":
                tab.ask(PROVED)
                tab.ask("When does the shop open?")
                tab.ask("Who is the mayor?")
            tab.run(Path(AXE).read_text(encoding="utf-8"))
            found = tab.driver.execute_async_script(
                "axe.run(document, {resultTypes: ['violations']}).then(r => arguments[0](r.violations.map("
                "v => [v.id, v.help, v.nodes.map(n => n.html.slice(0, 200))])))"
            )
            assert found == [], view


def test_a_key_is_asked_for_and_kept_nowhere(driver, path):
    with on_a_socket(path, keys=[KEY]) as url:
        tab = Tab(driver).open(url)
        assert tab.one("#key-dialog").is_displayed()
        tab.one("#key").send_keys("a wrong key", "\n")
        assert tab.one("#key-wrong").text == "The last key was not let in."
        tab.one("#key").send_keys(KEY, "\n")
        tab.shows("#connection-text", "ready")
        teach(tab, "Known to the key's owner only.")
        kept = tab.run("return [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie]")
        assert kept == ["{}", "{}", ""]
        tab.open(url)
        assert tab.one("#key-dialog").is_displayed()
        assert "Known to" not in tab.text("main")


def test_a_server_without_memory_offers_none(driver):
    with on_a_socket(None) as url:
        tab = Tab(driver).open(url)
        tab.shows("#connection-text", "ready")
        assert "--raw" in tab.one("#no-memory").text
        tab.ask("Hello")
        assert not [e for e in tab.all("#teach, #history, .judge") if e.is_displayed()]
        assert tab.complaints() == []


def test_a_server_that_is_gone_is_told(driver, path):
    with on_a_socket(path) as url:
        tab = Tab(driver).open(url)
        tab.shows("#connection-text", "ready")
    answer = tab.ask("Are you there?")
    assert "cannot be reached" in answer.text
    assert tab.one("#question").get_attribute("value") == "Are you there?"
