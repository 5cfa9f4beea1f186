"""Does a value fit an annotation? Just enough of the typing language for configurations.

Understood: plain classes, `Any`, unions and `None`, `Literal`, `list[T]`, `tuple[T, ...]`, `tuple[A, B]`, `dict[K, V]`,
`Mapping` and the other collection bases. An int passes for a float; a bool passes for nothing but a bool.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

_UNIONS = (Union, types.UnionType)


def matches(value: object, hint: Any) -> bool:
    """Whether `value` fits the annotation `hint`."""
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    origin, args = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        return any(matches(value, arg) for arg in args)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin is not None:
        return isinstance(value, origin) and _items_match(value, origin, args)
    return _is_a(value, hint)


def _is_a(value: object, cls: type) -> bool:
    if isinstance(value, bool):
        return cls in (bool, object)  # True is an int to Python, but `n_layers=True` is a slip
    return isinstance(value, (int, float) if cls is float else cls)


def _items_match(value: Any, origin: type, args: tuple[Any, ...]) -> bool:
    if not args or origin in (type, Callable):
        return True
    if issubclass(origin, tuple) and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(map(matches, value, args))
    if issubclass(origin, Mapping):
        return all(matches(k, args[0]) and matches(v, args[1]) for k, v in value.items())
    return all(matches(item, args[0]) for item in value)


def describe(hint: Any) -> str:
    """The annotation in words for an error message."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return "None"
    if origin in _UNIONS:
        return " or ".join(map(describe, args))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    return hint.__name__ if origin is None and isinstance(hint, type) else str(hint).replace("typing.", "")


def coerce(value: Any, hint: Any, build: Callable[[Any, Any], Any], buildable: type) -> Any:
    """Undo what JSON did to a value: list -> tuple, str -> Path, mapping -> nested `buildable` (by `build`).

    Values that need no change, or that fit no rule, come back as they are: `matches` judges them later.
    """
    origin, args = get_origin(hint), get_args(hint)
    if matches(value, hint):
        return value
    if origin in _UNIONS:
        return _coerce_union(value, args, build, buildable)
    if isinstance(value, str) and hint is Path:
        return Path(value)
    if isinstance(value, Mapping):
        return _coerce_mapping(value, hint, build, buildable)
    if isinstance(value, (list, tuple)) and origin in (list, tuple):
        inner = args if args and args[-1] is not Ellipsis and origin is tuple else args[:1] * len(value)
        if len(inner) == len(value):
            return origin(coerce(v, a, build, buildable) for v, a in zip(value, inner, strict=True))
    return tuple(value) if isinstance(value, list) and hint is tuple else value


def _coerce_union(value: Any, options: tuple[Any, ...], build: Callable[[Any, Any], Any], buildable: type) -> Any:
    for option in options:
        candidate = coerce(value, option, build, buildable)
        if matches(candidate, option):
            return candidate
    return value


def _coerce_mapping(value: Mapping[str, Any], hint: Any, build: Callable[[Any, Any], Any], buildable: type) -> Any:
    if isinstance(hint, type) and issubclass(hint, buildable):
        return build(hint, value)
    args = get_args(hint)
    if get_origin(hint) is dict and len(args) == 2:
        return {k: coerce(v, args[1], build, buildable) for k, v in value.items()}
    return value
