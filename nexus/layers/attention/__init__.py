"""Attention layers."""

from nexus.layers.attention.differential import DifferentialAttention
from nexus.layers.attention.flash import FlashAttention
from nexus.layers.attention.grouped_query import AttentionState, GroupedQueryAttention
from nexus.layers.attention.linear import LinearAttention, LinearState
from nexus.layers.attention.lsh import LSHAttention
from nexus.layers.attention.multi_head import MultiHeadAttention
from nexus.layers.attention.multi_head_latent import LatentState, MultiHeadLatentAttention
from nexus.layers.attention.performer import PerformerAttention
from nexus.layers.attention.ring import ProcessRing, RingAttention
from nexus.layers.attention.sparse import SparseAttention
from nexus.layers.attention.visibility import Visibility

__all__ = [
    "AttentionState",
    "DifferentialAttention",
    "FlashAttention",
    "GroupedQueryAttention",
    "LSHAttention",
    "LatentState",
    "LinearAttention",
    "LinearState",
    "MultiHeadAttention",
    "MultiHeadLatentAttention",
    "PerformerAttention",
    "ProcessRing",
    "RingAttention",
    "SparseAttention",
    "Visibility",
]
