"""Data parallel: two processes over gloo take the steps that one takes with the joint batch."""

from nexus.zoo.proofs import data_parallel


def test_it_equals_its_oracle():
    for comparison in data_parallel.prove(0):
        assert comparison.difference <= data_parallel.TOLERANCE, comparison.what
