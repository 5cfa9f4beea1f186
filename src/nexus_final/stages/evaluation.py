"""Stage 2.5: teacher and student sit the same exam; the held-out answers say which window is released."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nexus.core.files import atomic_write_text
from nexus.core.state_space import HybridLM
from nexus_final.context_cost import measure_context
from nexus_final.evaluate import answer_exam, compare_prose, evaluate_models, make_exam, prose_nll
from nexus_final.report import RATIO_TARGETS
from nexus_final.stage import Context, Estimate, Stage, source_version
from nexus_final.stages.common import blocks, data_facts, teacher_facts, teachers
from nexus_final.stages.training import BARE, WINDOWED

CANDIDATES = 2  # windows that answer questions to be chosen from, the widest first
CHOICE_SHARE = 4  # the choice asks one question for so many of the final exam


class EvaluationStage(Stage):
    """Perplexity for every window, the choice of the window, answers by generation, cost of context.

    Artefact `results/evaluation.json`; every part is kept as it is finished, in `results/evaluation/`.
    """

    name = "evaluate"
    title = "2.5 Evaluation"
    needs = ("train",)
    version = source_version(
        "nexus_final.evaluate", "nexus_final.generation_sets", "nexus_final.context_cost", "nexus.inference.quality",
        "nexus.inference.generation", "nexus_final.prompts", __name__,
    )  # fmt: skip

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """Teacher, texts, how much is asked."""
        names = ("seed", "sequence_length", "evaluate_tokens", "generation_items", "chat_prompts", "chat_tokens")
        facts = {"teachers": teacher_facts(ctx), "data": data_facts(ctx)}
        return {**facts, **ctx.config.subset(*names, "context_lengths", "precision")}

    def run(self, ctx: Context) -> Sequence[Path]:
        """Measure part after part."""
        first = teachers(ctx)[0]
        teacher, student = first.load(), HybridLM.load(ctx.paths.checkpoints / WINDOWED)
        parts: dict[str, Any] = {
            "perplexity": self._part(ctx, "perplexity", lambda: self._perplexity(ctx, teacher, student))
        }
        parts["choice"] = self._part(ctx, "choice", lambda: self._choose(ctx, student, parts["perplexity"]))
        student.set_window(parts["choice"]["window"])
        if ctx.config.generation_items:
            parts["generation"] = self._part(ctx, "generation", lambda: self._generation(ctx, teacher, student))
        parts["context"] = self._part(ctx, "context", lambda: self._context_cost(ctx, teacher, student))
        path = ctx.paths.results / "evaluation.json"
        atomic_write_text(path, json.dumps(parts, indent=1))
        return [path]

    def _part(self, ctx: Context, name: str, measure: Callable[[], Any]) -> Any:
        """A finished part is read, an unfinished one measured."""
        path = ctx.paths.results / "evaluation" / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        ctx.control.check()
        found = measure()
        atomic_write_text(path, json.dumps(found, indent=1))
        return found

    def _perplexity(self, ctx: Context, teacher: HybridLM, student: HybridLM) -> dict[str, Any]:
        bare = HybridLM.load(ctx.paths.checkpoints / BARE)
        lengths = (ctx.config.sequence_length, 4 * ctx.config.sequence_length)
        count = max(1, ctx.config.evaluate_tokens // lengths[1])
        sets = {"held_out": blocks(ctx, "test", count, lengths[1])}
        # Without the carried sets there is no foreign text either; a quick run has no time for it.
        if ctx.config.generation_items and not ctx.config.quick:
            sets["out_of_domain"] = blocks(ctx, "test", max(1, count // 2), lengths[1], foreign=True)
        found = {}
        # Out of domain only what may be released is measured: the narrow windows are there to be compared.
        windows = {"held_out": student.config.window_choices, "out_of_domain": _candidates(student)}
        with ctx.progress("perplexity", sum(2 + len(windows[name]) for name in sets)) as bar:

            def nll(model: HybridLM, ids: Any, note: str) -> Any:
                ctx.control.check()
                result = prose_nll(model, ids, lengths, precision=ctx.config.precision)
                bar.advance(1, note)
                return result

            for name, ids in sets.items():
                theirs = nll(teacher, ids, f"{name}, teacher")
                ours = {0: nll(bare, ids, f"{name}, no window")}
                for window in windows[name]:
                    student.set_window(window)
                    ours[window] = nll(student, ids, f"{name}, window {window}")
                found[name] = compare_prose(theirs, ours)
        return {"sets": found}

    def _choose(self, ctx: Context, student: HybridLM, perplexity: Any) -> dict[str, Any]:
        """The window whose held-out answers are best, among the widest; ties go to the narrower one."""
        widths = _candidates(student)
        items = -(-ctx.config.generation_items // CHOICE_SHARE)
        if not items:
            best = self._narrowest_within_target(perplexity, widths)
            return {"window": best, "why": "the narrowest within its perplexity target", "candidates": {}}
        exam = make_exam("heldout", items, 0, ctx.paths.cache)  # no chat: it takes minutes for each window
        tokenizer = teachers(ctx)[0].tokenizer()
        scores: dict[str, dict[str, float]] = {}
        with ctx.progress("choosing the window", len(widths)) as bar:
            for width in widths:
                ctx.control.check()
                student.set_window(width)
                answers = answer_exam(student, tokenizer, exam)
                right = [float(sum(row)) / len(row) for row in answers.right.values() if row]
                scores[str(width)] = {"accuracy": sum(right) / len(right)}
                bar.advance(1, f"window {width}: {scores[str(width)]['accuracy']:.3f}")
        best = max(sorted(widths), key=lambda width: scores[str(width)]["accuracy"])
        why = f"best mean accuracy on {items} held-out questions a set"
        return {"window": best, "why": why, "candidates": scores}

    def _narrowest_within_target(self, perplexity: Any, widths: Sequence[int]) -> int:
        rows = [row["windows"] for by_length in perplexity["sets"].values() for row in by_length.values()]
        good = [w for w in widths if all(row[str(w)]["ratio"] <= RATIO_TARGETS.get(w, 1.0) for row in rows)]
        return min(good, default=max(widths))

    def _generation(self, ctx: Context, teacher: HybridLM, student: HybridLM) -> dict[str, Any]:
        items = ctx.config.generation_items
        exam = make_exam("test", items, ctx.config.chat_prompts, ctx.paths.cache)
        exam = replace(exam, chat_tokens=ctx.config.chat_tokens)
        total = 2 * (sum(len(asked.questions) for asked in exam.sets) + len(exam.chat))
        seen: dict[str, int] = {}
        with ctx.progress("answers by generation", total) as bar:

            def tick(what: str, done: int, of: int) -> None:
                ctx.control.check()
                bar.advance(done - seen.get(what, 0), what)
                seen[what] = done

            models = {"teacher": teacher, "student": student}
            tokenizer = teachers(ctx)[0].tokenizer()
            found = evaluate_models(models, tokenizer, exam, folder=ctx.paths.results / "evaluation", progress=tick)
        return {**found["report"], "details": found["details"]}

    def _context_cost(self, ctx: Context, teacher: HybridLM, student: HybridLM) -> dict[str, Any]:
        models = {"teacher": teacher, "student": student}
        lengths = ctx.config.context_lengths
        with ctx.progress("cost of context", len(models) * len(lengths)) as bar:
            return measure_context(models, lengths, check=ctx.control.check, progress=lambda note: bar.advance(1, note))

    def discard(self, ctx: Context) -> None:
        """Drop parts that were measured on something else."""
        shutil.rmtree(ctx.paths.results / "evaluation", ignore_errors=True)

    def estimate(self, ctx: Context) -> Estimate:
        """By tokens and questions."""
        c = ctx.config
        return Estimate(
            seconds=c.evaluate_tokens * 15 / 600 + c.generation_items * 3.5 + 60, disk=2**22, memory=3 * 2**30
        )


def _candidates(student: HybridLM) -> list[int]:
    """The widths that may be released, the widest first."""
    return sorted(student.config.window_choices, reverse=True)[:CANDIDATES]
