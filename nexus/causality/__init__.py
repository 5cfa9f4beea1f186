"""Cause and effect: graphs, discovery, identification, estimation, do() and counterfactuals, refutation.

The way through it is :class:`nexus.causality.study.CausalStudy`; each step also stands on its own:
`graphs`, `separation`, `equivalence` (what a graph says), `discovery` (which graph), `identification` (can the data
answer), `estimation` (the number, its interval and its refuters), `scm` (what if, what would have been).
"""
