"""The frame of a hybrid language model: embedding, layers that pass their states on, last norm, head.

The one idea: a layer is anything with ``init_state(batch_size)`` and ``forward(x, state)``; what a model is, is which
layers in which order, and that stands in the model's own file.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nexus.core.base import NexusModule

State = tuple[Any, ...]  # one state a layer


class HybridOutput(NamedTuple):
    """``logits`` (B, T, V), ``hidden`` (B, T, D) after the last norm, ``state`` if one was passed."""

    logits: Tensor
    hidden: Tensor
    state: State | None


class Residual(nn.Module):
    """``x + mixer(norm(x))``, then ``x + ffn(norm(x))`` where there is a feed-forward part."""

    def __init__(
        self, norm: nn.Module, mixer: nn.Module, ffn_norm: nn.Module | None = None, ffn: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.norm, self.mixer = norm, mixer
        if ffn is not None:
            self.ffn_norm, self.ffn = ffn_norm, ffn
        self.has_ffn = ffn is not None

    def init_state(self, batch_size: int) -> Any:
        """The mixer's state."""
        return self.mixer.init_state(batch_size)  # type: ignore[operator]

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """(B, T, D) in and out."""
        y, state = self.mixer(self.norm(x), state)
        x = x + y
        if self.has_ffn:
            assert self.ffn_norm is not None
            x = x + self.ffn(self.ffn_norm(x))
        return x, state


class Stateless(nn.Module):
    """A module without memory as a mixer."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def init_state(self, batch_size: int) -> tuple[()]:
        """Nothing."""
        return ()

    def forward(self, x: Tensor, state: tuple[()] | None = None) -> tuple[Tensor, tuple[()] | None]:
        """Apply it."""
        return self.module(x), state


class HybridStack(NexusModule):
    """Base of the hybrids: a subclass sets ``layers`` and ``norm`` and may change :meth:`enter` and :meth:`leave`.

    ::

        out = model(ids)                                        # (B, T) ids, whole
        state = model.init_state(batch_size=1)
        out = model(prompt, state)                              # prefill, whole or in pieces
        out = model(next_id, out.state)                         # one step
    """

    layers: nn.ModuleList
    norm: nn.Module

    def _frame(self, vocab_size: int, d_model: int, tie_embeddings: bool) -> None:
        """Embedding and head."""
        self.embed = nn.Embedding(vocab_size, d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        if tie_embeddings:
            self.lm_head.weight = self.embed.weight

    def init_state(self, batch_size: int) -> State:
        """The state before the first token, one part a layer."""
        return tuple(layer.init_state(batch_size) for layer in self.layers)  # type: ignore[operator]

    def forward(self, input_ids: Tensor, state: State | None = None) -> HybridOutput:
        """Logits of the next token after each of ``input_ids`` (B, T).

        Raises:
            ValueError: ids of the wrong shape.
        """
        if input_ids.dim() != 2:
            raise ValueError(
                f"input_ids: has shape {tuple(input_ids.shape)}; pass (batch, length), for one row ids[None]"
            )
        hidden, after = self.run(self.enter(self.embed(input_ids)), state)
        hidden = self.norm(hidden)
        return HybridOutput(self.leave(self.lm_head(hidden)), hidden, after)

    def run(self, x: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Through all layers."""
        after = []
        for i, layer in enumerate(self.layers):
            x, own = layer(x, None if state is None else state[i])
            after.append(own)
        return x, None if state is None else tuple(after)

    def enter(self, x: Tensor) -> Tensor:
        """What is done to the embeddings."""
        return x

    def leave(self, logits: Tensor) -> Tensor:
        """What is done to the logits."""
        return logits

    @torch.no_grad()
    def generate(self, input_ids: Tensor, tokens: int) -> Tensor:
        """Append the most likely ``tokens`` to ``input_ids`` (B, T), one step each."""
        out = self(input_ids, self.init_state(input_ids.shape[0]))
        for _ in range(tokens):
            latest = out.logits[:, -1:].argmax(-1)
            input_ids = torch.cat((input_ids, latest), dim=1)
            out = self(latest, out.state)
        return input_ids
