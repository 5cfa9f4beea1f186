"""An intent router on a frozen language model's own hidden states, which abstains when it is not sure.

The one idea: the model has read the text anyway; a small head on the average of its middle states tells what kind of
request it is, with a probability that was fitted to be true, and below a threshold it says nothing.

    router = Router.load("results/router_weights", model, tokenizer)
    intent, probability = router.route("How many apples are left?")     # intent is None when it abstains
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import BaseConfig, fault, in_range, positive
from nexus.core.files import atomic_file, atomic_write_text
from nexus.core.state_space import HybridLM
from nexus_final.router_features import Encoder, TextFeatures

FORMAT = 1
CONFIG_FILE, WEIGHTS_FILE = "router.json", "router.safetensors"


@dataclass(frozen=True, kw_only=True)
class RouterConfig(BaseConfig):
    """What a trained router needs beside its weights.

    Attributes:
        labels: intents in the order of the head's outputs. abstain: the one among them that means "none of these".
        depth: after how many blocks of the model its states are averaged. d_model: their width.
        hidden: width of the head. temperature: divides its logits. threshold: least probability of an answer.
    """

    labels: tuple[str, ...]
    abstain: str | None = None
    depth: int
    d_model: int
    hidden: int = 128
    max_tokens: int = 48
    start_id: int = 0
    temperature: float = 1.0
    threshold: float = 0.0

    def faults(self) -> list[str]:
        """Ranges and relations."""
        found = [
            *positive(self, "d_model", "hidden", "max_tokens", "temperature"),
            *in_range(self, "threshold", 0, 1),
            *in_range(self, "depth", 0),
        ]
        if len(set(self.labels)) < 2:
            found.append(fault("labels", self.labels, "are fewer than two intents", "give two or more"))
        if self.abstain is not None and self.abstain not in self.labels:
            found.append(
                fault("abstain", self.abstain, "is no label", f"give one of {', '.join(self.labels)}, or None")
            )
        return found


class IntentHead(nn.Module):
    """Standardise, LayerNorm, one hidden layer: features (N, inputs) to logits (N, classes).

    Args:
        inputs, hidden, classes: widths. dropout: of features and hidden units, while training.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.norm = nn.LayerNorm(inputs)
        self.up = nn.Linear(inputs, hidden)
        self.down = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def standardise_by(self, features: Tensor) -> None:
        """Take mean and spread from the training features; without it a few wide channels drown all others."""
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0).clamp(min=1e-6))

    def forward(self, features: Tensor) -> Tensor:
        """Logits before the temperature."""
        x = self.norm((features - self.mean) / self.scale)
        return self.down(self.dropout(F.gelu(self.up(self.dropout(x)))))


class Router:
    """A trained head, and the model whose states it reads.

    Args:
        head: the head, in evaluation mode.
        config: what it was trained for.
        model, tokenizer: the model that it was trained on, and its tokenizer. Without them only :meth:`probabilities`
            of given features works.

    Raises:
        ValueError: the model is of another width than the head was trained on.
    """

    def __init__(
        self,
        head: IntentHead,
        config: RouterConfig,
        model: HybridLM | None = None,
        tokenizer: Encoder | None = None,
    ) -> None:
        self.head, self.config = head.eval(), config
        self._features: TextFeatures | None = None
        if model is not None and model.config.d_model != config.d_model:
            raise ValueError(
                f"model: has d_model={model.config.d_model}, the router was trained on {config.d_model}; "
                "give the model that it was trained on"
            )
        if model is not None and tokenizer is not None:
            self._features = TextFeatures(model, tokenizer, (config.depth,), config.max_tokens, config.start_id)

    def route(self, text: str) -> tuple[str | None, float]:
        """The intent of a text, or None, and the probability of the best intent."""
        return self.route_all([text])[0]

    def route_all(self, texts: Sequence[str]) -> list[tuple[str | None, float]]:
        """:meth:`route` for many texts in a few passes."""
        best, places = self.probabilities(self.features(texts)).max(1)
        return [self._answer(place, p) for place, p in zip(places.tolist(), best.tolist(), strict=True)]

    def features(self, texts: Sequence[str], advance: Callable[[int], object] | None = None) -> Tensor:
        """What the head reads of texts, (N, d_model).

        Raises:
            ValueError: the router was loaded without a model.
        """
        if self._features is None:
            raise ValueError("model: the router has none to read texts with; use Router.load(folder, model, tokenizer)")
        return self._features(texts, advance).flatten(1)

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        """Calibrated probabilities (N, labels) from features (N, d_model)."""
        return (self.head(features) / self.config.temperature).softmax(-1)

    def _answer(self, place: int, probability: float) -> tuple[str | None, float]:
        label = self.config.labels[place]
        silent = probability < self.config.threshold or label == self.config.abstain
        return (None if silent else label), probability

    def save(self, folder: Path | str) -> Path:
        """Write `router.safetensors`, then `router.json`; each whole or not at all."""
        folder = Path(folder)
        with atomic_file(folder / WEIGHTS_FILE) as path:
            save_file({name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}, str(path))
        header = {"format": FORMAT, "config": self.config.to_dict()}
        atomic_write_text(folder / CONFIG_FILE, json.dumps(header, indent=2) + "\n")
        return folder

    @classmethod
    def load(cls, folder: Path | str, model: HybridLM | None = None, tokenizer: Encoder | None = None) -> Self:
        """Read what :meth:`save` wrote; with the model and its tokenizer it routes texts.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, of another format, or does not fit.
        """
        folder = Path(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} does not exist; train the router first")
        config = RouterConfig.from_dict(_read_header(folder / CONFIG_FILE))
        head = IntentHead(config.d_model, config.hidden, len(config.labels))
        try:
            head.load_state_dict(load_file(str(folder / WEIGHTS_FILE)))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE} ({error}); train again") from None
        return cls(head, config, model, tokenizer)


def _read_header(path: Path) -> dict[str, object]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); train the router again") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is not of format {FORMAT}; train the router again")
    config: dict[str, object] = header["config"]
    return config
