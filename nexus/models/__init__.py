"""Reference models, one system a file, one room an area; the contents are in :mod:`nexus.catalog`."""
