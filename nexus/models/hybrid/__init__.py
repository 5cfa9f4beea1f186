"""Language models that mix state-space layers and attention, one system a file."""
