"""Building blocks that take plain typed arguments: components, positions, attention, state-space layers."""
