"""The backbone: blocks of state-space and attention layers after a plan, and a language model over it.

The one idea: seven linear-time layers for every attention layer, all of them able to go on from an explicit state, so
that training, prefill by segments and one-step decode are the same call. The layout is that of dense GraniteMoeHybrid,
plus a layer kind with a short attention window. Papers: Jamba (arXiv:2403.19887), Mamba-2 (arXiv:2405.21060).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nexus.core.base import NexusModule
from nexus.core.hybrid_config import HybridConfig
from nexus.core.lm_state import LayerState, LMState
from nexus.core.memory import MemoryState, TitansMemory
from nexus.layers.attention import AttentionState, GroupedQueryAttention, Visibility
from nexus.layers.attention.visibility import EMPTY, empty_positions, look, look_once
from nexus.layers.components import RMSNorm, SwiGLU
from nexus.layers.components.project import project
from nexus.layers.positional import RotaryEmbedding
from nexus.layers.ssm import Mamba2, Mamba2State, WindowedMamba2, WindowedMamba2State

__all__ = ["HybridBackbone", "HybridConfig", "HybridLM", "LMOutput", "LMState", "Scene"]

SEGMENT = 512  # long inputs without gradients go through in pieces of this many tokens: memory stays flat


@dataclass
class LMOutput:
    """Result of a :class:`HybridLM` call: ``logits`` (B, T, V), ``hidden`` (B, T, D) after the last norm, ``state``.

    T is 1 for a call with ``last_only``.
    """

    logits: Tensor
    hidden: Tensor
    state: LMState | None = None


@dataclass(frozen=True)
class Scene:
    """What all layers of one call share: angles, visibility for each window width, and where the padding is."""

    rotary: tuple[Tensor, Tensor]
    sights: dict[int, Visibility]
    mask: Tensor | None = None


class Block(nn.Module):
    """``x + mixer(norm(x))``, then ``x + mlp(norm(x))``; the mixer is of the given kind."""

    def __init__(self, config: HybridConfig, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.mixer_norm = RMSNorm(config.d_model, config.norm_eps)
        self.mixer = _mixer(config, kind)
        self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = SwiGLU(config.d_model, config.d_ff)

    def forward(
        self, x: Tensor, scene: Scene, window: int, state: LayerState | None, last_only: bool = False
    ) -> tuple[Tensor, LayerState | None]:
        """``x`` (B, T, D) to the same shape; ``window`` picks this layer's visibility from the scene.

        With ``last_only`` the mixer reads everything, and what it says of the last token goes on alone: (B, 1, D).
        """
        y, state = self._mix(self.mixer_norm(x), scene, window, state)
        x = x[:, -1:] + y[:, -1:] if last_only else x + y
        return x + self.mlp(self.mlp_norm(x)), state

    def _mix(self, x: Tensor, scene: Scene, window: int, state: LayerState | None) -> tuple[Tensor, LayerState | None]:
        if isinstance(self.mixer, GroupedQueryAttention):
            assert state is None or isinstance(state, AttentionState)
            return self.mixer(x, scene.rotary, scene.sights[window], state)
        if isinstance(self.mixer, WindowedMamba2):
            assert state is None or isinstance(state, WindowedMamba2State)
            return self.mixer(x, scene.rotary, scene.sights[window] if window else None, state, scene.mask, window)
        assert state is None or isinstance(state, (Mamba2State, MemoryState))
        return self.mixer(x, state, scene.mask)


def _mixer(config: HybridConfig, kind: str) -> nn.Module:
    c = config
    if kind == "T":
        return TitansMemory(c.memory)
    if kind in "AW":
        attention = GroupedQueryAttention(c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, c.qkv_bias)
        if kind == "A":
            return attention
    mamba = Mamba2(
        c.d_model, c.ssm_heads, c.ssm_head_dim, c.d_state, c.ssm_groups, c.d_conv, c.chunk_size, c.ssm_bias, c.norm_eps
    )
    return mamba if kind == "M" else WindowedMamba2(mamba, attention, c.window_choices)


class HybridBackbone(NexusModule):
    """Blocks after ``config.layers`` and a last norm: features (B, T, d_model) in and out.

    Attributes:
        window: width of the short window of 'W' layers; may be changed at any time, states made before are then void.
        gradient_checkpointing: recompute each block in backward instead of keeping its activations.
        kept: the text read last and the state after it, where its owner keeps them; :meth:`reset_state` forgets both.
    """

    config_class = HybridConfig
    config: HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.kept: tuple[tuple[int, ...], LMState] | None = None
        self.blocks = nn.ModuleList(Block(self.config, kind) for kind in self.config.layers)
        self.norm = RMSNorm(self.config.d_model, self.config.norm_eps)
        self.rotary = RotaryEmbedding(self.config.head_dim, self.config.rope_theta, self.config.rotary_fraction)
        self.window = self.config.window
        self.gradient_checkpointing = False

    @property
    def use_parallel_scan(self) -> bool:
        """Whether state-space layers use the chunked matrix form (the default) or go step by step."""
        return all(m.use_parallel_scan for m in self.modules() if isinstance(m, Mamba2))

    @use_parallel_scan.setter
    def use_parallel_scan(self, value: bool) -> None:
        for module in self.modules():
            if isinstance(module, Mamba2):
                module.use_parallel_scan = value

    def reset_state(self) -> None:
        """Forget the text that was read last, if its state was kept; weights stay as they are."""
        self.kept = None

    def windows(self) -> list[int]:
        """Window width of each layer; 0 is "everything" for 'A' and "no window" for 'W' layers."""
        widths = {"A": self.config.attention_window, "W": self.window}
        return [widths.get(kind, 0) for kind in self.config.layers]

    def init_state(self, batch_size: int) -> LMState:
        """The state before the first token."""
        device = self.norm.weight.device
        layers: list[LayerState] = []
        for block, window in zip(self.blocks, self.windows(), strict=True):
            mixer, slots = block.mixer, window + self.config.sinks if window else 0
            if isinstance(mixer, WindowedMamba2):
                cache = mixer.attention.init_state(batch_size, slots) if window else None
                layers.append(WindowedMamba2State(mixer.mamba.init_state(batch_size), cache))
            elif isinstance(mixer, GroupedQueryAttention):
                layers.append(mixer.init_state(batch_size, slots))
            else:
                assert isinstance(mixer, (Mamba2, TitansMemory))
                layers.append(mixer.init_state(batch_size))
        seen = {w: empty_positions(w or None, self.config.sinks, device) for w in self._attending()}
        return LMState(tuple(layers), torch.zeros(1, dtype=torch.long, device=device), seen)

    def forward(
        self, x: Tensor, state: LMState | None = None, mask: Tensor | None = None, last_only: bool = False
    ) -> tuple[Tensor, LMState | None]:
        """Run ``x`` (B, T, d_model) through all blocks.

        Args:
            state: where an earlier call ended; None starts fresh and returns no state.
            mask: (B, T) True at real tokens, padding on the left; None if all are real.
            last_only: features of the last position only, (B, 1, d_model); the last block's second half is then spared
                for all others.

        Returns:
            Features (B, T, d_model) after the last norm, and the new state. The state passed in is used up (without
            gradients its caches are written in place): ``fork()`` it first to go on from it twice.
        """
        if x.shape[1] > SEGMENT and not torch.is_grad_enabled():
            return self._by_segments(x, state, mask, last_only)
        scene, after = self.scene(x, state, mask)
        layers: list[LayerState] = []
        for i, (block, window) in enumerate(zip(self.blocks, self.windows(), strict=True)):
            before = None if state is None else state.layers[i]
            last = last_only and i == len(self.blocks) - 1
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x, layer = checkpoint(block, x, scene, window, before, last, use_reentrant=False)
            else:
                x, layer = block(x, scene, window, before, last)
            layers.append(layer)
        if after is not None:
            after = LMState(tuple(layers), after.next_position, after.seen, after.ragged)
        return self.norm(x), after

    def _by_segments(
        self, x: Tensor, state: LMState | None, mask: Tensor | None, last_only: bool
    ) -> tuple[Tensor, LMState | None]:
        running = self.init_state(x.shape[0]) if state is None else state
        outputs: list[Tensor] = []
        for start in range(0, x.shape[1], SEGMENT):
            part = slice(start, start + SEGMENT)
            y, running = self.forward(x[:, part], running, None if mask is None else mask[:, part], last_only)  # type: ignore[assignment]
            outputs = [y] if last_only else [*outputs, y]
        return torch.cat(outputs, dim=1), None if state is None else running

    def _attending(self) -> set[int]:
        """Window widths in use by attention: 0 stands for an 'A' layer that sees everything."""
        kinds = zip(self.config.layers, self.windows(), strict=True)
        return {window for kind, window in kinds if kind == "A" or (kind == "W" and window)}

    def _seen(self, state: LMState) -> dict[int, Tensor]:
        """Positions of the state's cached keys, if it was made with the windows in use now."""
        if state.seen.keys() != self._attending():
            raise ValueError(
                f"state: made with windows {sorted(state.seen)} (0: everything), the model now uses "
                f"{sorted(self._attending())}; read the text again after set_window"
            )
        return state.seen

    def scene(self, x: Tensor, state: LMState | None, mask: Tensor | None) -> tuple[Scene, LMState | None]:
        """Positions, angles and visibility of the new tokens, and the state's bookkeeping after them."""
        start = torch.zeros(1, dtype=torch.long, device=x.device) if state is None else state.next_position
        ragged = state is not None and state.ragged
        if mask is not None and bool(mask.all()):
            mask = None
        if mask is None:
            positions = start.unsqueeze(1) + torch.arange(x.shape[1], device=x.device)
            following = start + x.shape[1]
        else:
            _refuse_right_padding(mask)
            ragged = True
            positions = torch.where(mask, start.unsqueeze(1) + mask.long().cumsum(1) - 1, EMPTY)
            following = start + mask.sum(1)
        cached = {} if state is None else self._seen(state)
        in_place = state is not None and mask is None and x.shape[1] == 1 and not torch.is_grad_enabled()
        sights = {
            w: look_once(positions, cached[w], self.config.sinks, x.dtype)
            if w and in_place
            else look(positions, cached.get(w), w or None, self.config.sinks, ragged)
            for w in self._attending()
        }
        scene = Scene(self.rotary(positions.clamp(min=0), x.dtype), sights, mask)
        if state is None:
            return scene, None
        return scene, LMState((), following, {w: sight.positions for w, sight in sights.items()}, ragged)


