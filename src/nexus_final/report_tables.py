"""The report's figures as tables, which the HTML page and the model card both print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A heading of columns and rows of ready texts; ``note`` stands below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def number(value: Any, digits: int = 3) -> str:
    """A figure as text; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.{digits}f}" if abs(value) >= 10.0**-digits or value == 0 else f"{value:.2e}"
    return str(value)


def percent(value: float | None) -> str:
    """A share as a percentage with one digit."""
    return "–" if value is None else f"{100 * value:.1f} %"


def size(count: float | None) -> str:
    """Bytes in binary units."""
    if count is None:
        return "–"
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while count >= 1024 and step < len(units) - 1:
        count, step = count / 1024, step + 1
    return f"{count:.0f} B" if step == 0 else f"{count:.1f} {units[step]}"


def duration(seconds: float | None) -> str:
    """Seconds as text a person reads."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min"


def window_name(window: Any) -> str:
    """A window width in words."""
    return f"window {window}" if int(window) else "no window"


def windows_of(report: Report) -> list[int]:
    """All windows with a perplexity, the widest first."""
    cells = (cell for lengths in report["perplexity"]["sets"].values() for cell in lengths.values())
    return sorted({int(window) for cell in cells for window in cell["windows"]}, reverse=True)


def tables(report: Report, section: str) -> list[Table]:
    """The tables of one part of the report; none for a part that is missing."""
    return list(_TABLES[section](report)) if report.get(section) else []


def _verdicts(report: Report) -> Iterator[Table]:
    rows = [
        (v["what"], number(v["value"]), f"{'≤' if v['at_most'] else '≥'} {number(v['target'], 2)}",
         "yes" if v["passed"] else "NO")
        for v in report["verdicts"]
    ]  # fmt: skip
    yield Table("Required and measured", ("what", "measured", "required", "met"), rows)


def _run(report: Report) -> Iterator[Table]:
    run = report["run"]
    machine = {**run.get("machine", {})}
    if "memory" in machine:
        machine["memory"] = size(machine["memory"])
    facts = {k: run[k] for k in ("version", "seed", "quick", "started", "finished") if k in run}
    yield Table("Run and machine", ("", ""), _pairs({**facts, **machine}))
    if run.get("seconds"):
        yield Table("Time", ("stage", "time"), [(k, duration(v)) for k, v in run["seconds"].items()])
    if run.get("config"):
        yield Table("Settings", ("setting", "value"), _pairs(run["config"]))


def _teacher(report: Report) -> Iterator[Table]:
    teacher = {k: ", ".join(v) if isinstance(v, list) else v for k, v in report["teacher"].items()}
    yield Table("Teacher", ("", ""), _pairs(teacher))


def _data(report: Report) -> Iterator[Table]:
    sets = report["data"].get("sets", [])
    splits = list(dict.fromkeys(split for s in sets for split in s.get("splits", {})))
    rows = []
    for s in sets:
        counts = [_counts(s.get("splits", {}).get(split)) for split in splits]
        rows.append((s["name"], s.get("licence", "–"), s.get("note", ""), *counts))
    note = "documents / tokens" if splits else ""
    yield Table("Texts", ("set", "licence", "what", *splits), rows, note)


def _counts(split: Mapping[str, Any] | None) -> str:
    if not split:
        return "–"
    return " / ".join(number(split[k]) for k in ("documents", "tokens") if k in split)


def _profile(report: Report) -> Iterator[Table]:
    profile = report["profile"]
    if layers := profile.get("attention_layers"):
        sets = [(name, ", ".join(map(str, v))) for name, v in layers.items() if name not in ("method", "recommended")]
        chosen = ", ".join(map(str, layers["recommended"]))
        yield Table("Layers that stay attention", ("placement", "layers"), [*sets, ("chosen", chosen)],
                    f"chosen: {layers['method']}")  # fmt: skip
    if comparison := profile.get("windows", {}).get("comparison"):
        rows = [(r["placement"], number(r["window"]), number(r["kl"]), number(r["ppl"], 2), number(r["ratio"], 3))
                for r in comparison]  # fmt: skip
        yield Table(
            "A window in all other layers, untrained", ("placement", "window", "KL, nats", "perplexity", "ratio"), rows
        )
    if test := profile.get("circuit", {}).get("test"):
        shuffled = [one["damage"] for one in test["shuffled"]]
        facts = [
            ("rise of the loss without the circuit, nats", number(test["circuit"]["damage"])),
            (f"median of {test['random']['n']} random sets of its size", number(test["random"]["median"])),
            ("ratio", number(test["circuit"]["ratio"], 1)),
            ("ratio required", number(test["required_ratio"], 1)),
            ("largest damage of a circuit of shuffled scores", number(max(shuffled, default=None))),
            ("passed", number(test["passed"])),
        ]
        yield Table("Is the circuit what the teacher rests on?", ("", ""), facts)


def _extraction(report: Report) -> Iterator[Table]:
    rows = [
        (name, number(e.get("texts")), number(e.get("tokens")), number(e.get("bytes_per_token"), 1),
         duration(e.get("seconds")))
        for name, e in report["extraction"].items()
    ]  # fmt: skip
    yield Table("Cached teachers", ("teacher", "texts", "tokens", "bytes a token", "time"), rows)


def _alignment(report: Report) -> Iterator[Table]:
    errors, bare = (report["alignment"].get(key, {}) for key in ("errors", "errors_without_window"))
    rows = [(layer, number(e), number(bare[layer]) if layer in bare else "attention") for layer, e in errors.items()]
    head = ("layer", "relative squared error", "aligned further, for the student without window")
    yield Table("Alignment", head, rows, "0 is perfect, 1 says nothing")


def _training(report: Report) -> Iterator[Table]:
    training = report["training"]
    parts = training.get("parts", {})
    if parts:
        kept = training.get("attention_layers", {})
        rows = [(name.replace("_", " "), ", ".join(map(str, kept.get(name, ()))) or "–",
                 *(number(part[k]) for k in ("steps", "tokens")), duration(part["seconds"]), number(part["skipped"]))
                for name, part in parts.items()]  # fmt: skip
        head = ("", "attention in layers", "steps", "tokens", "time", "samples and steps left out")
        yield Table("Training", head, rows)
    looks: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}  # each student is looked at with windows of its own
    for row in training.get("history", []):
        keys = tuple(sorted((k for k in row if k.startswith("ppl_window_")), key=_width_in, reverse=True))
        if keys:
            looks.setdefault(keys, []).append(row)
    for keys, found in looks.items():
        columns = ("step", *(window_name(_width_in(k)) for k in keys))
        rows = [(number(r["step"]), *(number(r.get(k), 2) for k in keys)) for r in found]
        yield Table("Perplexity of a held-out sample while learning", columns, rows)


def _width_in(key: str) -> int:
    return int(key.rsplit("_", 1)[1])


def _perplexity(report: Report) -> Iterator[Table]:
    windows = windows_of(report)
    rows = []
    for name, lengths in report["perplexity"]["sets"].items():
        for length, cell in sorted(lengths.items(), key=lambda pair: int(pair[0])):
            ratios = [_ratio(cell["windows"].get(str(w))) for w in windows]
            rows.append((name, number(int(length)), number(cell["teacher"], 2), *ratios))
    columns = ("held-out set", "tokens", "teacher", *(window_name(w) for w in windows))
    yield Table("Perplexity", columns, rows, "Student: times the teacher's perplexity, with its 95 % interval.")


def _ratio(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "–"
    text = number(found["ratio"])
    if found.get("ratio_low") is not None and found.get("ratio_high") is not None:
        text += f" ({number(found['ratio_low'])} to {number(found['ratio_high'])})"
    return text


def _generation(report: Report) -> Iterator[Table]:
    generation = report["generation"]
    cells = list(generation.get("sets", {}).items())
    if chat := generation.get("chat"):
        cells.append(("chat", chat))
    rows = [
        (name, number(c.get("n")), percent(c.get("teacher")), percent(c.get("student")), _kept(name, c, generation),
         percent(c.get("chance")))
        for name, c in cells
    ]  # fmt: skip
    window = generation.get("window")
    note = "" if window is None else f"Student with {window_name(window)}. "
    note += "Right answers; for chat, the share of prompts whose greedy answer neither loops nor breaks off."
    columns: tuple[str, ...] = ("set", "n", "teacher", "student", "kept", "by chance")
    if all("chance" not in c for _, c in cells):
        columns, rows = columns[:-1], [row[:-1] for row in rows]  # type: ignore[misc]
    yield Table("Answers by generation", columns, rows, note)


def _kept(name: str, cell: Mapping[str, Any], generation: Mapping[str, Any]) -> str:
    text = percent(cell.get("retained"))
    interval = generation.get("details", {}).get("retained_interval", {}).get(name)
    return text if interval is None else f"{text} ({percent(interval[0])} to {percent(interval[1])})"


def _context(report: Report) -> Iterator[Table]:
    context = report["context"]
    rows = []
    for name, model in context["models"].items():
        for r in model["rows"]:
            prefill = r["prefill_seconds_per_token"]
            rows.append(
                (name, number(r["tokens"]), size(r["bytes_attention"]), size(r["bytes_other"]),
                 number(1000 * r["decode_seconds"], 1), "–" if prefill is None else number(1000 * prefill, 2))
            )  # fmt: skip
    columns = ("model", "tokens", "attention layers", "other layers", "decode, ms a token", "prefill, ms a token")
    note = f"{context['threads']} threads. {context['note']}"
    yield Table("State and time by length of text", columns, rows, note)


def _router(report: Report) -> Iterator[Table]:
    router = report["router"]
    names = [k for k in ("macro_f1", "accuracy", "ece", "abstain") if k in router]
    rows = [("router", *(number(router[k]) for k in names))]
    for name, found in router.get("baselines", {}).items():
        found = found if isinstance(found, Mapping) else {"macro_f1": found}
        rows.append((name, *(number(found.get(k)) for k in names)))
    yield Table("Router", ("", *(k.replace("_", " ") for k in names)), rows)
    answered = router.get("answered", {})
    facts = {
        "intents it answers": answered.get("coverage"),
        "right among what it answers": answered.get("accuracy"),
        "answers that typing slips change": router.get("flip_rate"),
    }
    if any(value is not None for value in facts.values()):
        yield Table("When it answers", ("", ""), [(name, percent(value)) for name, value in facts.items()])


def _release(report: Report) -> Iterator[Table]:
    release = report["release"]
    facts = {k: release[k] for k in ("folder", "window", "why", "parameters") if k in release}
    facts.update({f"hf {k}": v for k, v in release.get("hf", {}).items()} if release.get("hf") else {})
    yield Table("Release", ("", ""), _pairs(facts))
    if files := release.get("files"):
        yield Table("Files", ("file", "size"), [(name, size(count)) for name, count in files.items()])


def _pairs(facts: Mapping[str, Any], digits: int = 3) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _fact(name, value, digits)) for name, value in facts.items()]


def _fact(name: str, value: Any, digits: int) -> str:
    if name in ("seed", "format") or isinstance(value, (list, Mapping)):
        return str(value)
    return number(value, digits)


_TABLES: dict[str, Callable[[Report], Iterator[Table]]] = {
    "verdicts": _verdicts, "run": _run, "teacher": _teacher, "data": _data, "profile": _profile,
    "extraction": _extraction, "alignment": _alignment, "training": _training, "perplexity": _perplexity,
    "generation": _generation, "context": _context, "router": _router, "release": _release,
}  # fmt: skip
