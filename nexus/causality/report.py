"""`nexus cause`: one question about one file, answered in words and in pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus.causality.discovery.discover import Settings
from nexus.causality.drawing import draw_effects, draw_graph
from nexus.causality.estimation.estimate import BACK_DOOR, estimate_effect
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.estimation.possible import PossibleEffect
from nexus.causality.knowledge import Edge, Knowledge
from nexus.causality.study import CausalStudy


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked; the fields are the command's options."""

    data: str
    treatment: str
    outcome: str
    graph: str | None = None
    method: str = "auto"
    estimator: str = "auto"
    hidden: bool = False
    tiers: str | None = None
    require: Sequence[str] = ()
    forbid: Sequence[str] = ()
    bootstrap: int = 20
    out: str = "cause-report"
    seed: int = 0


def report(question: Question) -> str:
    """Answer it; the pictures graph.png and effect.png go into `question.out`.

    Raises:
        ValueError, FileNotFoundError: the file, the graph or an option cannot be used; the message has the cure.
    """
    study = CausalStudy(question.data)
    assert study.table is not None
    for name in (question.treatment, question.outcome):
        study.table.at(name)
    if question.graph is not None:
        study.set_graph(question.graph)
    else:
        settings = Settings(method=question.method, hidden=question.hidden, seed=question.seed)
        study.discover(settings, knowledge(question), bootstrap=question.bootstrap)
    folder = Path(question.out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = study.discovery.graph if study.discovery is not None else study.graph
    shares = study.discovery.confidence if study.discovery is not None else None
    draw_graph(drawn, folder / "graph.png", shares)
    files = [folder / "graph.png"]
    effects = study.possible(question.treatment, question.outcome, question.estimator)
    if effects:
        return "\n".join([study.explain(), *_open(question, effects), _pictures(files)])
    found = None if study.graph is None else study.identify(question.treatment, question.outcome)
    if found is not None and found.ways and (found.reaches or found.adjust is not None):
        study.refute(question.treatment, question.outcome, question.estimator, seed=question.seed)
        title = f"effect of {question.treatment} on {question.outcome}"
        draw_effects(_every_estimate(study), folder / "effect.png", title)
        files.append(folder / "effect.png")
    return "\n".join([study.explain(), *_missing(study), _pictures(files)])


def _pictures(files: Sequence[Path]) -> str:
    return "pictures: " + ", ".join(map(str, files))


def _open(question: Question, effects: Sequence[PossibleEffect]) -> list[str]:
    """The answer where the data alone do not settle it."""
    return [
        f"effect of {question.treatment} on {question.outcome}: NOT identified, it depends on directions that the data "
        "leave open",
        *(f"  {effect}" for effect in effects),
        f"say what is known, for example --require '{question.treatment}->{question.outcome}' or --tiers",
    ]


def _missing(study: CausalStudy) -> list[str]:
    if study.graph is None:
        return ["no effect was estimated: with unmeasured common causes the graph stays open; give one with --graph"]
    return [] if study.estimated is not None else ["no effect was estimated: the graph offers no way to it"]


def _every_estimate(study: CausalStudy) -> dict[str, Estimate]:
    """The estimate, and beside it what the other estimators of the same kind say."""
    assert study.estimated is not None
    assert study.identification is not None
    assert study.table is not None
    found = {study.estimated.method: study.estimated}
    if study.identification.adjust is not None:
        binary = study.table.is_binary(study.identification.treatment)
        for method in BACK_DOOR if binary else ("g-formula", "dml"):
            found.setdefault(method, estimate_effect(study.table, study.identification, method))
    return found


def knowledge(question: Question) -> Knowledge:
    """The options' background knowledge.

    Raises:
        ValueError: an option is not of the form it should have.
    """
    tiers = [[n.strip() for n in tier.split(",") if n.strip()] for tier in (question.tiers or "").split(";")]
    return Knowledge(
        tiers=[tier for tier in tiers if tier],
        required=[_edge("--require", text) for text in question.require],
        forbidden=[_edge("--forbid", text) for text in question.forbid],
    )


def _edge(option: str, text: str) -> Edge:
    match = re.fullmatch(r"\s*(.+?)\s*->\s*(.+?)\s*", text)
    if match is None:
        raise ValueError(f"{option}: {text!r} is not an edge; write A->B")
    return match[1], match[2]
