"""A moving average of a model's weights, as a model of its own. Polyak and Juditsky 1992 (doi 10.1137/0330046)."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """``average.update_parameters(model)`` after each step makes ``a <- decay a + (1 - decay) w``; torch's own.

    The first update copies the weights, so that the average doesn't remember the initial ones.
    """
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)
    return average.requires_grad_(False)
