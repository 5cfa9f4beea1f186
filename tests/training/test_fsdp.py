"""ZeRO and FSDP: weights, gradients and moments cut into shares give what one process that holds all gives."""

from nexus.zoo.proofs import fsdp


def test_it_equals_its_oracle():
    for comparison in fsdp.prove(0):
        assert comparison.difference <= fsdp.TOLERANCE, comparison.what
