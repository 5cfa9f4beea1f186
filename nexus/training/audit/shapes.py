"""Shapes checked at the door of a function, in jaxtyping's notation; free where checks are off.

    @check_shapes(x="batch time 64", mask="batch time", returns="batch time {width}")
    def forward(self, x, mask): ...

The notation: names bind to a size and must agree, numbers are sizes, ``_`` is any size, ``*name`` any number of axes,
``...`` any and unnamed, ``#name`` may be 1 (broadcast), ``name=4`` is a number with a name for the reader, and ``n+1``
is computed from what is bound. Checks are on in tests and wherever ``NEXUS_CHECK_SHAPES=1``; otherwise the decorator
returns the function itself.
"""

from __future__ import annotations

import ast
import functools
import inspect
import operator
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
VARIABLE = "NEXUS_CHECK_SHAPES"
_OPERATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


class ShapeError(ValueError):
    """A tensor has another shape than its function asks for."""


def checks_are_on() -> bool:
    """Whether functions decorated from now on are checked: by the variable, or because pytest runs."""
    wanted = os.environ.get(VARIABLE)
    return "pytest" in sys.modules if wanted is None else wanted not in ("", "0")


def check_shapes(returns: str | Sequence[str] | None = None, **arguments: str) -> Callable[[F], F]:
    """Decorator: the shape of each named argument, and of what is returned (one, or one for each of a tuple).

    Arguments that are None are passed over. Without any, annotations made with jaxtyping (``Float[Tensor, "b t"]``)
    are read.

    Raises:
        ShapeError: at the call, with the argument, its shape, what was asked and what names were bound to.
        ValueError: at decoration, if an argument isn't the function's.
    """

    def decorate(function: F) -> F:
        if not checks_are_on():
            return function
        signature = inspect.signature(function)
        wanted = {**_annotated(signature), **arguments}
        unknown = arguments.keys() - signature.parameters.keys()
        if unknown:
            raise ValueError(f"check_shapes: {function.__qualname__} has no argument {', '.join(sorted(unknown))}")

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            bound: dict[str, Any] = {}
            values = signature.bind(*args, **kwargs).arguments
            for name, pattern in wanted.items():
                if hasattr(values.get(name), "shape"):
                    _match(pattern, values[name], bound, f"{function.__qualname__}: {name}")
            output = function(*args, **kwargs)
            asked = returns if returns is not None else getattr(signature.return_annotation, "dim_str", None)
            _check_output(asked, output, bound, f"{function.__qualname__}: what it returns")
            return output

        return checked  # type: ignore[return-value]

    return decorate


def _annotated(signature: inspect.Signature) -> dict[str, str]:
    found = {name: getattr(p.annotation, "dim_str", None) for name, p in signature.parameters.items()}
    return {name: text for name, text in found.items() if text is not None}


def _check_output(wanted: str | Sequence[str] | None, output: Any, bound: dict[str, Any], where: str) -> None:
    if isinstance(wanted, str):
        _match(wanted, output, bound, where)
    elif wanted is not None:
        for index, (pattern, value) in enumerate(zip(wanted, output, strict=True)):
            _match(pattern, value, bound, f"{where}, part {index}")


def fits(shape: Sequence[int], pattern: str, bound: Mapping[str, Any] | None = None) -> bool:
    """Whether a shape fits a pattern, given what names are bound to."""
    return _bind(pattern, tuple(shape), dict(bound or {})) is None


def _match(pattern: str, value: Any, bound: dict[str, Any], where: str) -> None:
    shape = tuple(value.shape)
    problem = _bind(pattern, shape, bound)
    if problem is not None:
        known = ", ".join(f"{name}={size}" for name, size in bound.items() if not name.startswith("*"))
        raise ShapeError(f'{where} has shape {shape}, wanted "{pattern}"{f" with {known}" if known else ""}: {problem}')


def _bind(pattern: str, shape: tuple[int, ...], bound: dict[str, Any]) -> str | None:
    """Bind the pattern's names to the shape's sizes; None if it fits, else what does not."""
    tokens = pattern.split()
    many = [i for i, token in enumerate(tokens) if token == "..." or token.lstrip("#").startswith("*")]
    if len(many) > 1:
        raise ValueError(f'pattern "{pattern}": only one of ... and *name may stand in it')
    if not many:
        if len(tokens) != len(shape):
            return f"{len(shape)} axes, not {len(tokens)}"
        pairs = list(zip(tokens, shape, strict=True))
    else:
        at, rest = many[0], len(tokens) - 1
        if len(shape) < rest:
            return f"{len(shape)} axes, at least {rest} are needed"
        after = rest - at
        middle = shape[at : len(shape) - after]
        problem = _bind_many(tokens[at], middle, bound)
        if problem is not None:
            return problem
        tail = shape[len(shape) - after :] if after else ()
        pairs = [*zip(tokens[:at], shape[:at], strict=True), *zip(tokens[at + 1 :], tail, strict=True)]
    for token, size in pairs:
        problem = _bind_one(token, size, bound)
        if problem is not None:
            return problem
    return None


def _bind_many(token: str, sizes: tuple[int, ...], bound: dict[str, Any]) -> str | None:
    name = token.lstrip("#")
    if name in ("...", "*_"):
        return None
    if bound.setdefault(name, sizes) != sizes:
        return f"{name} is {bound[name]}, here {sizes}"
    return None


def _bind_one(token: str, size: int, bound: dict[str, Any]) -> str | None:
    broadcast, token = token.startswith("#"), token.lstrip("#")
    token = token.rpartition("=")[2]
    if token.startswith("_") or (broadcast and size == 1):
        return None
    if token.isidentifier():
        if bound.setdefault(token, size) != size:
            return f"{token} is {bound[token]}, here {size}"
        return None
    wanted = _compute(ast.parse(token.strip("{}"), mode="eval").body, bound)
    return None if wanted == size else f"{token} is {wanted}, here {size}"


def _compute(node: ast.expr, bound: Mapping[str, Any]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name) and node.id in bound:
        return int(bound[node.id])
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return int(_OPERATIONS[type(node.op)](_compute(node.left, bound), _compute(node.right, bound)))
    raise ValueError(f"pattern: {ast.unparse(node)!r} is no size; use names bound before, numbers, + - * //")
