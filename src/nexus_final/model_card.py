"""`README.md` of a release, made from the figures of `report.json` and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nexus.core.files import atomic_write_text
from nexus_final.report_tables import Table, tables, window_name

FIGURES = (
    "verdicts",
    "perplexity",
    "generation",
    "context",
    "router",
    "training",
    "extraction",
    "alignment",
    "profile",
)


def write_model_card(report: Mapping[str, Any], folder: Path, name: str = "") -> Path:
    """Write ``README.md`` into the release ``folder`` and return its path.

    Args:
        report: the content of `report.json`.
        name: of the release where ``folder`` is only its workplace; the folder's own if empty.
    """
    path = Path(folder) / "README.md"
    atomic_write_text(path, "\n".join(_card(report, name or path.parent.name)).rstrip() + "\n")
    return path


def _card(report: Mapping[str, Any], name: str) -> Iterator[str]:
    teacher, release = report.get("teacher", {}), report.get("release", {})
    yield from _header(teacher)
    yield f"# {name}\n"
    yield from _introduction(teacher, release)
    yield from _loading(name, bool(release.get("hf")))
    yield "## Figures\n"
    run = report.get("run", {})
    yield f"Measured by the run that made this release{_where(run)}. The same figures are in `results/report.json`.\n"
    for section in FIGURES:
        for table in tables(report, section):
            yield from _table(table)
    yield "## Teacher, texts and licences\n"
    for section in ("teacher", "data"):
        for table in tables(report, section):
            yield from _table(table)
    yield from _limits(report)
    for section in ("release", "run"):
        for table in tables(report, section):
            yield from _table(table)


def _header(teacher: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    if teacher.get("license"):
        yield f"license: {str(teacher['license']).lower()}"
    if teacher.get("id"):
        yield f"base_model: {teacher['id']}"
    yield "pipeline_tag: text-generation\ntags: [nexus, mamba2, distillation]\n---\n"


def _introduction(teacher: Mapping[str, Any], release: Mapping[str, Any]) -> Iterator[str]:
    of = f" of {teacher['id']}" if teacher.get("id") else ""
    text = f"A student{of}: most attention layers were turned into state-space (Mamba-2) layers"
    if release.get("window") is not None:
        text += f", released with {window_name(release['window'])}"
    yield text + "."
    if release.get("why"):
        yield f"Why this one: {str(release['why']).rstrip('.')}."
    yield ""


def _loading(name: str, hf: bool) -> Iterator[str]:
    yield f"""## Use

```text
nexus chat         # says what it can prove, what you taught it, and what `nexus certify` covers; refuses the rest
nexus chat --raw   # the model alone
```

```python
from nexus.inference.generation import generate
from nexus.inference.release import load_release

release = load_release("{name}")
ids = release.tokenizer.chat_ids([{{"role": "user", "content": "What is the capital of France?"}}])
answer = generate(release.model, [ids], max_new_tokens=64, eos_ids=release.generation.eos_ids)[0]
print(release.tokenizer.decode(answer))
```
"""
    if hf:
        yield f"""With transformers alone (the student without windows; its own figures are those of "no window"):

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}/hf")
tokenizer = AutoTokenizer.from_pretrained("{name}/hf")
```
"""


def _where(run: Mapping[str, Any]) -> str:
    machine = run.get("machine", {})
    facts = [f"{machine[k]} {unit}" for k, unit in (("cores", "cores"), ("device", "")) if machine.get(k) is not None]
    facts = [fact.strip() for fact in facts]
    return f" ({', '.join(facts)})" if facts else ""


def _limits(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## Limits\n"
    for verdict in report["verdicts"]:
        if not verdict["passed"]:
            sign = "at most" if verdict["at_most"] else "at least"
            value = "not measured" if verdict["value"] is None else f"{verdict['value']:.3f}"
            yield f"- Not reached: {verdict['what']}: {value}, required {sign} {verdict['target']:.2f}."
    named = [name for name in FIGURES if name in report["missing"]]
    if named:
        yield f"- Not measured in this run: {', '.join(named)}."
    yield "- What stands in no table here was not measured: other languages, other tasks, longer texts, safety."
    yield "- It repeats its teacher's mistakes and adds its own; check what it says before you rely on it."
    yield "- Licences of the training texts are listed above; some ask for attribution or forbid commercial use.\n"


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield f"### {table.title}\n"
    yield _row(table.columns)
    yield "|" + "---|" * len(table.columns)
    yield from map(_row, table.rows)
    yield f"\n{table.note}\n" if table.note else ""


def _row(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
