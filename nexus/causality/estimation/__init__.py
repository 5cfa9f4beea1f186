"""The effect as a number with an interval, and the attempts to refute it."""
