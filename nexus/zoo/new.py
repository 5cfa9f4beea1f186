"""Laying out a new system: code, proof, test and page, with blanks that fail the tests until they are filled in.

The one idea: a blank says `FILL IN`, and no file of the project may say so for long (`tests/contract/test_zoo.py`).
"""

from __future__ import annotations

from pathlib import Path

from nexus.catalog import PACKAGE, Row
from nexus.core.files import atomic_write_text

ROOT = PACKAGE.parent
TEMPLATES = Path(__file__).parent / "templates"
PAGE_TEMPLATE = "docs/page_template.md"
BLANK = "FILL IN"


def lay_out(row: Row) -> list[tuple[Path, bool]]:
    """Write what the row still lacks. Each file, and whether it was written; what is there already stays as it is.

    Raises:
        ValueError: this is not a checkout of the project, so there is nowhere to put a page and a test.
    """
    if not (ROOT / PAGE_TEMPLATE).is_file():
        raise ValueError(f"{row.name}: {ROOT} is no checkout of Nexus (it lacks {PAGE_TEMPLATE}); clone the repository")
    texts = {path: _filled(text, row) for path, text in _skeletons(row).items()}
    absent = [path for path in texts if not path.exists()]
    for path in absent:
        atomic_write_text(path, texts[path])
    return [(path, path in absent) for path in texts]


def own_test(row: Row) -> Path:
    """Where a system's own test is: the tests mirror the packages."""
    *rooms, stem = row.module.split(".")[1:]
    return ROOT.joinpath("tests", *rooms, f"test_{stem}.py")


def _skeletons(row: Row) -> dict[Path, str]:
    code = "model" if row.module.startswith("nexus.models.") else "layer"
    page = (ROOT / PAGE_TEMPLATE).read_text(encoding="utf-8").partition("\n---\n\n")[2]
    return {
        row.file: _template(code),
        row.proof_file: _template("proof"),
        own_test(row): _template("test"),
        ROOT / row.page: page,
    }


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.py.txt").read_text(encoding="utf-8")


def _filled(text: str, row: Row) -> str:
    paper = f"arXiv:{row.paper}" if row.paper[:4].isdigit() else row.paper
    words = {"name": row.name, "title": row.title, "paper": paper, "module": row.module, "oracle": row.oracle}
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text
