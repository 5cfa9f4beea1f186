"""Mamba-2 with a short attention window beside it.

The one idea: exact recall of the last few tokens (the window, with attention sinks) and a compressed memory of all
before them (the state) are added up, so the layer costs the same at any length of text. The short-term memory of
Titans (Behrouz et al. 2024, arXiv:2501.00663, section 4) beside a state-space path instead of a deep memory.
"""

from typing import NamedTuple

from torch import Tensor, nn

from nexus.layers.attention.grouped_query import AttentionState, GroupedQueryAttention
from nexus.layers.attention.visibility import Visibility
from nexus.layers.ssm.mamba2 import Mamba2, Mamba2State


class WindowedMamba2State(NamedTuple):
    """The states of both paths; ``window`` is None where the window has been narrowed to nothing."""

    mamba: Mamba2State
    window: AttentionState | None


class WindowedMamba2(nn.Module):
    """``mamba(x) + attention_in_window(x)``, (B, T, d_model) to (B, T, d_model).

    Args:
        mamba: the state-space path.
        attention: the window's path; its width comes with the visibility at each call, so it can be changed at any
            time, and without a visibility the layer is its state-space path alone.
    """

    def __init__(self, mamba: Mamba2, attention: GroupedQueryAttention) -> None:
        super().__init__()
        self.mamba = mamba
        self.attention = attention

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        sight: Visibility | None,
        state: WindowedMamba2State | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, WindowedMamba2State | None]:
        """Mix ``x`` (B, T, d_model); arguments as in the two paths, ``sight`` None for no window."""
        y, mamba = self.mamba(x, None if state is None else state.mamba, mask)
        window = None
        if sight is not None:
            seen, window = self.attention(x, rotary, sight, None if state is None else state.window)
            y = y + seen
        return y, None if mamba is None else WindowedMamba2State(mamba, window)