class HybridLM(NexusModule):
    """Embedding, :class:`HybridBackbone`, and a head that may share the embedding's weights.

    ::

        model = HybridLM(HybridConfig.tiny())
        out = model(ids)                                     # (B, T) ids
        state = model.init_state(batch_size=1)
        out = model(prompt, state=state)                     # prefill
        out = model(next_id, state=out.state)                # one step
    """

    config_class = HybridConfig
    config: HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(self.config.vocab_size, self.config.d_model)
        self.backbone = HybridBackbone(self.config)
        self.lm_head = nn.Linear(self.config.d_model, self.config.vocab_size, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        if self.config.tie_embeddings:
            self.lm_head.weight = self.embed.weight

    def init_state(self, batch_size: int) -> LMState:
        """The state before the first token."""
        return self.backbone.init_state(batch_size)

    def set_window(self, window: int) -> None:
        """Change the width of the short window of 'W' layers (0: none); states made before are void."""
        if window < 0:
            raise ValueError(f"window={window}: is negative; give a width, or 0 for none")
        if self.config.window_choices and window not in self.config.window_choices:
            raise ValueError(f"window={window}: the weights serve {self.config.window_choices}; give one of these")
        self.backbone.window = window

    def forward(
        self,
        input_ids: Tensor,
        state: LMState | None = None,
        mask: Tensor | None = None,
        last_only: bool = False,
    ) -> LMOutput:
        """Logits of the next token after each of ``input_ids`` (B, T).

        Args:
            state, mask: as for :class:`HybridBackbone`.
            last_only: logits and hidden states of the last position only, which is all that a prefill needs.

        Raises:
            ValueError: ids of the wrong shape, or padding that is not on the left.
        """
        if input_ids.dim() != 2:
            raise ValueError(
                f"input_ids: Expected tensor with 2 dimensions, got {input_ids.dim()}; pass (batch, length), for one "
                "row ids[None]"
            )
        hidden, state = self.backbone(self.embed(input_ids), state, mask, last_only)
        return LMOutput(project(self.lm_head, hidden), hidden, state)


def _refuse_right_padding(mask: Tensor) -> None:
    if bool((mask[:, :-1] & ~mask[:, 1:]).any()):
        raise ValueError("mask: padding after real tokens; put the padding on the left of each row")
