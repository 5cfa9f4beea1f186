"""State-space layers."""

from nexus.layers.ssm.mamba2 import Mamba2, Mamba2State
from nexus.layers.ssm.ssd import ssd_chunked, ssd_quadratic, ssd_recurrent, ssd_step
from nexus.layers.ssm.windowed_mamba2 import WindowedMamba2, WindowedMamba2State

__all__ = [
    "Mamba2",
    "Mamba2State",
    "WindowedMamba2",
    "WindowedMamba2State",
    "ssd_chunked",
    "ssd_quadratic",
    "ssd_recurrent",
    "ssd_step",
]
