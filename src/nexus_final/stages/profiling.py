"""Stage 1: which layers, heads and channels of each teacher carry its ability, and which layers must see far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nexus_final.profiler import NIWTCore
from nexus_final.profiling.settings import ProfileConfig
from nexus_final.stage import Context, Estimate, Stage, source_version
from nexus_final.stages.common import blocks, data_facts, teacher_facts, teachers

TEXTS = 8  # blocks of each split: more than the profile reads


class ProfilingStage(Stage):
    """`NIWTCore` over every teacher; artefacts `results/profile/<teacher>/profile.json`."""

    name = "profile"
    title = "1 Profiling"
    version = source_version("nexus_final.profiling", "nexus_final.profiler", __name__)

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """Teachers, texts, size."""
        return {
            "teachers": teacher_facts(ctx),
            "data": data_facts(ctx),
            **ctx.config.subset("seed", "quick", "precision"),
        }

    def run(self, ctx: Context) -> Sequence[Path]:
        """Profile each teacher; a finished step of an earlier run is taken over."""
        made = []
        settings = (ProfileConfig.quick if ctx.config.quick else ProfileConfig)(
            seed=ctx.config.seed, precision=ctx.config.precision
        )
        texts, heldout = blocks(ctx, "train", TEXTS), blocks(ctx, "heldout", TEXTS)
        for teacher in teachers(ctx):
            core = NIWTCore(teacher.load(), texts, heldout, settings)
            folder = ctx.paths.results / "profile" / teacher.spec.teacher_id
            with ctx.progress(f"profiling {teacher.spec.teacher_id}", round(sum(core.costs().values()))) as bar:
                result = core.run(folder, ctx.control, bar.advance)
            ctx.say(f"{teacher.spec.teacher_id}: attention stays in layers {result['attention_layers']['recommended']}")
            made.append(folder / "profile.json")
        return made

    def estimate(self, ctx: Context) -> Estimate:
        """From the tokens it passes through the teacher."""
        return Estimate(seconds=30 if ctx.config.quick else 180, disk=2**20, memory=2 * 2**30)
