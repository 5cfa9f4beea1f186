"""Arithmetic over named sizes, as the formulas of costs are written; without torch.

The one idea: a formula is text that people read and a machine checks, so it holds numbers, names and ``+ - * / // **``,
and nothing else.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
NUMBER_BYTES = 4  # E in formulas: of float32, which examples are made in
COSTS = ("parameters", "flops", "activations", "cache")  # what there are formulas for; other names are parts of them


def value_of(formula: str, sizes: Mapping[str, float]) -> float:
    """The number that a formula gives.

    Raises:
        ValueError: it holds a name without a size, or something other than arithmetic.
    """

    def walk(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return node.value
        if isinstance(node, ast.Name) and node.id in sizes:
            return sizes[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](walk(node.left), walk(node.right))
        raise ValueError(f"{formula!r}: {ast.unparse(node)!r} is neither arithmetic nor one of {sorted(sizes)}")

    return walk(ast.parse(formula, mode="eval").body)


def values(formulas: Mapping[str, str], sizes: Mapping[str, float]) -> dict[str, float]:
    """The numbers of all formulas; each may use the names of those before it.

    Args:
        formulas: parts first, then what they make up.
        sizes: by name; ``E``, the bytes of a number, is 4 if it is not among them.
    """
    known: dict[str, float] = {"E": NUMBER_BYTES, **sizes}
    for name, formula in formulas.items():
        known[name] = value_of(formula, known)
    return {name: known[name] for name in formulas}


def sizes_of(text: str) -> dict[str, int]:
    """Sizes written as ``d_model=16,n_heads=4``.

    Raises:
        ValueError: something is not a name, an equals sign and a whole number.
    """
    found = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not (name.isidentifier() and equals and number.replace("_", "").isdecimal()):
            raise ValueError(f"{part.strip()!r}: is no size; write NAME=NUMBER, several by commas: d_model=512,T=1024")
        found[name] = int(number)
    return found
