"""Files and functions stay small enough to read, and nothing in the product runs code out of a file it is given."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted([*(ROOT / "nexus").rglob("*.py"), *(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])
ALL = PRODUCT + sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
MAX_FILE, MAX_FUNCTION, USUAL_FUNCTION = 600, 80, 40


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of each function of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", ALL, ids=_name)
def test_files_and_functions_are_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE, f"{_name(path)} has {lines} lines: split it where the idea changes"
    long = [f"{name} ({length} lines)" for name, length in functions(path) if length > MAX_FUNCTION]
    assert not long, f"{_name(path)}: {', '.join(long)}"


def test_most_functions_are_short():
    lengths = [length for path in PRODUCT for _, length in functions(path)]
    assert statistics.quantiles(lengths, n=10)[-1] <= USUAL_FUNCTION


def unsafe(source: str) -> list[str]:
    """Ways in which a file from elsewhere could run code: unpickling, and remote code of model packages."""
    found = []
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [
            f"line {node.lineno}: imports {m}" for m in modules if m in ("pickle", "joblib", "dill", "cloudpickle")
        ]
        if isinstance(node, ast.Call):
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if keywords.get("trust_remote_code"):
                found.append(f"line {node.lineno}: trusts remote code")
            if ast.unparse(node.func) == "torch.load" and keywords.get("weights_only") is not True:
                found.append(f"line {node.lineno}: torch.load without weights_only=True")
    return found


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_no_code_runs_out_of_a_file(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "f(trust_remote_code=True)",
    ],
)
def test_the_check_sees_what_is_unsafe(source):
    assert len(unsafe(source)) == 1
