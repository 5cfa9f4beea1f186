"""Loads an optional package where it is needed, and says which extra brings it if it is not there."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def need(module: str) -> Any:
    """The module, imported.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(f"{package} is not installed; install it with: pip install 'nexus-ai[causality]'") from error
