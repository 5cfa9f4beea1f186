"""Every python block of the README and of docs/ runs, top to bottom, one namespace for each page."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<tag>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?!https?://|#|mailto:)([^)#\s]+)")


def blocks(text: str) -> list[tuple[int, str]]:
    """Line number and code of each block tagged `python`."""
    found = []
    for match in FENCE.finditer(text):
        if match["tag"].strip() == "python":
            body = re.sub(rf"^{match['indent']}", "", match["body"], flags=re.MULTILINE)
            found.append((text.count("\n", 0, match.start()) + 2, body))
    return found


def run_page(text: str, name: str) -> None:
    """Run a page's blocks. An error's traceback shows the page and the line in it."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    for line, body in blocks(text):
        exec(compile("\n" * (line - 1) + body, name, "exec"), namespace)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists() and blocks(p.read_text(encoding="utf-8"))], ids=_name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what an example writes stays out of the project
    run_page(page.read_text(encoding="utf-8"), _name(page))


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=_name)
def test_links_within_the_project_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = [target for target in LINK.findall(text) if not (page.parent / target).exists()]
    assert not broken, f"{_name(page)} links to {broken}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=_name)
def test_every_fence_is_tagged_and_closed(page):
    text = page.read_text(encoding="utf-8")
    assert all(match["tag"].strip() for match in FENCE.finditer(text)), "a block without a tag: is it python or text?"
    assert "```" not in FENCE.sub("", text), "a block is not closed"


def test_a_page_shares_one_namespace_and_an_error_names_page_and_line():
    page = "# Page\n\n```python\nx = 2\n```\n\n```text\nnot python\n```\n\n```python\nassert x == 3\n```\n"
    assert [line for line, _ in blocks(page)] == [4, 12]
    with pytest.raises(AssertionError) as caught:
        run_page(page, "page.md")
    last = caught.traceback[-1]
    assert (str(last.path).rsplit("/", 1)[-1], last.lineno + 1) == ("page.md", 12)


def test_the_changelog_knows_the_version():
    import nexus

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]  # the one place it is written is nexus/__init__.py
    assert f"## [{nexus.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
