"""What several stages need: the teachers on this disk, and the texts as blocks of ids.

The one idea: both follow from the settings alone, so a stage asks for them instead of handing them on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nexus.core.state_space import HybridLM
from nexus.data.blocks import echo, pack_tokens
from nexus.data.text import Split
from nexus.inference.bridge import load_hf_folder
from nexus.inference.text import TextTokenizer
from nexus_final.config import RunConfig
from nexus_final.datasets import TextSet, load_documents, out_of_domain, resolve_datasets
from nexus_final.errors import UserError
from nexus_final.registry import TeacherSpec, load_registry, select_teachers
from nexus_final.stage import Context
from nexus_final.teachers import TeacherFiles, prepare_teacher

ECHO_SHARE = 8  # one in so many of the texts that are extracted says its first half twice


@dataclass(frozen=True)
class Teacher:
    """A registered teacher that lies on this disk."""

    spec: TeacherSpec
    files: TeacherFiles

    def load(self) -> HybridLM:
        """Its weights in memory, without gradients."""
        return load_hf_folder(self.files.folder).requires_grad_(False).eval()

    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer with the chat template."""
        return TextTokenizer.from_folder(self.files.folder)


def specs(config: RunConfig) -> list[TeacherSpec]:
    """The teachers asked for, in the registry's order."""
    return select_teachers(load_registry(config.registry), config.models)


def teachers(ctx: Context) -> list[Teacher]:
    """All teachers asked for, fetched and converted where needed. The first one gives the student its weights.

    Raises:
        UserError: a teacher has another tokenizer than the first.
    """
    found = [Teacher(s, prepare_teacher(s, ctx.paths.cache, ctx.say, ctx.paths.root)) for s in specs(ctx.config)]
    first = found[0].files.tokenizer_path.read_bytes()
    strangers = [t.spec.teacher_id for t in found[1:] if t.files.tokenizer_path.read_bytes() != first]
    if strangers:
        raise UserError(
            "--models",
            f"{', '.join(strangers)} cut text into other tokens than {found[0].spec.teacher_id}",
            "run teachers of one tokenizer together, others alone (--models NAME --root DIR)",
        )
    return found


def teacher_facts(ctx: Context) -> dict[str, str]:
    """Which teachers, by content: for a stage's fingerprint. One with a pinned hash isn't fetched to be named."""
    chosen = specs(ctx.config)
    pinned = {s.teacher_id: f"{s.path}:{s.sha256}" for s in chosen if s.sha256}
    if len(pinned) == len(chosen):
        return pinned
    return {t.spec.teacher_id: t.files.sha256 for t in teachers(ctx)}


def data_sets(ctx: Context) -> list[TextSet]:
    """The text sets asked for."""
    names: Any = ctx.config.datasets
    return resolve_datasets(names, ctx.paths.root, ctx.paths.cache, lambda note: ctx.say(str(note)))


def data_facts(ctx: Context) -> list[str]:
    """Which texts, by content: for a stage's fingerprint."""
    return [s.fingerprint() for s in data_sets(ctx)]


def blocks(ctx: Context, split: Split, count: int, length: int | None = None, foreign: bool = False) -> Tensor:
    """Up to ``count`` blocks of ids (n, length) of one split, in an order that the seed fixes.

    Args:
        length: ids in a block; the run's sequence length if None.
        foreign: take the out-of-domain texts, which are never trained on, instead of the run's sets.

    Raises:
        UserError: there is less text than one block.
    """
    length = length or ctx.config.sequence_length
    folder = teachers(ctx)[0].files.folder
    if foreign:
        documents = tuple(d.text for d in out_of_domain(split, ctx.paths.cache))
    else:
        documents = tuple(d.text for d in load_documents(data_sets(ctx), split))
    packed = _packed(documents, folder, length, ctx.config.seed)
    if not len(packed):
        raise UserError("--datasets", f"the {split} texts fill no block of {length} tokens", "add text or sets")
    return packed[:count]


@dataclass(frozen=True)
class Curriculum:
    """The texts that the teacher is asked about.

    Attributes:
        texts: (n, length) ids: prose first, then echoes (:func:`nexus.data.blocks.echo`).
        prose, echoes: how many of each.
    """

    texts: Tensor
    prose: int
    echoes: int

    def mixed(self, share: int) -> list[int]:
        """All echoes, and so much prose that one in ``share`` is an echo; all prose where there are no echoes."""
        prose = min(self.prose, self.echoes * (share - 1)) or self.prose
        return [*range(prose), *range(self.prose, self.prose + self.echoes)]


def curriculum(ctx: Context) -> Curriculum:
    """Texts to learn from: one in `ECHO_SHARE` is an echo, of prose that is not among the others if there is enough."""
    total = max(1, ctx.config.extract_tokens // ctx.config.sequence_length)
    echoes = total // ECHO_SHARE
    found = blocks(ctx, "train", total)
    echoes = min(echoes, len(found) - 1)
    prose = len(found) - echoes
    return Curriculum(torch.cat((found[:prose], echo(found[prose:]))), prose, echoes)


@lru_cache(maxsize=4)
def _packed(documents: tuple[str, ...], folder: Path, length: int, seed: int) -> Tensor:
    tokenizer = TextTokenizer.from_folder(folder)
    return torch.from_numpy(pack_tokens(documents, tokenizer.tokenizer, length, seed)).long()
