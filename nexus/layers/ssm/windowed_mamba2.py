"""Mamba-2 with a short attention window beside it.

The one idea: exact recall of the last few tokens (the window, with attention sinks) and a compressed memory of all
before them (the state) are added up, so the layer costs the same at any length of text. The short-term memory of
Titans (Behrouz et al. 2024, arXiv:2501.00663, section 4) beside a state-space path instead of a deep memory.
"""

from typing import NamedTuple

import torch
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
        choices: widths that one set of weights shall serve. The narrower the window, the more the state-space path
            has to carry, so each width has a learnt gain for each path; without choices both gains are 1.
    """

    def __init__(self, mamba: Mamba2, attention: GroupedQueryAttention, choices: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.mamba = mamba
        self.attention = attention
        self.choices = choices
        if choices:
            self.mamba_gain = nn.Parameter(torch.ones(len(choices)))
            self.attention_gain = nn.Parameter(torch.ones(len(choices)))

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        sight: Visibility | None,
        state: WindowedMamba2State | None = None,
        mask: Tensor | None = None,
        width: int = 0,
    ) -> tuple[Tensor, WindowedMamba2State | None]:
        """Mix ``x`` (B, T, d_model); arguments as in the two paths, ``sight`` None for no window.

        ``width`` is the window's width, needed only to pick the gains among ``choices``.
        """
        y, mamba = self.mamba(x, None if state is None else state.mamba, mask)
        window = None
        pick = self.choices.index(width) if self.choices else None
        if pick is not None:
            y = y * self.mamba_gain[pick]
        if sight is not None:
            seen, window = self.attention(x, rotary, sight, None if state is None else state.window)
            y = y + seen if pick is None else torch.addcmul(y, seen, self.attention_gain[pick])
        return y, None if mamba is None else WindowedMamba2State(mamba, window)
