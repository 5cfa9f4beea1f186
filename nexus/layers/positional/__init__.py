"""Position encodings."""

from nexus.layers.positional.rope import RotaryEmbedding, apply_rotary

__all__ = ["RotaryEmbedding", "apply_rotary"]
