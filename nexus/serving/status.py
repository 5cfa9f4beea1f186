"""How the server is doing, for the dashboard and for programs: one look at counts that others keep.

The one idea: nothing here is estimated that was not counted, and what could be chance is told with its bound: the risk
among judged answers has Clopper and Pearson's upper limit beside it.
"""

import threading
from collections.abc import Sequence
from typing import Any

from torch import nn

from nexus.core.energy import EnergyInfo, EnergyModule
from nexus.inference.sampling import GREEDY
from nexus.living.bounds import upper_bound
from nexus.living.journal import Journal
from nexus.serving.engine import Engine
from nexus.serving.journal_thread import JournalThread
from nexus.serving.memory_api import PREFIX, owner_of
from nexus.serving.metrics import RECENT, Metrics

SURE = 0.95  # confidence of the bound on the risk


class EnergyWatch:
    """Counts the steps that a model's energy modules take, where it has such modules.

    Args:
        model: any module; it is watched from now on.
    """

    def __init__(self, model: nn.Module) -> None:
        self._lock, self._steps, self._units = threading.Lock(), 0.0, 0
        watched = [module for module in model.modules() if isinstance(module, EnergyModule)]
        self._most = max((module.max_iterations for module in watched), default=None)
        for module in watched:
            module.register_forward_hook(self._note)

    def to_dict(self) -> dict[str, Any] | None:
        """The mean number of steps a position and the most there may be; None if the model has no such module."""
        if self._most is None:
            return None
        with self._lock:
            return {"iterations": self._steps / self._units if self._units else None, "most": self._most}

    def _note(self, _module: nn.Module, _inputs: Any, output: tuple[Any, EnergyInfo]) -> None:
        taken = output[1].per_unit
        with self._lock:
            self._steps += float(taken.sum())
            self._units += taken.numel()


def add_status(app: Any, engine: Engine, name: str, journal: JournalThread | None) -> None:
    """Add the route ``/v1/nexus/status``.

    Args:
        app: the application.
        engine: what answers, with its desk if there is a gate.
        name: of the model.
        journal: what was taught, if anything can be.
    """
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    energy = EnergyWatch(engine.release.model)
    known: dict[str, dict[str, Any]] = {}  # by owner: reading all judgements again is due only when something was added

    def look(opened: Journal, owner: str) -> dict[str, Any]:
        if known.get(owner, NOTHING)["memory_version"] != opened.version():
            known[owner] = remembered(opened, owner)
        return known[owner]

    @app.get(f"{PREFIX}/status", response_model=None)
    async def status(request: Request) -> Response:
        owner = owner_of(request)
        memory = await journal.run(lambda opened: look(opened, owner)) if journal else NOTHING
        shown = {
            "model": name, **memory, "channels": await _channels(engine, owner), "answers": decisions(engine.metrics),
            "speed": speed(engine.metrics), "sampler": {"temperature": GREEDY.temperature}, "energy": energy.to_dict(),
        }  # fmt: skip
        return JSONResponse(shown, headers={"Cache-Control": "no-store"})


async def _channels(engine: Engine, owner: str) -> list[dict[str, Any]]:
    """What stands behind each channel's answers now, in the order in which they are asked; none without a gate."""
    if engine.desk is None:
        return []
    found = await engine.desk.run(engine.desk.living.status, owner)
    return [{"channel": name, **state} for name, state in found.items()]


def remembered(journal: Journal, owner: str) -> dict[str, Any]:
    """Version of the memory, number of facts, and what came of the owner's judgements."""
    judged = [e.payload["right"] for e in journal.events(owner) if e.kind == "feedback" and e.payload is not None]
    return {
        "memory_version": journal.version(),
        "facts": len(journal.facts(owner)),
        "feedback": judgements(judged),
    }


def judgements(right: Sequence[bool]) -> dict[str, Any]:
    """The risk among judged answers, with its upper bound; `recent` are the last judgements, oldest first."""
    wrong = len(right) - sum(right)
    return {
        "right": sum(right),
        "wrong": wrong,
        "risk": wrong / len(right) if right else None,
        "highest": upper_bound(wrong, len(right), 1 - SURE),
        "sure": SURE,
        "recent": list(right[-RECENT:]),
    }


NOTHING = {"memory_version": None, "facts": None, "feedback": judgements([])}


def decisions(metrics: Metrics) -> dict[str, Any]:
    """How many questions were answered and refused since the start; `recent` are the last ones, oldest first."""
    counts = {"true": 0, "false": 0}
    samples = (sample for metric in metrics.decisions.collect() for sample in metric.samples)
    for sample in samples:
        if sample.name.endswith("_total"):  # beside it stands when the counter was made
            counts[sample.labels["answered"]] += int(sample.value)
    return {"answered": counts["true"], "refused": counts["false"], "recent": list(metrics.recent)}


def speed(metrics: Metrics) -> dict[str, Any]:
    """Means over all answers since the start: tokens a second after the first one, and the wait for that one."""
    firsts, waited = metrics.value("nexus_first_token_seconds_count"), metrics.value("nexus_first_token_seconds_sum")
    took, tokens = metrics.value("nexus_answer_seconds_sum") - waited, metrics.value("nexus_answer_tokens_total")
    return {
        "tokens_per_second": (tokens - firsts) / took if tokens > firsts and took > 0 else None,
        "first_token_seconds": waited / firsts if firsts else None,
    }
