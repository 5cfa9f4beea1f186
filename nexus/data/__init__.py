"""Data: fetching packages that carry it, reading text in its usual containers, fixed splits, blocks of tokens.

Nothing is fetched, read or written when this package is imported.
"""
