"""The documentation site: pages are made ready as they should be, and the real thing is built without a warning."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "build_site.py"
_SPEC = importlib.util.spec_from_file_location("build_site", SCRIPT)
build_site = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(build_site)


@pytest.fixture
def project(tmp_path):
    """A project of pages that link to each other, to code, to a picture and to nothing."""
    for name in (*build_site.TOP, "docs/faq.md", "docs/a/page.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {path.stem}\n", encoding="utf-8")
    (tmp_path / "nexus").mkdir()
    (tmp_path / "nexus" / "part.py").write_text('"""A part."""\n', encoding="utf-8")
    (tmp_path / "docs" / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def _staged(project: Path, text: str) -> str:
    (project / "docs" / "a" / "page.md").write_text(text, encoding="utf-8")
    build_site.stage(project, project / "out")
    return (project / "out" / "docs" / "a" / "page.md").read_text(encoding="utf-8")


def test_links_between_pages_stay_and_code_becomes_a_page(project):
    text = "[faq](../faq.md#x) [`part`](../../nexus/part.py) ![p](../picture.png) [out](https://example.org/x.py)"
    assert _staged(project, text) == text.replace("part.py", "part.py.md")
    assert '"""A part."""' in (project / "out" / "nexus" / "part.py.md").read_text(encoding="utf-8")
    assert (project / "out" / "docs" / "picture.png").is_file()


def test_code_is_left_alone(project):
    text = "`$a$ [x](../../nexus/part.py)`\n\n```text\n$$a$$ [x](../../nexus/part.py)\n```\n"
    assert _staged(project, text) == text


@pytest.mark.parametrize(
    ("text", "alone", "within"),
    [
        ("Sum:\n\n$$a + b$$\n\nEnd", ["a + b"], []),
        ("$$\na\n+ b\n$$", ["\na\n+ b\n"], []),
        ("$$a$$, $b_1$ (eq. 3).", [], ["a", "b_1"]),
        ("It costs $5, or $6 elsewhere; a $ b $ c.", [], []),
    ],
)
def test_formulas_are_found(text, alone, within):
    assert [match["tex"] for match in build_site.ALONE.finditer(text)] == alone
    rest = build_site.ALONE.sub("", text)
    assert [match["tex"] for match in build_site.WITHIN.finditer(rest)] == within


def test_prices_are_no_formulas(project):
    text = "It costs $5, or $6 elsewhere.\n"
    assert _staged(project, text) == text


def test_a_drawing_that_needs_a_script_from_elsewhere_is_refused(project):
    with pytest.raises(ValueError, match=r"page\.md: Mermaid"):
        _staged(project, "```mermaid\ngraph TD\n```\n")


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://x.org/a.js">',
        '<link rel="stylesheet" href="http://x.org/a.css">',
        "<img src=https://x.org/a.png>",
    ],
)
def test_what_would_be_loaded_from_elsewhere_is_seen(tmp_path, text):
    page = tmp_path / "page.html"
    page.write_text(f'<a href="https://x.org">a link is no load</a><script src="a.js"></script>{text}')
    assert len(build_site.outside(tmp_path)) == 1


def test_the_menu_has_every_page_once_and_only_pages_that_exist():
    menu = tomllib.loads(build_site.configuration("source", "site"))["project"]["nav"]

    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for item in (entry.values() if isinstance(entry, dict) else entry) for page in pages(item)]

    listed = pages(menu)
    assert len(set(listed)) == len(listed)
    assert all((ROOT / page).is_file() for page in listed)
    docs = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert docs <= set(listed)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_complete(tmp_path):
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    pip = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, *extra], check=True)
    done = subprocess.run([python, SCRIPT, "--out", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    pages = [page.relative_to(ROOT) for page in (ROOT / "docs").rglob("*.md")]
    lacking = [page for page in pages if not (site / _html(page)).is_file()]
    assert lacking == []
    norm = (site / "docs" / "06_architecture_components" / "layer_norm.html").read_text(encoding="utf-8")
    assert "<math" in norm
    assert "nexus/layers/components/layer_norm.py.html" in norm
    assert "LayerNorm" in (site / "search.json").read_text(encoding="utf-8")


def _html(page: Path) -> Path:
    return page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html")


@pytest.mark.slow
def test_a_broken_link_stops_the_build(tmp_path, project):
    pytest.importorskip("zensical", reason="the extra docs is not installed here; the test above installs it")
    (project / "docs" / "faq.md").write_text("[nowhere](nothing.md)\n")
    with pytest.raises(ValueError, match="not built without warnings"):
        build_site.build(tmp_path / "out", project)
