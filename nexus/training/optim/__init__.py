"""Optimisers that torch lacks, one a file; by name they are in :mod:`nexus.training.optimizers`."""
