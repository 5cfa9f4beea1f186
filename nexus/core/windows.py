"""Settle a model that serves several window widths on one of them, or on none.

The one idea: the gains of a width are numbers, so they fold into the output projections; with no window at all a layer
is its state-space path, which is plain Mamba-2.
"""

import torch
from torch import Tensor

from nexus.core.state_space import HybridLM
from nexus.layers.ssm import WindowedMamba2


def settle_window(model: HybridLM, window: int) -> HybridLM:
    """A copy of ``model`` for one width, with the same outputs as ``model`` has after ``set_window(window)``.

    Width 0 turns every 'W' layer into an 'M' layer, so the result has the exportable layout.

    Raises:
        ValueError: the width is not one of the model's choices.
    """
    choices = model.config.window_choices
    if choices and window not in choices:
        raise ValueError(f"window={window}: the weights serve {choices}; give one of these")
    return _settle(model, window)


def without_windows(model: HybridLM) -> HybridLM:
    """A copy of ``model`` whose 'W' layers are their state-space paths alone, as they are, whatever the gains say.

    Where 0 is a choice that :func:`settle_window` serves, its gains are left out here.
    """
    return _settle(model, None)


def _settle(model: HybridLM, window: int | None) -> HybridLM:
    """``window`` None: no window and no gains."""
    layers = model.config.layers
    plan = layers if window else layers.replace("W", "M")
    config = model.config.replace(plan=plan, window=window or 0, window_choices=())
    settled = HybridLM(config).to(model.device, model.dtype)
    weights = dict(model.state_dict())
    for i, block in enumerate(model.backbone.blocks):
        if isinstance(block.mixer, WindowedMamba2):
            _settle_layer(weights, f"backbone.blocks.{i}.mixer.", block.mixer, window)
    settled.load_state_dict(weights)
    return settled.train(model.training)


@torch.no_grad()
def _settle_layer(weights: dict[str, Tensor], prefix: str, mixer: WindowedMamba2, window: int | None) -> None:
    if mixer.choices:
        for gain, path in (("mamba_gain", "mamba.out_proj"), ("attention_gain", "attention.o_proj")):
            gains = weights.pop(prefix + gain)
            factor = 1.0 if window is None else gains[mixer.choices.index(window)]
            for name in ("weight", "bias"):
                if (key := f"{prefix}{path}.{name}") in weights:
                    weights[key] = weights[key] * factor
    if not window:
        for key in [key for key in weights if key.startswith(prefix)]:
            value = weights.pop(key)
            if key.startswith(prefix + "mamba."):
                weights[prefix + key.removeprefix(prefix + "mamba.")] = value
