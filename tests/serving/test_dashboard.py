"""The dashboard's files: nothing from outside, no markup made of data, readable colours, and open without a key."""

import re
from html.parser import HTMLParser
from itertools import pairwise, product

import pytest
from fastapi.testclient import TestClient

from nexus.serving import dashboard
from nexus.serving.app import make_app
from nexus.serving.engine import Engine
from tests.serving.small import release_of

KEY = "k" * 32
MARKUP = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "setHTMLUnsafe")
VOID = ("meta", "link", "img", "input")


@pytest.fixture(scope="module")
def client():
    with TestClient(make_app(Engine(release_of()), keys=[KEY]), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture(scope="module")
def sent(client):
    """The text of each file, by its name, as it is sent."""
    return {name: client.get(path).text for name, path in zip(dashboard.FILES, dashboard.PATHS, strict=True)}


class Page(HTMLParser):
    """Elements of the page: (tag, attributes, text within)."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self._open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for element in self._open:
            element[2] += data

    def all(self, *tags):
        return [(attributes, text.strip()) for tag, attributes, text in self.found if tag in tags]


def test_the_page_is_open_and_what_it_shows_is_not(client):
    for path in dashboard.PATHS:
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["Content-Security-Policy"] == dashboard.POLICY
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/").headers["Content-Type"] == "text/html; charset=utf-8"
    for path in ("/v1/models", "/v1/nexus/status", "/v1/nexus/facts", "/page/", "/page/nothing.js"):
        assert client.get(path).status_code == 401
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_the_policy_lets_nothing_in_but_our_own_files():
    rules = dict(rule.split(" ", 1) for rule in dashboard.POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    allowed = {value for name, value in rules.items() if name.endswith("-src")}
    assert allowed == {"'none'", "'self'"}
    assert (rules["require-trusted-types-for"], rules["trusted-types"]) == ("'script'", "'none'")
    assert rules["frame-ancestors"] == rules["form-action"] == rules["base-uri"] == "'none'"


def test_every_file_of_the_page_is_served_and_used(sent):
    from importlib.resources import files

    assert {path.name for path in (files("nexus.serving") / "page").iterdir()} == set(dashboard.FILES)
    everything = "".join(sent.values())
    assert all(f"/{name}" in everything for name in dashboard.FILES[1:])
    for name, text in sent.items():
        for target in re.findall(r'from "\./(.+?)"', text):
            assert target in sent, f"{name} imports {target}"


def test_nothing_comes_from_outside_and_no_text_becomes_markup(sent):
    for name, text in sent.items():
        text = text.replace("http://www.w3.org/2000/svg", "")  # a namespace, which nobody loads
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), name
        assert not re.search(r"@import|url\(", text) or not name.endswith(".css")
        assert not [word for word in MARKUP if word in text], name
    page = Page(sent["index.html"])
    targets = [a[key] for _, a, _ in page.found for key in ("src", "href", "action") if key in a]
    assert all(target.startswith(("/page/", "#")) for target in targets)
    assert not any(key.startswith("on") or key == "style" for _, a, _ in page.found for key in a)
    assert [text for _, text in page.all("script", "style")] == [""]


def test_every_control_has_a_name_and_every_reference_a_target(sent):
    page = Page(sent["index.html"])
    ids = [attributes["id"] for _, attributes, _ in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes["for"] for attributes, text in page.all("label") if text}
    for attributes, _ in page.all("input", "textarea"):
        assert attributes["id"] in labelled
    assert all(text or attributes.get("aria-label") for attributes, text in page.all("button", "summary", "h1", "h2"))
    references = ("for", "aria-labelledby", "aria-describedby")
    assert {a[key] for _, a, _ in page.found for key in references if key in a} <= set(ids)
    assert page.all("html")[0][0]["lang"] == "en"
    assert page.all("title")[0][1]
    assert all("alt" in attributes for attributes, _ in page.all("img"))
    levels = [int(tag[1]) for tag, _, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    used = set(re.findall(r'\$\("([\w-]+)"\)', "".join(sent.values())))
    assert used <= set(ids), "the scripts use what the page has"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(sent, theme):
    colours = themes(sent["style.css"])[theme]
    texts = ("text", "quiet", "accent", "bad")
    pairs = [
        *product(texts, ("surface", "raised")),
        *(("text", ground) for ground in ("ground", "tint", "mark", "line")),
        *((name, f"{name}-tint") for name in ("good", "known", "warn", "bad")),
        ("on-accent", "accent"), ("accent", "tint"), ("warn", "surface"), ("warn", "raised"), ("surface", "text"),
    ]  # fmt: skip
    poor = {pair: round(contrast(*(colours[name] for name in pair)), 2) for pair in pairs}
    assert {pair: value for pair, value in poor.items() if value < 4.5} == {}
    frames = {name: contrast(colours["edge"], colours[name]) for name in ("surface", "raised")}
    assert min(frames.values()) >= 3, "WCAG 1.4.11: the frame of a field"


def themes(css):
    """The colours of both themes; the dark one stands second."""
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in css.split("@media")[:2])
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}


def contrast(one, other):
    """WCAG 2.2, contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
