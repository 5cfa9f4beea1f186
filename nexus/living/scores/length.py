"""Length: shorter answers are right more often; a baseline that better scores have to beat."""

from nexus.living.trace import Said


def length(said: Said) -> float:
    """The number of tokens, with a minus sign."""
    return -float(said.tokens)


def ended(said: Said) -> float:
    """1 if the answer came to its own end, 0 if it was cut off."""
    return float(said.ended)
