"""`import nexus` is cheap, and `nexus.core` brings the mind only when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nexus.core


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*(name for name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_nexus_loads_no_third_party_package():
    loaded = _loaded_by("import sys; sys.path[:0] = %r; import nexus" % [*sys.path])
    assert "nexus" in loaded
    assert not loaded & {"torch", "numpy", "rich", "typer"}


def test_importing_the_ground_does_not_load_the_mind():
    loaded = _loaded_by("import sys; sys.path[:0] = %r; import nexus.core.base" % [*sys.path])
    assert "torch" in loaded
    assert not {name for name in loaded if name.startswith("nexus.")} - {
        "nexus.core",
        "nexus.core.base",
        "nexus.core.config",
        "nexus.core.files",
        "nexus.core.typecheck",
    }


def test_a_name_that_does_not_exist_says_which_do():
    with pytest.raises(AttributeError, match="it offers NEXUSConfig, NEXUSCore"):
        nexus.core.nothing  # noqa: B018
