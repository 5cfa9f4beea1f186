"""Norms and feed-forward blocks."""

from nexus.layers.components.rms_norm import GatedRMSNorm, RMSNorm
from nexus.layers.components.swiglu import SwiGLU

__all__ = ["GatedRMSNorm", "RMSNorm", "SwiGLU"]
