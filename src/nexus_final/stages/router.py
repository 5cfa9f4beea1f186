"""Stage 3: the intent router on the finished student's frozen states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nexus.core.state_space import HybridLM
from nexus_final.intents import intent_examples
from nexus_final.router_fit import RouterSettings
from nexus_final.stage import Context, Estimate, Stage, source_version
from nexus_final.stages.common import teacher_facts, teachers
from nexus_final.stages.release import chosen_window
from nexus_final.stages.training import WINDOWED
from nexus_final.train_router import texts_to_read, train_router


class RouterStage(Stage):
    """`train_router` on the student; artefact `results/router_weights`."""

    name = "router"
    title = "3 Router"
    needs = ("train", "evaluate")
    version = source_version(
        "nexus_final.train_router",
        "nexus_final.router",
        "nexus_final.router_features",
        "nexus_final.router_fit",
        "nexus_final.router_metrics",
        "nexus_final.router_baselines",
        "nexus_final.intents",
        __name__,
    )

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """The teacher's tokenizer and the size."""
        return {"teachers": teacher_facts(ctx), **ctx.config.subset("seed", "quick", "router_texts")}

    def run(self, ctx: Context) -> Sequence[Path]:
        """Train from the start: it takes about a minute."""
        folder = ctx.paths.results / "router_weights"
        folder.mkdir(parents=True, exist_ok=True)
        if not ctx.config.router_texts:
            ctx.say("no router: router_texts is 0")
            return [folder]
        student = HybridLM.load(ctx.paths.checkpoints / WINDOWED)
        student.set_window(chosen_window(ctx))
        settings = (RouterSettings.quick if ctx.config.quick else RouterSettings)(seed=ctx.config.seed)
        examples = {split: intent_examples(split, cache=ctx.paths.cache) for split in ("train", "heldout", "test")}
        with ctx.progress("router", texts_to_read(examples, settings)) as bar:
            report = train_router(
                student, teachers(ctx)[0].tokenizer(), examples, folder, settings, ctx.control, bar.advance
            )
        ctx.say(f"router: macro-F1 {report['macro_f1']:.3f}, ECE {report['ece']:.3f}")
        return [folder]

    def estimate(self, ctx: Context) -> Estimate:
        """Measured."""
        return Estimate(seconds=60 if ctx.config.router_texts else 1, disk=2**22, memory=2**30)
