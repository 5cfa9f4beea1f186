"""A text that can be run through a model from any layer on.

The one idea: a change at layer i leaves everything below it as it was, so the inputs of all layers are kept from one
full pass, and each later measurement recomputes only the layers above the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nexus.core.state_space import HybridLM, Scene
from nexus.layers.attention.visibility import Visibility, look


class Measured(NamedTuple):
    """Mean next-token loss in nats, and mean KL(reference || this) in nats (0 without a reference)."""

    loss: float
    kl: float


class Probe:
    """Rows of token ids, a model, and what has been kept of the last full pass.

    Args:
        model: every layer attention (plan 'A'), as Llama-family teachers are.
        ids: (B, T) token ids.
        first, stride: which positions are scored: ``first``, ``first + stride``, ... The vocabulary is wide, so scoring
            every fourth position makes a pass a quarter cheaper.

    Raises:
        ValueError: the model has other layers than attention, or fewer than two tokens a row are given.
    """

    def __init__(self, model: HybridLM, ids: Tensor, first: int = 0, stride: int = 1) -> None:
        if set(model.config.layers) != {"A"}:
            raise ValueError(
                f"plan={model.config.layers!r}: the profiler reads attention layers only; give a teacher of plan 'A'"
            )
        if ids.dim() != 2 or ids.shape[1] < first + 2:
            raise ValueError(f"ids: shape {tuple(ids.shape)}; give rows (B, T) of at least {first + 2} tokens")
        self.model, self.ids = model, ids
        self.blocks = list(model.backbone.blocks)
        self.positions = torch.arange(first, ids.shape[1] - 1, stride, device=ids.device)
        self._inputs: list[Tensor] = []
        self._reference: Tensor | None = None
        self._sights: dict[int, Visibility] = {}
        self._where = torch.arange(ids.shape[1], device=ids.device)[None]

    @torch.no_grad()
    def start(self, windows: Sequence[int] | None = None) -> Tensor:
        """Run all layers, keep the input of each, and return the last one's output (B, T, d_model).

        ``windows``: a width for each layer, 0 for everything; the sinks of the model's config stay visible.
        """
        self._inputs = []
        return self._run(self.model.embed(self.ids), 0, windows, keep=True)

    @torch.no_grad()
    def resume(self, layer: int, windows: Sequence[int] | None = None) -> Tensor:
        """Like :meth:`start` from ``layer`` on, on the inputs that it kept; below, nothing may have changed."""
        return self._run(self._inputs[layer], layer, windows, keep=False)

    def layer_inputs(self) -> list[Tensor]:
        """The input of each layer in the last full pass, (B, T, d_model) each."""
        return self._inputs

    @torch.no_grad()
    def keep_reference(self, hidden: Tensor) -> None:
        """Take the distributions that follow from ``hidden`` (the full model's) as what KL is measured against."""
        self._reference = torch.stack([self._log_probs(row) for row in hidden])

    @torch.no_grad()
    def measure(self, hidden: Tensor) -> Measured:
        """Loss of the true next tokens, and KL to the reference, mean over all scored positions."""
        loss = kl = 0.0
        for i, row in enumerate(hidden):  # row by row: (positions, vocabulary) is the largest tensor here
            log_probs = self._log_probs(row)
            loss -= log_probs.gather(-1, self.ids[i, self.positions + 1, None]).mean().item()
            if self._reference is not None:
                known = self._reference[i]
                kl += (known.exp() * (known - log_probs)).sum(-1).mean().item()
        return Measured(loss / len(hidden), kl / len(hidden))

    def _run(self, x: Tensor, layer: int, windows: Sequence[int] | None, keep: bool) -> Tensor:
        windows = [0] * len(self.blocks) if windows is None else windows
        scene = self._scene(x, windows)
        for i in range(layer, len(self.blocks)):
            if keep:
                self._inputs.append(x)
            x, _ = self.blocks[i](x, scene, windows[i], None)
        return x

    def _scene(self, x: Tensor, windows: Sequence[int]) -> Scene:
        for width in set(windows) - set(self._sights):
            self._sights[width] = look(self._where, None, width or None, self.model.config.sinks)
        return Scene(self.model.backbone.rotary(self._where, x.dtype), self._sights)

    def _log_probs(self, row: Tensor) -> Tensor:
        with torch.autocast(row.device.type, enabled=False):  # a logit of 20 in bfloat16 is off by 0.06
            hidden = self.model.backbone.norm(row[self.positions])
            return self.model.lm_head(hidden).float().log_softmax(-1)
