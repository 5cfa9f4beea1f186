#!/usr/bin/env python
"""Build the documentation site from the project's own Markdown, without a warning or nothing at all.

    pip install -c constraints.txt -e '.[docs]'     once
    python scripts/build_site.py                    into build/site; open it with --serve

The one idea: pages keep the places they have in the repository, so that every link works there as it does here. Code
that a page links to becomes a page, formulas become MathML, which browsers draw themselves, and nothing is loaded from
anywhere else.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nexus.catalog import SECTIONS, Section, rows  # noqa: E402 - of this checkout, installed or not

INSTALL = "pip install -c constraints.txt -e '.[docs]' brings it"
TOP = ("README.md", "DOCUMENTATION_INDEX.md", "CONTRIBUTING.md", "CHANGELOG.md", "dev/LOG.md")
GUIDE = {
    "Getting started": "docs/tutorials/getting-started.md",
    "Living with it": "docs/tutorials/living.md",
    "Architecture": "docs/architecture/overview.md",
    "Questions and faults": "docs/faq.md",
    "Glossary": "docs/glossary.md",
}
ZOO = "docs/zoo.md"
WORK = {
    "Contributing": "CONTRIBUTING.md",
    "A page of the zoo": "docs/page_template.md",
    "Diary": "dev/LOG.md",
    "Changes": "CHANGELOG.md",
}
LANGUAGES = {".py": "python", ".sh": "bash", ".toml": "toml", ".json": "json"}
STYLE = """/* room for lines of 120 letters, and no empty heads over the tables that need none */
.md-grid { max-width: 82rem; }
.md-typeset .highlight code { font-size: 0.9em; }
.md-typeset thead:not(:has(th:not(:empty))) { display: none; }
"""
CODE = re.compile(r"^ *```.*?^ *```[^\n]*$|``.+?``|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<head>\[[^\]]*\]\()(?P<target>(?!\w+:|#)[^)#\s]+)")
ALONE = re.compile(r"^\$\$(?P<tex>[^$]+)\$\$$", re.MULTILINE)
WITHIN = re.compile(r"(?<![\\$\w])(?P<mark>\$\$?)(?P<tex>[^\s$](?:[^$\n]*[^\s$\\])?)(?P=mark)(?![\w$])")
OUTSIDE = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\ssrc=\"?https?:|<link\b[^>]*href=\"?https?:|@import|url\(\"?https?:"
)
MARKDOWN_MARKS = str.maketrans({mark: f"&#{ord(mark)};" for mark in "*_`[]\\"})


def main() -> None:
    """Parse, build, serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder for `site` (default: build)")
    parser.add_argument("--serve", action="store_true", help="show it on a local port afterwards")
    options = parser.parse_args()
    try:
        site = build(options.out)
    except (ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    print(f"built {len(list(site.rglob('*.html')))} pages in {site}")
    if options.serve:
        serve(site)


def build(out: Path, root: Path = ROOT) -> Path:
    """Build the site of the project in ``root`` below ``out`` and return its folder.

    Raises:
        ValueError: a page needs something from outside, holds a formula that cannot be read, or the builder warns.
        ImportError: the extra `docs` is not installed.
    """
    source, site = out / "site-source", out / "site"
    for folder in (source, site):
        shutil.rmtree(folder, ignore_errors=True)
    stage(root, source)
    _write(source / "style.css", STYLE)
    config = out / "zensical.toml"
    config.write_text(configuration(source.name, site.name), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(config)]
    done = subprocess.run(command, cwd=out, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if "No module named zensical" in done.stdout:
        raise ImportError(f"the site needs Zensical; {INSTALL}")
    if done.returncode or "No issues found" not in done.stdout:
        raise ValueError(f"the site was not built without warnings:\n{done.stdout}")
    if faults := outside(site):
        raise ValueError(f"the site would load from elsewhere: {'; '.join(faults)}")
    return site


# ---- pages -----------------------------------------------------------------------------------------------------------


def stage(root: Path, source: Path) -> None:
    """Copy the pages to ``source``, made ready for the builder, and with them all that they link to."""
    pages = [root / name for name in TOP] + sorted((root / "docs").rglob("*.md"))
    names = {page.relative_to(root).as_posix() for page in pages}
    for page in pages:
        text, linked = _made_ready(page, root, names)
        _write(source / page.relative_to(root), text)
        for path in linked:
            _stage_linked(path, root, source)


def _made_ready(page: Path, root: Path, pages: set[str]) -> tuple[str, set[Path]]:
    """A page's text for the builder, and the files that it links to and that are no pages."""
    text = page.read_text(encoding="utf-8")
    if re.search(r"^ *```mermaid", text, re.MULTILINE):
        raise ValueError(f"{page.name}: Mermaid is drawn by a script from elsewhere; draw it in plain text")
    linked: set[Path] = set()
    relink = functools.partial(_relink, page=page, root=root, pages=pages, linked=linked)
    return outside_code(text, lambda prose: LINK.sub(relink, formulas(prose, page.name))), linked


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change a page's text, but not its code, for which there are place holders meanwhile."""
    codes: list[str] = []

    def hide(match: re.Match[str]) -> str:
        codes.append(match[0])
        return f"\0{len(codes) - 1}\0"

    return re.sub("\0(\\d+)\0", lambda match: codes[int(match[1])], change(CODE.sub(hide, text)))


def formulas(text: str, name: str) -> str:
    """Formulas between dollar signs as MathML."""

    def mathml(match: re.Match[str], display: str) -> str:
        try:
            from latex2mathml.converter import convert
        except ImportError:
            raise ImportError(f"the site needs latex2mathml; {INSTALL}") from None
        try:
            made = convert(match["tex"], display=display)
        except Exception as error:  # the package has a dozen kinds, without a common one
            raise ValueError(f"{name}: cannot read the formula {match['tex']!r} ({type(error).__name__})") from error
        return re.sub(r">([^<]+)<", lambda m: f">{m[1].translate(MARKDOWN_MARKS)}<", made)

    text = ALONE.sub(lambda match: f"\n<div>{mathml(match, 'block')}</div>\n", text)
    return WITHIN.sub(lambda match: mathml(match, "inline"), text)


def _relink(match: re.Match[str], page: Path, root: Path, pages: set[str], linked: set[Path]) -> str:
    """A link to code leads to the page that shows it; all other links stay."""
    target = (page.parent / match["target"]).resolve()
    if not target.is_file() or target.relative_to(root).as_posix() in pages:
        return match[0]
    linked.add(target)
    return f"{match[0]}.md" if target.suffix in LANGUAGES or not target.suffix else match[0]


def _stage_linked(path: Path, root: Path, source: Path) -> None:
    name = path.relative_to(root).as_posix()
    if path.suffix and path.suffix not in LANGUAGES:  # a picture
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, source / name)
        return
    code = path.read_text(encoding="utf-8").rstrip()
    fence = f"````{LANGUAGES.get(path.suffix, 'text')}\n{code}\n````\n"
    _write(source / f"{name}.md", f"---\nsearch:\n  exclude: true\n---\n# {name}\n\n{fence}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# ---- the builder's settings ------------------------------------------------------------------------------------------


def configuration(source: str, site: str) -> str:
    """The builder's configuration: JSON's strings, lists and true are TOML's as well."""
    features = ["navigation.tabs", "navigation.indexes", "navigation.top", "toc.follow", "search.highlight",
                "content.code.copy"]  # fmt: skip
    palette = [
        '[[project.theme.palette]]\nscheme = "default"\ntoggle = { icon = "lucide/sun", name = "Dark" }\n',
        '[[project.theme.palette]]\nscheme = "slate"\ntoggle = { icon = "lucide/moon", name = "Light" }\n',
    ]
    lines = [
        "[project]",
        'site_name = "Nexus"',
        f"docs_dir = {json.dumps(source)}",
        f"site_dir = {json.dumps(site)}",
        "use_directory_urls = false",  # the links of a page work when it is opened as a file, too
        'extra_css = ["style.css"]',
        f"nav = {_toml(navigation())}",
        "[project.theme]",
        "font = false",  # fonts would come from elsewhere
        f"features = {json.dumps(features)}",
        *palette,
    ]
    return "\n".join(lines)


def navigation() -> list[dict[str, object]]:
    """The menu: what there is to read, and the zoo by its sections."""
    zoo = [{f"{section.number}. {section.title}": list(_pages(section))} for section in SECTIONS]
    return [
        {"Nexus": "README.md"},
        {"Guide": [*({title: page} for title, page in GUIDE.items()), *_other_pages()]},
        {"Zoo": [{"Index": "DOCUMENTATION_INDEX.md"}, {"What proved means": ZOO}, *zoo]},
        {"Working on it": [{title: page} for title, page in WORK.items()]},
    ]


def _pages(section: Section) -> Iterator[object]:
    yield f"docs/{section.folder}/README.md"
    for row in rows(section.number):
        if (ROOT / row.page).is_file():
            yield {row.title: row.page}


def _other_pages() -> Iterator[str]:
    """Pages that have no place of their own in the menu; they go by their titles."""
    placed = {ZOO, *GUIDE.values(), *WORK.values()}
    sections = tuple(f"docs/{section.folder}/" for section in SECTIONS)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = page.relative_to(ROOT).as_posix()
        if name not in placed and not name.startswith(sections):
            yield name


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


# ---- the result ------------------------------------------------------------------------------------------------------


def outside(site: Path) -> list[str]:
    """What a browser would load from elsewhere to show the site."""
    files = [path for suffix in ("html", "css") for path in sorted(site.rglob(f"*.{suffix}"))]
    return [
        f"{path.name}: {match[0]}" for path in files for match in OUTSIDE.finditer(path.read_text(encoding="utf-8"))
    ]


def serve(site: Path) -> None:
    """Show the site on a free local port until Ctrl+C; its search needs a server."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/  (Ctrl+C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
