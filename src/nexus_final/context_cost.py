"""What a longer text costs each model: bytes of its decode state, seconds a token.

The one idea: the state is a value, so its bytes can be counted layer by layer. Attention layers remember every token,
all others must not; growing caches of long texts can be filled with random numbers, since neither their size nor the
time of a step depends on what is in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from nexus.core.lm_state import LayerState, LMState
from nexus.core.state_space import HybridLM
from nexus.layers.attention import AttentionState

LENGTHS = (512, 1_024, 2_048, 4_096, 8_192, 16_384)
NOTE = (
    "Up to {:,} tokens the model really read the text. For longer contexts the caches of attention layers that see "
    "everything were extended with random numbers to the size that they would have; time and bytes of a decode step do "
    "not depend on their content."
)


def measure_context(
    models: Mapping[str, HybridLM],
    lengths: Sequence[int] = LENGTHS,
    *,
    prefill_up_to: int = 2_048,
    steps: int = 9,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[str], None] = lambda note: None,
) -> dict[str, Any]:
    """Measure each model, its window already set, at each length of text, for one text at a time.

    Args:
        models: by the name that the report shows; ``teacher`` is drawn apart.
        lengths: tokens read before the measured step.
        prefill_up_to: longest text that is really read; see ``NOTE`` for longer ones.
        steps: decode steps timed at each length; their median counts. One more comes first, untimed.
        check: called between measurements; whatever it raises ends the measurement.
        progress: told what was measured.

    Returns:
        ``lengths, prefill_up_to, steps, threads, note`` and ``models``: for each name ``plan, window, parameters,
        dtype, device`` and ``rows`` of ``tokens, bytes, bytes_attention, bytes_other, decode_seconds,
        prefill_seconds_per_token`` (None where the text wasn't really read) and ``prefilled``.

    Raises:
        ValueError: no lengths, or one that is not positive; no steps.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths={tuple(lengths)}: give at least one, all positive")
    if steps < 1 or prefill_up_to < 1:
        raise ValueError(f"steps={steps}, prefill_up_to={prefill_up_to}: give positive numbers")
    found = {}
    for name, model in models.items():
        rows = []
        for row in _Reader(model, prefill_up_to, steps, seed).rows(sorted(set(lengths)), check):
            rows.append(row)
            progress(f"{name}, {row['tokens']:,} tokens: {row['bytes'] / 2**20:.1f} MiB of state")
        found[name] = {**_facts(model), "rows": rows}
    return {
        "lengths": sorted(set(lengths)),
        "prefill_up_to": prefill_up_to,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "note": NOTE.format(prefill_up_to),
        "models": found,
    }


def state_bytes(model: HybridLM, state: LMState) -> tuple[int, int]:
    """Bytes of a state in its attention ('A') layers, with the positions that these look up, and in all the rest."""
    pairs = zip(model.config.layers, state.layers, strict=True)
    layers = tuple(layer for kind, layer in pairs if kind == "A")
    width = model.config.attention_window
    seen = {width: state.seen[width]} if layers else {}
    attention = LMState(layers, state.next_position[:0], seen).nbytes()
    return attention, state.nbytes() - attention


def extend_state(model: HybridLM, state: LMState, tokens: int, spare: int = 0) -> LMState:
    """A copy of ``state`` as if ``tokens`` more had been read: growing caches get random entries, all else its size.

    Args:
        spare: room for this many further tokens in the growing caches, which ``nbytes`` does not count.
    """
    growing = model.config.attention_window == 0
    kinds = model.config.layers
    layers = tuple(
        _longer(layer, tokens, spare) if kind == "A" and growing else layer
        for kind, layer in zip(kinds, state.fork().layers, strict=True)
    )
    seen = {width: _later(positions, model.config.sinks, tokens) for width, positions in state.seen.items()}
    if growing and "A" in kinds:
        extra = state.seen[0][:, -1:] + 1 + torch.arange(tokens, device=state.seen[0].device)
        seen[0] = torch.cat((state.seen[0], extra), dim=1)
    return replace(state, layers=layers, seen=seen, next_position=state.next_position + tokens)


def _longer(layer: LayerState, tokens: int, spare: int) -> AttentionState:
    assert isinstance(layer, AttentionState)

    def longer(cache: Tensor) -> Tensor:
        rows, heads, _, width = cache.shape
        generator = torch.Generator(cache.device).manual_seed(0)  # the global one stays untouched: runs are repeatable
        size = (rows, heads, tokens + spare, width)
        new = torch.randn(size, generator=generator, dtype=cache.dtype, device=cache.device)
        return torch.cat((cache[:, :, : layer.length], new), dim=2)

    return AttentionState(longer(layer.key), longer(layer.value), layer.length + tokens)


def _later(positions: Tensor, sinks: int, tokens: int) -> Tensor:
    """Positions in a window's cache ``tokens`` later: sinks and empty slots stay."""
    return torch.where(positions >= sinks, positions + tokens, positions)


class _Reader:
    """Reads one random text with one model, and measures at given lengths on the way."""

    def __init__(self, model: HybridLM, prefill_up_to: int, steps: int, seed: int) -> None:
        self.model, self.longest, self.steps = model, prefill_up_to, steps
        generator = torch.Generator().manual_seed(seed)
        size = (1, prefill_up_to + steps + 1)
        self.ids = torch.randint(0, model.config.vocab_size, size, generator=generator).to(model.device)
        self.read, self.seconds = 0, 0.0
        self.state: LMState | None = None

    def rows(self, lengths: Sequence[int], check: Callable[[], None]) -> Any:
        """Yield one row a length."""
        training = self.model.training
        self.model.eval()
        try:
            for length in lengths:
                check()
                yield self._row(length)
        finally:
            self.model.train(training)

    @torch.inference_mode()
    def _row(self, length: int) -> dict[str, Any]:
        real = length <= self.longest
        self._prefill(min(length, self.longest))
        assert self.state is not None
        state = extend_state(self.model, self.state, length - self.read, self.steps + 1)
        attention, other = state_bytes(self.model, state)
        return {
            "tokens": length,
            "bytes": attention + other,
            "bytes_attention": attention,
            "bytes_other": other,
            "decode_seconds": self._decode(state),
            "prefill_seconds_per_token": self.seconds / self.read if real else None,
            "prefilled": real,
        }

    def _prefill(self, length: int) -> None:
        """Read on from where the last length ended."""
        state = self.model.init_state(1) if self.state is None else self.state
        if length > self.read:
            _synchronise(self.model)
            begun = time.perf_counter()
            state = self.model(self.ids[:, self.read : length], state=state, last_only=True).state
            _synchronise(self.model)
            self.seconds += time.perf_counter() - begun
        self.state, self.read = state, length

    def _decode(self, state: LMState) -> float:
        """Median seconds of a step; ``state`` is used up."""
        taken = []
        for step in range(self.steps + 1):
            _synchronise(self.model)
            begun = time.perf_counter()
            state = self.model(self.ids[:, step : step + 1], state=state).state
            _synchronise(self.model)
            taken.append(time.perf_counter() - begun)
        return median(taken[1:])


def _facts(model: HybridLM) -> dict[str, Any]:
    return {
        "plan": model.config.layers,
        "window": model.backbone.window if "W" in model.config.layers else None,
        "parameters": model.num_parameters(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
    }


def _synchronise(model: HybridLM) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
