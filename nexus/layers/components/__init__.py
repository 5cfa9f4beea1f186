"""Norms, activations, feed-forward blocks and mixtures of experts."""

from nexus.layers.components.ada_ln_zero import AdaLNZero
from nexus.layers.components.batch_norm import BatchNorm
from nexus.layers.components.deep_norm import DeepNorm
from nexus.layers.components.deepseek_moe import DeepSeekMoE
from nexus.layers.components.dynamic_tanh import DynamicTanh
from nexus.layers.components.expert_choice import ExpertChoiceMoE
from nexus.layers.components.gelu import GELU
from nexus.layers.components.group_norm import GroupNorm
from nexus.layers.components.moe import MoE
from nexus.layers.components.qk_norm import QKNorm
from nexus.layers.components.rms_norm import GatedRMSNorm, RMSNorm
from nexus.layers.components.soft_moe import SoftMoE
from nexus.layers.components.spectral_norm import SpectralNorm
from nexus.layers.components.swiglu import GatedFeedForward, SwiGLU
from nexus.layers.components.switch_moe import SwitchMoE
from nexus.layers.components.weight_norm import WeightNorm

__all__ = [
    "GELU",
    "AdaLNZero",
    "BatchNorm",
    "DeepNorm",
    "DeepSeekMoE",
    "DynamicTanh",
    "ExpertChoiceMoE",
    "GatedFeedForward",
    "GatedRMSNorm",
    "GroupNorm",
    "MoE",
    "QKNorm",
    "RMSNorm",
    "SoftMoE",
    "SpectralNorm",
    "SwiGLU",
    "SwitchMoE",
    "WeightNorm",
]
