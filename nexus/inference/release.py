"""A finished student: a folder that one call turns into a model that answers.

The folder holds ``config.json`` and ``model.safetensors`` (:meth:`HybridLM.save`), ``tokenizer.json``,
``tokenizer_config.json``, ``chat_template.jinja`` and, optionally, ``generation.json``. ::

    release = load_release("nexus-release-v1")
    ids = release.tokenizer.chat_ids([{"role": "user", "content": "What is the capital of France?"}])
    answer = generate(release.model, [ids], max_new_tokens=64, eos_ids=release.generation.eos_ids)[0]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nexus.core.base import BaseConfig, in_range
from nexus.core.files import atomic_write_text
from nexus.core.state_space import HybridLM
from nexus.inference.text import TextTokenizer

GENERATION_FILE = "generation.json"


@dataclass(frozen=True, kw_only=True)
class GenerationDefaults(BaseConfig):
    """What a release knows about how it wants to be asked.

    ``eos_ids`` end an answer (empty: the tokenizer's end token). ``system`` is put before every chat; None leaves that
    to the template. ``window`` is the width of the short window that it was checked with; None keeps the config's.
    """

    eos_ids: tuple[int, ...] = ()
    system: str | None = None
    window: int | None = None

    def faults(self) -> list[str]:
        """Everything that is out of range, one line each."""
        return in_range(self, "window", 0)

    def save(self, folder: str | Path) -> Path:
        """Write ``generation.json`` into a release folder."""
        path = Path(folder) / GENERATION_FILE
        atomic_write_text(path, json.dumps(self.to_dict(), indent=2) + "\n")
        return path

    @classmethod
    def load(cls, folder: str | Path) -> GenerationDefaults:
        """Read ``generation.json``; the defaults if there is none.

        Raises:
            ValueError: the file is not JSON, or holds unknown keys or values out of range.
        """
        path = Path(folder) / GENERATION_FILE
        if not path.is_file():
            return cls()
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not readable JSON ({error}); restore the file, or delete it") from None
        return cls.from_dict(content)


@dataclass(frozen=True)
class Release:
    """A loaded release, ready to answer: the model in evaluation mode with its window set, ``eos_ids`` filled in."""

    model: HybridLM
    tokenizer: TextTokenizer
    generation: GenerationDefaults
    folder: Path


def load_release(folder: str | Path, device: str | torch.device = "cpu") -> Release:
    """Load a release folder.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a file is damaged, or the tokenizer does not fit the model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; give the folder of a release")
    tokenizer, generation = TextTokenizer.from_folder(folder), GenerationDefaults.load(folder)
    model = HybridLM.load(folder, device)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer knows {tokenizer.vocab_size} ids, the model {model.config.vocab_size}; "
            "put the tokenizer there that the model was made with"
        )
    if generation.window is not None:
        model.set_window(generation.window)
    if not generation.eos_ids:
        generation = generation.replace(eos_ids=tokenizer.eos_ids)
    return Release(model, tokenizer, generation, folder)
