"""The pages that follow from the catalogue: DOCUMENTATION_INDEX.md, the sections' READMEs, the cards.

    python -m nexus.zoo.index          write what is out of date, and say so

A section's README is written by hand but for the table of its systems, which stands between two comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nexus.catalog import PACKAGE, PROOFS, ROWS, SECTIONS, Row, Section, rows
from nexus.core.files import atomic_write_text
from nexus.zoo import card, certificate

ROOT = PACKAGE.parent
INDEX = "DOCUMENTATION_INDEX.md"
BEGIN, END = "<!-- systems -->", "<!-- /systems -->"
_TABLE = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}\n", re.DOTALL)
INTRODUCTION = """# Documentation index

Generated from `nexus/catalog.py` by `python -m nexus.zoo.index`; a test holds it to be current.

Every system of the zoo has a row below. **proved** means: the code is there, and a certificate for exactly this code
says how close it comes to an implementation that this project did not write, and that planted mistakes were noticed.
`nexus zoo verify NAME` makes the certificate again. **planned** means that this is still to be done for it. A page has
ten parts, from the motivation to the references; all of its Python runs in the tests.

More on that: [the zoo](docs/zoo.md). Beside the zoo: [README](README.md),
[getting started](docs/tutorials/getting-started.md), [architecture](docs/architecture/overview.md),
[questions and faults](docs/faq.md), [glossary](docs/glossary.md).
"""


def table(systems: list[Row], folder: str) -> str:
    """A table of systems, with links from a page in ``folder`` (relative to the root, "" for the root itself)."""
    head = ["| System | Paper | Held against | Proof | Status |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(_line(row, folder) for row in systems), ""])


def index() -> str:
    """The whole of DOCUMENTATION_INDEX.md."""
    letters = ", ".join(f"**{letter}** {meaning}" for letter, meaning in PROOFS.items())
    total = f"{len(rows(status='proved'))} of {len(ROWS)} systems are proved. Proofs: {letters}."
    parts = [INTRODUCTION, total, ""]
    for section in SECTIONS:
        systems = rows(section.number)
        proved = sum(row.status == "proved" for row in systems)
        link = f"[docs/{section.folder}](docs/{section.folder}/README.md)"
        parts += [f"## {section.number}. {section.title}", "", f"{link}: {proved} of {len(systems)} proved.", ""]
        parts.append(table(systems, ""))
    return "\n".join(parts)


def readme(section: Section) -> str:
    """A section's README with its table brought up to date; a new one where there is none."""
    path = ROOT / "docs" / section.folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {section.number}. {section.title}\n"
    systems = rows(section.number)
    count = f"{sum(row.status == 'proved' for row in systems)} of {len(systems)} are proved; the others are planned."
    letters = "What the letters mean stands in the [index](../../DOCUMENTATION_INDEX.md)."
    made = f"{BEGIN}\n\n{count} {letters}\n\n{table(systems, f'docs/{section.folder}')}\n{END}\n"
    if _TABLE.search(text):
        return _TABLE.sub(lambda _: made, text, count=1)
    return f"{text.rstrip()}\n\n## Systems\n\n{made}"


def pages() -> Iterator[tuple[Path, str]]:
    """Every generated file but the cards, with the text that it has to have."""
    yield ROOT / INDEX, index()
    for section in SECTIONS:
        yield ROOT / "docs" / section.folder / "README.md", readme(section)


def refresh() -> list[str]:
    """Write what is out of date; the paths of what was written. Where Nexus is only installed there are no pages."""
    if not (ROOT / "docs").is_dir():
        return []
    written = [row.page for row in ROWS if card.refresh(row)]
    for path, text in pages():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            atomic_write_text(path, text)
            written.append(path.relative_to(ROOT).as_posix())
    return written


def _line(row: Row, folder: str) -> str:
    there = (ROOT / row.page).is_file()
    name = f"[{row.title}]({row.page.removeprefix(folder).removeprefix('/')})" if there else row.title
    status = row.status
    if status == "proved" and (record := certificate.read(row)):
        return f"| {name} | {card.paper(row)} | {row.oracle} | {row.proof} | **proved**: {card.largest(record)} |"
    return f"| {name} | {card.paper(row)} | {row.oracle} | {row.proof} | {status} |"


if __name__ == "__main__":
    for page in refresh() or ["nothing: all pages are current"]:
        print(f"wrote {page}")
