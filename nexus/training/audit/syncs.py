"""Reads of a tensor's value in training code, found in the source: each waits for the device.

The one idea: inside a loop that calls ``backward()`` nothing needs a number back, so ``.item()``, ``float(loss)``,
``print(loss)`` and their like are named with their line. What runs is seen live (`nexus.training.audit.activations`);
this sees what has not run yet.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_METHODS = {"item": ".item()", "tolist": ".tolist()", "cpu": ".cpu()", "numpy": ".numpy()"}
_FUNCTIONS = {"print", "float", "int", "bool", "str", "repr"}


class Sync(NamedTuple):
    """One place: the file (or "" for code that came as text), its line, and what it does."""

    file: str
    line: int
    call: str


def find_device_syncs(code: Callable[..., Any] | Path | str) -> list[Sync]:
    """Places in training loops that wait for the device.

    Args:
        code: a function, a Python file, or source text. In a function everything counts; elsewhere what stands in a
        loop
            or function that calls ``backward()``.

    Raises:
        ValueError: the source can't be parsed.
    """
    file, source, first, whole = _source(code)
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(
            f"code: {file or 'the text'} is no Python ({error}); give a function, a .py file or source"
        ) from None
    roots: list[ast.AST] = [tree] if whole else list(_loops(tree))
    found = {Sync(file, node.lineno + first - 1, call) for root in roots for node, call in _waits(root)}
    return sorted(found)


def _source(code: Callable[..., Any] | Path | str) -> tuple[str, str, int, bool]:
    if callable(code):
        lines, first = inspect.getsourcelines(code)
        return inspect.getsourcefile(code) or "", textwrap.dedent("".join(lines)), first, True
    if isinstance(code, Path):
        return str(code), code.read_text(encoding="utf-8"), 1, False
    return "", textwrap.dedent(code), 1, False


def _loops(tree: ast.AST) -> Iterator[ast.AST]:
    """The outermost loops in which a backward pass is called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.For, ast.While)) and _calls_backward(node):
            yield node
        else:
            yield from _loops(node)


def _calls_backward(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Attribute) and inner.attr == "backward" for inner in ast.walk(node))


def _waits(root: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(root):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in _METHODS and not node.args:
            yield node, _METHODS[function.attr]
        elif isinstance(function, ast.Name) and function.id in _FUNCTIONS and _of_a_tensor(node):
            yield node, f"{function.id}(...)"


def _of_a_tensor(call: ast.Call) -> bool:
    """Whether an argument looks like a tensor of the step: a name such as loss or logits, or arithmetic with one."""
    names = {n.id for a in call.args for n in ast.walk(a) if isinstance(n, ast.Name)}
    return any(word in name.lower() for name in names for word in ("loss", "logit", "grad", "tensor", "output"))
