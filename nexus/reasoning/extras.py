"""Optional engines: one message that names the extra to install."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needs(package: str, extra: str = "reasoning") -> Iterator[None]:
    """Around the import of an optional package: a missing one is reported with the cure."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(f"{package} is not installed; pip install 'nexus-ai[{extra}]'") from error
