"""Who may import whom, read from the source: a room imports only rooms below it, rooms on one row are strangers."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the top down. "nexus.models.*" stands for each folder below nexus/models.
ROWS = [
    ["nexus_final"],
    ["nexus.cli"],
    ["nexus.zoo"],
    ["nexus.serving"],
    ["nexus.living"],
    ["nexus.training"],
    ["mind"],
    ["nexus.inference"],
    ["nexus.core", "nexus.models.*", "nexus.reasoning", "nexus.causality"],
    ["nexus.layers"],
    ["nexus.data"],
    ["ground", "nexus.catalog"],
]
ROW = {room: number for number, row in enumerate(ROWS) for room in row}
GROUND = {f"nexus.core.{stem}" for stem in ("base", "config", "typecheck", "files", "mixins", "visualizer", "shards")}
# The mind as a whole speaks, so it stands above nexus.inference, which speaks with its parts; the parts stand below.
MIND = {f"nexus.core.{stem}" for stem in ("nexus_core", "speech", "diagnosis")}
NEIGHBOURS = {  # on one row, and allowed all the same
    ("nexus.core", "nexus.reasoning"),
    ("nexus.core", "nexus.causality"),
    ("nexus.models.hybrid", "nexus.core"),  # Bamba is the backbone itself
    ("nexus.models.multimodal", "nexus.models.vision"),
    ("nexus.models.multimodal", "nexus.models.nlp"),
}
OPTIONAL = {"nexus.core.visualizer": {"matplotlib"}}  # inside functions; test_dependencies.py sees to that
THIRD_PARTY = {"ground": {"torch", "safetensors"}, "nexus.catalog": set()}


def module_name(path: Path) -> str:
    """The import name of a source file of this project."""
    relative = path.relative_to(ROOT / "src" if "src" in path.relative_to(ROOT).parts else ROOT).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


def sources() -> list[Path]:
    return sorted([*(ROOT / "nexus").rglob("*.py"), *(ROOT / "src" / "nexus_final").rglob("*.py")])


MODULES = {module_name(path) for path in sources()}


def room_of(module: str) -> str | None:
    """The room a module belongs to; None for the bare package `nexus`, which holds the version only."""
    if module in GROUND:
        return "ground"
    if module in MIND:
        return "mind"
    parts = module.split(".")
    if parts[0] == "nexus_final":
        return "nexus_final"
    if parts[:2] == ["nexus", "models"]:
        return ".".join(parts[:3]) if len(parts) > 2 else None
    return ".".join(parts[:2]) if len(parts) > 1 else None


def row_of(room: str) -> int:
    return ROW["nexus.models.*" if room.startswith("nexus.models.") else room]


def imports(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a source imports, inside functions and TYPE_CHECKING blocks too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                parts = package[: len(package) - node.level + 1]
                base = ".".join([*parts, *filter(None, [node.module])])
            for alias in node.names:  # `from nexus.core import base` means nexus.core.base
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else base


def faults_of(source: str, module: str, is_package: bool = False) -> list[str]:
    """Each import that the rows forbid, in words."""
    room, found = room_of(module), []
    for line, target in imports(source, module, is_package):
        top = target.split(".")[0]
        if top in ("nexus", "nexus_final"):
            other = room_of(target)
            if other and other != room and not _may(room, other):
                found.append(f"{module}:{line} imports {target}: {room} must not know {other}")
        elif room in THIRD_PARTY and top not in _allowed(room, module):
            found.append(f"{module}:{line} imports {target}: {room} stands on {THIRD_PARTY[room] or 'nothing'} only")
    return found


def _allowed(room: str, module: str) -> set[str]:
    """Packages that a room stands on."""
    return set(sys.stdlib_module_names) | THIRD_PARTY[room] | OPTIONAL.get(module, set())


def _may(room: str | None, other: str) -> bool:
    return room is not None and (row_of(room) < row_of(other) or (room, other) in NEIGHBOURS)


def test_every_room_has_its_row():
    rooms = {room for module in MODULES if (room := room_of(module))}
    unknown = {room for room in rooms if room not in ROW and not room.startswith("nexus.models.")}
    assert not unknown, f"no row for {unknown}: decide who may import them, and write it into ROWS"


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_point_down(path):
    found = faults_of(path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nexus.layers.ssm.mamba2", "from nexus.core.state_space import HybridLM"),
        ("nexus.layers.ssm.mamba2", "def f():\n    import nexus.training.loop"),
        ("nexus.core.base", "from nexus.layers import x"),
        ("nexus.core.base", "import numpy"),
        ("nexus.catalog", "import torch"),
        ("nexus.models.gnn.gps", "from nexus.models.rl import dqn"),
        ("nexus.models.gnn.gps", "from nexus.core.nexus_core import NEXUSCore"),
        ("nexus.models.gnn.gps", "from ..rl import dqn"),
        ("nexus.reasoning.solver", "import nexus.causality"),
        ("nexus.serving.app", "import nexus_final.cli"),
        ("nexus", "import nexus.core.base"),
    ],
)
def test_the_check_sees_a_forbidden_import(module, source):
    assert len(faults_of(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nexus_final.trainer", "import nexus.cli, nexus.training.loop, numpy"),
        ("nexus.core.reasoner", "from nexus.reasoning import solver"),
        ("nexus.core.state_space", "from nexus.core.base import NexusModule\nfrom ..layers import ssm"),
        ("nexus.models.multimodal.llava_rlhf", "from nexus.models.vision import vit"),
        ("nexus.core.base", "import torch, json\nfrom .config import BaseConfig"),
    ],
)
def test_the_check_lets_an_allowed_import_pass(module, source):
    assert faults_of(source, module) == []
