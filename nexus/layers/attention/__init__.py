"""Attention layers."""

from nexus.layers.attention.grouped_query import AttentionState, GroupedQueryAttention
from nexus.layers.attention.visibility import Visibility

__all__ = ["AttentionState", "GroupedQueryAttention", "Visibility"]
