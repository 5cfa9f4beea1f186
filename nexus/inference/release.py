"""A finished student: a folder that one call turns into a model that answers.

The folder holds ``config.json`` and ``model.safetensors`` (:meth:`HybridLM.save`), ``tokenizer.json``,
``tokenizer_config.json``, ``chat_template.jinja`` and, optionally, ``generation.json``. ::

    release = load_release("nexus-release-v1")
    ids = release.tokenizer.chat_ids([{"role": "user", "content": "What is the capital of France?"}])
    answer = generate(release.model, [ids], max_new_tokens=64, eos_ids=release.generation.eos_ids)[0]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nexus.core.base import BaseConfig, in_range
from nexus.core.files import atomic_write_text, sha256_file
from nexus.core.state_space import HybridLM
from nexus.inference.quantization import quantize
from nexus.inference.text import TextTokenizer

GENERATION_FILE = "generation.json"
PARTS = (".safetensors", ".json", ".jinja")  # files that a release consists of


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
    """A release, ready to answer; ``eos_ids`` are filled in.

    Attributes:
        source: the model, or what loads it when :attr:`model` is first asked for.
        int8: whether its weights are held in eight bits, see :mod:`nexus.inference.quantization`.
    """

    source: HybridLM | Callable[[], HybridLM]
    tokenizer: TextTokenizer
    generation: GenerationDefaults
    folder: Path
    int8: bool = False

    @cached_property
    def model(self) -> HybridLM:
        """In evaluation mode, with its window set."""
        return self.source if isinstance(self.source, HybridLM) else self.source()

    @cached_property
    def hash(self) -> str:
        """SHA-256 over its files, by name, and how its weights are held: what certificates and versions are bound to.

        What lies in folders below does not count. Reads every file, once.
        """
        total = hashlib.sha256(b"int8\0" if self.int8 else b"")
        for file in sorted(path for path in self.folder.iterdir() if path.suffix in PARTS):
            total.update(f"{file.name}\0{sha256_file(file)}\n".encode())
        return total.hexdigest()


def load_release(folder: str | Path, device: str | torch.device = "cpu", int8: bool = False) -> Release:
    """Load a release folder; with ``int8`` its weights are held in eight bits.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a file is damaged, or the tokenizer does not fit the model.
    """
    release = open_release(folder, device, int8)
    return replace(release, source=release.model)


def open_release(folder: str | Path, device: str | torch.device = "cpu", int8: bool = False) -> Release:
    """A release whose model is loaded when it is first asked for; all that can be is checked now.

    Raises:
        as :func:`load_release`; damaged weights are found when they are loaded.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; give the folder of a release")
    tokenizer, generation = TextTokenizer.from_folder(folder), GenerationDefaults.load(folder)
    config = HybridLM.saved_config(folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer knows {tokenizer.vocab_size} ids, the model {config.vocab_size}; "
            "put the tokenizer there that the model was made with"
        )
    if not generation.eos_ids:
        generation = generation.replace(eos_ids=tokenizer.eos_ids)

    def load() -> HybridLM:
        model = HybridLM.load(folder, device)
        if generation.window is not None:
            model.set_window(generation.window)
        return quantize(model) if int8 else model

    return Release(load, tokenizer, generation, folder, int8)
