"""Teach each new layer, alone, to say what the attention it replaces said.

The one idea: walk the teacher layer by layer with all texts at once. At every converted layer the teacher's inputs and
outputs are both at hand, so its state-space path learns by plain regression, no other layer in the way (MOHAWK's second
step, arXiv:2408.10189). Many small steps over few texts beat few large ones: measured, see dev/LOG.md.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nexus.core.files import atomic_file
from nexus.core.state_space import HybridLM
from nexus.layers.attention import GroupedQueryAttention
from nexus.layers.attention.visibility import look
from nexus.layers.ssm import Mamba2, WindowedMamba2
from nexus.training.control import RunControl
from nexus.training.precision import Precision, mixed_precision

LOG = logging.getLogger("nexus_final.alignment")
CONVERTED = ("M", "W")  # kinds of layers that were attention in the teacher
GAIN_TEXTS = 4  # texts that the gains of each window are fitted on: two numbers need few


@dataclass(frozen=True)
class AlignmentSettings:
    """How long and how fast: ``steps`` of one text each per layer, a cosine from ``learning_rate``."""

    steps: int = 100
    learning_rate: float = 7e-3
    warm_up: int = 8
    max_grad_norm: float = 1.0
    precision: Precision = "auto"


class Aligner:
    """Align the student's state-space layers with the teacher, resumable after any layer.

    Args:
        teacher, student: the student as :func:`nexus_final.conversion.start_student` made it, with or without its
            windows, or one that was aligned before and goes on learning; changed in place.
        texts: (n, T) ids.
        folder: one file per finished layer goes here.
    """

    def __init__(
        self,
        teacher: HybridLM,
        student: HybridLM,
        texts: Tensor,
        folder: Path,
        settings: AlignmentSettings,
        control: RunControl | None = None,
        progress: Callable[[str], None] = lambda note: None,
    ) -> None:
        self.teacher, self.student, self.texts, self.folder = teacher, student, texts, folder
        self.settings, self.control, self.progress = settings, control, progress
        positions = torch.arange(texts.shape[1], device=teacher.device).unsqueeze(0)
        self.rotary = teacher.backbone.rotary(positions, teacher.dtype)
        sinks = student.config.sinks
        widths = {None, *(w for w in student.config.window_choices if w)}
        self.sights = {w: look(positions, None, w, sinks) for w in widths}

    def run(self) -> dict[int, float]:
        """Align every state-space layer; returns the last mean relative error of each (0: perfect, 1: says nothing)."""
        hidden = [self._embed(text) for text in self.texts]
        errors: dict[int, float] = {}
        last = max(i for i, block in enumerate(self.student.backbone.blocks) if block.kind in CONVERTED)
        for i, (ours, theirs) in enumerate(
            zip(self.student.backbone.blocks, self.teacher.backbone.blocks, strict=True)
        ):
            if i > last:
                break
            if self.control is not None:
                self.control.check()  # finished layers are on disk: nothing to save here
            inputs, outputs, hidden = self._walk(theirs, hidden)
            if ours.kind in CONVERTED:
                assert isinstance(ours.mixer, Mamba2 | WindowedMamba2)
                assert isinstance(theirs.mixer, GroupedQueryAttention)
                errors[i] = self._layer(i, ours.mixer, theirs.mixer, inputs, outputs)
                self.progress(f"layer {i}: error {errors[i]:.2f}")
                LOG.info("align layer=%d error=%.4f", i, errors[i])
        return errors

    @torch.no_grad()
    def _embed(self, text: Tensor) -> Tensor:
        return self.teacher.embed(text.unsqueeze(0))

    @torch.no_grad()
    def _walk(self, block: torch.nn.Module, hidden: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The block's mixer inputs, mixer outputs, and the hidden states after the block."""
        inputs, outputs, after = [], [], []
        with mixed_precision(hidden[0].device, self.settings.precision):
            for h in hidden:
                x = block.mixer_norm(h)  # type: ignore[operator]
                y, _ = block.mixer(x, self.rotary, self.sights[None])  # type: ignore[operator]
                h = h + y
                inputs.append(x)
                outputs.append(y.to(h.dtype))
                after.append(h + block.mlp(block.mlp_norm(h)))  # type: ignore[operator]
        return inputs, outputs, after

    def _layer(
        self,
        index: int,
        mixer: Mamba2 | WindowedMamba2,
        attention: GroupedQueryAttention,
        inputs: list[Tensor],
        outputs: list[Tensor],
    ) -> float:
        path = self.folder / f"layer_{index:03d}.safetensors"
        if path.exists():
            stored = load_file(path)
            error = stored.pop("error").item()
            mixer.load_state_dict(stored, strict=False)
            return error
        if isinstance(mixer, Mamba2):
            error = self._fit(mixer, inputs, outputs)
        else:
            error = self._fit(mixer.mamba, inputs, outputs)
            self._fit_gains(mixer, attention, inputs, outputs)
        learnt = {name: t for name, t in mixer.state_dict().items() if not name.startswith("attention.")}
        with atomic_file(path) as temporary:
            save_file({**learnt, "error": torch.tensor(error)}, str(temporary))
        return error

    def _fit(self, path: Mamba2, inputs: list[Tensor], outputs: list[Tensor]) -> float:
        s = self.settings
        parameters = list(path.parameters())
        optimiser = torch.optim.AdamW(parameters, lr=s.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        tail: list[float] = []
        for step in range(s.steps):
            cosine = 0.5 * (1 + math.cos(math.pi * step / s.steps))
            optimiser.param_groups[0]["lr"] = s.learning_rate * min(1.0, (step + 1) / s.warm_up) * max(0.02, cosine)
            pick = step % len(inputs)
            with mixed_precision(inputs[pick].device, s.precision):
                y, _ = path(inputs[pick])
            loss = (_weights(outputs[pick]) * (y - outputs[pick]).square().sum(-1)).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, s.max_grad_norm)
            optimiser.step()
            tail = [*tail[-9:], loss.item()]
        optimiser.zero_grad()
        return sum(tail) / max(len(tail), 1)

    @torch.no_grad()
    def _fit_gains(
        self,
        mixer: WindowedMamba2,
        attention: GroupedQueryAttention,
        inputs: list[Tensor],
        outputs: list[Tensor],
    ) -> None:
        """Least squares for both gains of each width: how much of the window, how much of the state, says it best."""
        states = [mixer.mamba(x)[0] for x in inputs[:GAIN_TEXTS]]
        for pick, width in enumerate(mixer.choices):
            if not width:
                continue
            gram, right = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
            for x, state, target in zip(inputs, states, outputs, strict=False):
                root = _weights(target).sqrt().unsqueeze(-1)
                both = [state * root, attention(x, self.rotary, self.sights[width])[0] * root]
                paths = torch.stack([t.flatten().double() for t in both])
                gram += paths @ paths.T
                right += paths @ (target * root).flatten().double()
            solved = torch.linalg.solve(gram, right)
            mixer.mamba_gain[pick], mixer.attention_gain[pick] = solved[0], solved[1]


def _weights(target: Tensor) -> Tensor:
    """One weight a token, so that errors count relative to the token's own size, calmly where that is small.

    A few tokens (the first above all) are a hundred times as large as the rest and would be all a plain square sees.
    """
    size = target.square().sum(-1)
    return 1 / (size + size.median())
