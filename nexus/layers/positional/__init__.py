"""Position encodings."""

from nexus.layers.positional.alibi import ALiBi
from nexus.layers.positional.axial_rope import AxialRoPE
from nexus.layers.positional.cope import CoPE
from nexus.layers.positional.deberta import DebertaEncoding
from nexus.layers.positional.fire import FIRE
from nexus.layers.positional.learned import LearnedEncoding
from nexus.layers.positional.mrope import MRoPE
from nexus.layers.positional.nope import NoPE
from nexus.layers.positional.rope import RotaryEmbedding, apply_rotary
from nexus.layers.positional.shaw import ShawEncoding
from nexus.layers.positional.sinusoidal import SinusoidalEncoding
from nexus.layers.positional.t5_bias import T5Bias
from nexus.layers.positional.transformer_xl import TransformerXLEncoding
from nexus.layers.positional.xpos import XPos

__all__ = [
    "FIRE",
    "ALiBi",
    "AxialRoPE",
    "CoPE",
    "DebertaEncoding",
    "LearnedEncoding",
    "MRoPE",
    "NoPE",
    "RotaryEmbedding",
    "ShawEncoding",
    "SinusoidalEncoding",
    "T5Bias",
    "TransformerXLEncoding",
    "XPos",
    "apply_rotary",
]
