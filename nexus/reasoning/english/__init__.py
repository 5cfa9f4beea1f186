"""Controlled English: a deterministic grammar that reads text as formulas and says what it did not understand."""
