"""The card on top of a system's page: generated from its row and its certificate, never typed.

The card stands between two comments, so that the rest of the page stays hand-written. It is made without torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

from nexus.catalog import PACKAGE, PROOFS, Row
from nexus.core.files import atomic_write_text
from nexus.zoo import certificate
from nexus.zoo.arithmetic import NUMBER_BYTES, sizes_of, values
from nexus.zoo.certificate import Bench, Certificate

BEGIN, END = "<!-- card -->", "<!-- /card -->"
_CARD = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}\n", re.DOTALL)
_ARXIV = re.compile(r"\d{4}\.\d{4,5}")
_TITLE = re.compile(r"\A# .*\n")
WIDTH = 110  # of a line of formulas
_UNITS = {
    "parameters": "parameters",
    "flops": "FLOPs",
    "activations": "bytes kept for backward",
    "cache": "bytes cache",
}


def card(row: Row) -> str:
    """The card as Markdown, with the two comments around it; of a system without a certificate, what is planned."""
    cells = [(name, text.replace("|", "\\|")) for name, text in _cells(row)]
    lines = ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in cells), "", *_formulas(row)]
    return "\n".join([BEGIN, "", *lines, END, ""])


def at_sizes(row: Row, text: str) -> str:
    """What the formulas give at sizes like ``d_model=512,T=1024``; those left out are the first that were checked.

    Raises:
        ValueError: the system has no formulas, or no size of such a name.
    """
    record = certificate.read(row)
    if record is None or not record.formulas:
        raise ValueError(f"{row.name}: has no formulas; `nexus zoo list` says what is proved, the card what is known")
    known, asked = {"E": NUMBER_BYTES, **sizes_of(record.sizes[0])}, sizes_of(text)
    if strange := asked.keys() - known.keys():
        raise ValueError(f"{', '.join(sorted(strange))}: no size of {row.name}; it has {', '.join(known)}")
    sizes = known | asked
    lines = [", ".join(f"{name}={size}" for name, size in sizes.items())]
    lines += [
        f"  {_UNITS.get(name, name):26} {value:>22,.0f}" for name, value in values(record.formulas, sizes).items()
    ]
    return "\n".join([*lines, *([f"holds for: {record.note}"] if record.note else []), ""])


def with_card(text: str, row: Row) -> str:
    """A page with its card brought up to date; a page without one gets it below its title.

    Raises:
        ValueError: the page has no title.
    """
    if _CARD.search(text):
        return _CARD.sub(lambda _: card(row), text, count=1)
    if not (title := _TITLE.match(text)):
        raise ValueError(f"{row.page}: has to begin with its title, '# {row.title}'")
    return f"{title[0]}\n{card(row)}{text[title.end() :]}"


def refresh(row: Row) -> bool:
    """Bring the card of a system's page up to date; whether there was something to do."""
    page = PACKAGE.parent / row.page
    if not page.is_file():
        return False
    text = page.read_text(encoding="utf-8")
    fresh = with_card(text, row)
    if fresh != text:
        atomic_write_text(page, fresh)
    return fresh != text


def paper(row: Row) -> str:
    """The paper as a link if it is on arXiv."""
    return f"[arXiv:{row.paper}](https://arxiv.org/abs/{row.paper})" if _ARXIV.fullmatch(row.paper) else row.paper


def largest(record: Certificate) -> str:
    """The largest differences in words."""
    kinds = {"outputs": record.outputs, "gradients": record.gradients}
    return ", ".join(f"{kind} {value:.1e}" for kind, value in kinds.items() if value is not None)


def _cells(row: Row) -> Iterator[tuple[str, str]]:
    yield "Paper", paper(row)
    yield "Code", _link(row, "/".join(row.module.split(".")) + ".py")
    yield "Proof", "; ".join(PROOFS[letter] for letter in row.proof)
    record = certificate.read(row)
    if record is None or row.status != "proved":
        yield "Held against", row.oracle
        yield "Status", "planned: no certificate for the present code and proof"
        return
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    frozen = f"; answers frozen in {', '.join(record.golden)}" if record.golden else ""
    yield "Held against", f"{row.oracle} ({versions}{frozen})"
    yield "Largest difference", _difference(record)
    count = len(record.mutations)
    yield "Planted mistakes noticed", f"{count} of {count}: {', '.join(record.mutations)}"
    yield "Cost of the example", _cost(record)
    if record.bench:
        yield "Forward and backward", _speed(record.bench)
    machine = f"{record.machine['cpu']}, Python {record.machine['python']}"
    proof = row.proof_file.relative_to(PACKAGE.parent).as_posix()
    yield "Certificate", f"{record.date}, {machine}; again: `{record.command}`, which runs {_link(row, proof)}"


def _difference(record: Certificate) -> str:
    runs = f"{record.comparisons} comparisons over {len(record.seeds)} seeds, {record.dtype}"
    return f"{largest(record)}; allowed {record.tolerance:g} ({runs})"


def _cost(record: Certificate) -> str:
    parts = []
    for name, unit in _UNITS.items():
        if name in record.cost:
            parts.append(f"{record.cost[name]:,.0f} {unit}")
    parts.append(f"{_time(record.cost['seconds'])} forward and backward")
    return ", ".join(parts)


def _formulas(row: Row) -> Iterator[str]:
    """What it costs at any sizes, parts first; nothing where no formulas are recorded."""
    record = certificate.read(row)
    if record is None or row.status != "proved" or not record.formulas:
        return
    names = sizes_of(record.sizes[0])
    asked = ",".join(f"{name}=1024" for name in ("T", "d_model") if name in names) or f"{next(iter(names))}=8"
    yield f"What it costs at any sizes, for instance `nexus zoo card {row.name} --at {asked}`:"
    yield from ("", "```text")
    width = max(len(_UNITS.get(name, name)) for name in record.formulas)
    for name, text in record.formulas.items():
        start = f"{_UNITS.get(name, name):{width}} = "
        yield from wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False)
    yield from ("```", "")
    note = f"Holds for: {record.note}. " if record.note else ""
    yield f"{note}Counted the same at {' and at '.join(f'`{sizes}`' for sizes in record.sizes)}."
    yield ""


def _speed(bench: Bench) -> str:
    (_, ours), *peers = bench.seconds.items()
    beside = "".join(f"; {name} {_time(theirs)}, {theirs / ours:.2f} of ours" for name, theirs in peers)
    return f"{_time(ours)} on {bench.inputs}{beside} ({bench.date}, {bench.cpu})"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def _link(row: Row, path: str) -> str:
    return f"[{path}]({'../' * row.page.count('/')}{path})"
