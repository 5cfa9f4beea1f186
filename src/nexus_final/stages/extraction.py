"""Stage 1.5: what the teachers say about the training texts, to disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nexus.core.files import atomic_write_text
from nexus.training.precision import resolved
from nexus_final.headroom import should_stream
from nexus_final.librarian import Librarian
from nexus_final.sli_integrator import SequentialLayerIntegrator
from nexus_final.stage import Context, Estimate, Stage, source_version
from nexus_final.stages.common import Teacher, curriculum, data_facts, specs, teacher_facts, teachers
from nexus_final.teacher_source import ResidentTeacher, TeacherSource

HEAD, TAIL = 16, 12  # tokens kept exactly, and drawn from the rest
BYTES_PER_TOKEN = 150  # upper bound for the disk guard


class ExtractionStage(Stage):
    """The Librarian over every teacher; artefacts `memory/<teacher>` and `results/extraction.json`.

    Each teacher reads its share of the texts, so adding a teacher adds texts and leaves what is there untouched.
    """

    name = "extract"
    title = "1.5 Extraction"
    version = source_version("nexus_final.librarian", "nexus_final.shard", "nexus.training.sparse_targets", __name__)

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """Teachers, texts, how many."""
        names = ("seed", "sequence_length", "extract_tokens", "precision")
        return {"teachers": teacher_facts(ctx), "data": data_facts(ctx), **ctx.config.subset(*names)}

    def run(self, ctx: Context) -> Sequence[Path]:
        """Extract from each teacher in turn; whole blocks of an earlier run stay."""
        length = ctx.config.sequence_length
        texts = curriculum(ctx).texts
        reports: dict[str, Any] = {}
        folders = []
        for teacher in teachers(ctx):
            name = teacher.spec.teacher_id
            source, precision = self._source(ctx, teacher)
            librarian = Librarian(
                ctx.paths.memory / name,
                k=HEAD,
                samples=TAIL,
                seed=ctx.config.seed,
                block_tokens=length,  # a text a block: the trainer reads one at a time
                identity=f"{teacher.files.sha256}, layers in {precision}",
            )
            with ctx.progress(f"extracting {name}", texts.numel()) as bar:
                report = librarian.extract(source, texts, control=ctx.control, progress=bar.advance, restart=True)
            ctx.say(f"{name}: {report}")
            reports[name] = {
                "texts": len(texts),
                "tokens": report.tokens,
                "bytes_per_token": report.bytes_per_token,
                "seconds": report.seconds,
            }
            folders.append(librarian.folder)
        path = ctx.paths.results / "extraction.json"
        atomic_write_text(path, json.dumps(reports, indent=1))
        return [*folders, path]

    def _source(self, ctx: Context, teacher: Teacher) -> tuple[TeacherSource, str]:
        """The teacher in memory, or streamed layer by layer when it is too large for that, and its precision."""
        needed = sum(path.stat().st_size for path in teacher.files.weights) * 2
        stream, why = should_stream(teacher.spec.params_billions, needed)
        ctx.log.info("%s: %s", teacher.spec.teacher_id, why)
        if not stream:
            model = teacher.load()
            precision = resolved(model.device, ctx.config.precision)
            return ResidentTeacher.of(model, precision), precision
        ctx.say(f"{teacher.spec.teacher_id} is streamed layer by layer: {why}")
        spool = ctx.paths.memory / "sli" / teacher.spec.teacher_id
        return SequentialLayerIntegrator(teacher.files.folder, spool), "float32"

    def estimate(self, ctx: Context) -> Estimate:
        """By tokens, teachers and their sizes."""
        tokens = ctx.config.extract_tokens
        chosen = specs(ctx.config)
        billions = sum(s.params_billions for s in chosen)
        return Estimate(
            seconds=tokens * billions * 2e9 / 1e11,
            disk=tokens * BYTES_PER_TOKEN * len(chosen),
            memory=int(4e9 * min(billions, 2) + 2**30),
        )
