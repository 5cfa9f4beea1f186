"""What the code imports is declared, and the library starts with the core dependencies alone."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"nexus", "nexus_final", "tests", "benchmarks"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(requirements: list[str]) -> set[str]:
    return {_normal(re.match(r"[\w.-]+", text)[0]) for text in requirements}


CORE = _names(PROJECT["dependencies"])
EXTRAS = PROJECT["optional-dependencies"]
PRODUCT = CORE.union(*(_names(extra) for name, extra in EXTRAS.items() if name != "dev"))
DEV = PRODUCT | _names(EXTRAS["dev"])
CARRIERS = packages_distributions()  # import name -> distributions


def _top_names(nodes: Iterator[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found - OURS - sys.stdlib_module_names


def _undeclared(names: set[str], declared: set[str]) -> set[str]:
    return {name for name in names if not {_normal(dist) for dist in CARRIERS.get(name, [name])} & declared}


def _files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    ("folders", "declared"),
    [(("nexus", "src", "scripts"), PRODUCT), (("tests", "benchmarks"), DEV)],
    ids=["product", "tests"],
)
def test_every_package_that_is_imported_is_declared(folders, declared):
    for path in _files(*folders):
        names = _top_names(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        beside = {sibling.stem for sibling in path.parent.glob("*.py")}  # scripts import what lies beside them
        allowed = DEV if path.parent.name == "proofs" else declared  # proofs run beside their oracles
        missing = _undeclared(names - beside, allowed)
        assert not missing, f"{path.relative_to(ROOT)} imports {missing}: add it to pyproject.toml and constraints.txt"


def test_the_library_starts_with_the_core_dependencies():
    for path in _files("nexus"):
        at_import = iter(ast.parse(path.read_text(encoding="utf-8")).body)
        missing = _undeclared(_top_names(at_import), CORE)
        assert not missing, (
            f"{path.relative_to(ROOT)}: import {missing} where it is used, and name the extra if it fails"
        )


def test_everything_declared_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_normal(line.split("==")[0]) for line in lines if "==" in line}
    assert DEV - {"nexus-ai"} <= pinned
