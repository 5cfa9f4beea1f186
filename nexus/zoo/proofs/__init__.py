"""One proof a system, under the stem of its row in :mod:`nexus.catalog`; the contract is in :mod:`nexus.zoo.proof`."""
