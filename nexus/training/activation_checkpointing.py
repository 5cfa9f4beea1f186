"""Activation checkpointing: keep a block's input, and compute the rest again in backward. Paper: arXiv:1604.06174.

The one idea: activations of L blocks cost memory for all of them; with the inputs alone kept, for L inputs and one
block. Torch's non-reentrant `checkpoint` does the work; this file finds the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import nn
from torch.utils.checkpoint import checkpoint

_SWITCH = "gradient_checkpointing"


class ActivationCheckpointing(nn.Module):
    """A module that is computed twice instead of remembered: same outputs, same gradients, same random draws.

    Args:
        block: what to wrap; its parameters keep their names below ``block``.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """As the block's own call."""
        return checkpoint(self.block, *inputs, use_reentrant=False, **options)


def enable(model: nn.Module) -> list[str]:
    """Switch it on for a whole model; returns the names of what is recomputed.

    A model that has a switch of its own (``gradient_checkpointing``, or ``gradient_checkpointing_enable()`` as in
    transformers) is told; otherwise the items of each `nn.ModuleList` recompute their forward.

    Raises:
        ValueError: there is neither.
    """
    if hasattr(model, "gradient_checkpointing_enable"):
        cast(Any, model).gradient_checkpointing_enable({"use_reentrant": False})
        return [""]
    named = [(name, module) for name, module in model.named_modules() if hasattr(module, _SWITCH)]
    for _, module in named:
        setattr(module, _SWITCH, True)
    if named:
        return [name for name, _ in named]
    found = [name for name, block in _blocks(model) if _recompute(block)]
    if not found:
        raise ValueError(
            "gradient_checkpointing: the model has no list of blocks (nn.ModuleList) and no switch of that name; wrap "
            "parts of it in ActivationCheckpointing"
        )
    return found


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Items of the outermost lists: what lies inside them is recomputed with them."""
    inside: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and id(module) not in inside:
            inside |= {id(part) for part in module.modules()}
            yield from ((f"{name}.{index}", block) for index, block in enumerate(module))


def _recompute(block: nn.Module) -> bool:
    inner = block.forward

    def forward(*inputs: Any, **options: Any) -> Any:
        if not block.training:
            return inner(*inputs, **options)
        return checkpoint(inner, *inputs, use_reentrant=False, **options)

    block.forward = forward  # the names of the parameters stay as they are
    return True
