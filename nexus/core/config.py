"""Configurations: frozen keyword-only dataclasses that check themselves and report every fault at once.

A configuration says what it needs in `faults()`, with the helpers at the end of this file:

    @dataclass(frozen=True, kw_only=True)
    class GateConfig(BaseConfig):
        d_model: int = 64
        n_heads: int = 4
        norm: Literal["rms", "layer"] = "rms"

        def faults(self) -> list[str]:
            return [*positive(self, "d_model", "n_heads"), *divides(self, "n_heads", "d_model")]

Types (and with `Literal` the choices) are checked from the annotations; `faults()` adds ranges and relations.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from nexus.core.typecheck import coerce, describe, matches


class ConfigError(ValueError):
    """A configuration that cannot be used. `faults` holds one line for each thing that is wrong."""

    def __init__(self, owner: str, faults: Iterable[str]) -> None:
        self.owner = owner
        self.faults = list(faults)
        count = f"{len(self.faults)} fault{'s' if len(self.faults) > 1 else ''}"
        super().__init__("\n  - ".join([f"{owner}: {count}", *self.faults]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.owner, self.faults)  # exceptions cross process borders by their arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """Base of every configuration. Subclasses are decorated `@dataclass(frozen=True, kw_only=True)` too.

    Raises:
        ConfigError: on construction, naming every faulty field with its value and the cure.
    """

    def __post_init__(self) -> None:
        self.validate()

    def faults(self) -> list[str]:
        """What is wrong with the values, one line each; override it. Types are checked already."""
        return []

    def validate(self) -> None:
        """Raise `ConfigError` with all faults if there are any."""
        hints = get_type_hints(type(self))
        faults = _type_faults(hints, {f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        try:
            faults += self.faults()
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
            if not faults:  # a check may stumble over a wrongly typed value; that fault is in the list already
                raise
        if faults:
            raise ConfigError(type(self).__name__, faults)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from outside data (JSON, a command line). Lists become tuples and mappings nested configurations.

        Raises:
            ConfigError: unknown keys (with the nearest known one), missing keys and faulty values, all at once.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(cls.__name__, [fault("data", data, "is not a mapping", "pass a dict of field: value")])
        init = [f for f in dataclasses.fields(cls) if f.init]
        faults = unknown_keys(data, [f.name for f in init])
        required = [f.name for f in init if f.default is dataclasses.MISSING is f.default_factory]
        faults += [fault(name, None, "is missing", "give it a value") for name in required if name not in data]
        values, nested = cls._values(data)
        complete = not nested and set(required) <= values.keys()
        try:
            config = cls(**values) if complete else None
        except ConfigError as error:
            raise ConfigError(cls.__name__, faults + error.faults) from None
        if config is None or faults:
            raise ConfigError(cls.__name__, [*faults, *nested, *_type_faults(get_type_hints(cls), values)])
        return config

    @classmethod
    def _values(cls, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The known values of `data` as the fields want them, and the faults of nested configurations."""
        hints, values, faults = get_type_hints(cls), {}, []
        for name in (f.name for f in dataclasses.fields(cls) if f.init and f.name in data):
            try:
                values[name] = _from_outside(data[name], hints[name])
            except ConfigError as error:
                faults += [f"{name}: {line}" for line in error.faults]
        return values, faults

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready values; `from_dict` brings it back equal."""
        fields = [f.name for f in dataclasses.fields(self) if f.init]
        return {name: _to_outside(getattr(self, name)) for name in fields}

    def replace(self, **changes: Any) -> Self:
        """A checked copy with some fields changed; unknown names are refused."""
        faults = unknown_keys(changes, [f.name for f in dataclasses.fields(self) if f.init])
        if faults:
            raise ConfigError(type(self).__name__, faults)
        return dataclasses.replace(self, **changes)


# ---- the parts of a message -----------------------------------------------------------------------------------------


def fault(field: str, value: object, problem: str, cure: str) -> str:
    """One line about one fault: which field, which value, what is wrong, what to do."""
    return f"{field} = {value!r} {problem}; {cure}"


def unknown_keys(given: Iterable[str], known: Collection[str]) -> list[str]:
    """A fault for each given key that is not known, with the nearest known key or else all of them."""
    faults = []
    for key in given:
        if key in known:
            continue
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        faults.append(f"unknown key {key!r}; {hint}known keys: {', '.join(sorted(known))}")
    return faults


def _type_faults(hints: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    return [_type_fault(name, value, hints[name]) for name, value in values.items() if not matches(value, hints[name])]


def _type_fault(name: str, value: Any, hint: Any) -> str:
    if get_origin(hint) is Literal and type(value) in map(type, get_args(hint)):
        return _not_a_choice(name, value, get_args(hint))
    return fault(name, value, f"is a {type(value).__name__}", f"give {describe(hint)}")


def _not_a_choice(name: str, value: object, options: Collection[object]) -> str:
    near = difflib.get_close_matches(str(value), [str(option) for option in options], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return fault(name, value, "is not a choice", f"give one of {', '.join(map(repr, options))}{hint}")


def _from_outside(value: Any, hint: Any) -> Any:
    return coerce(value, hint, lambda target, data: target.from_dict(data), BaseConfig)


def _to_outside(value: Any) -> Any:
    if isinstance(value, BaseConfig):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _to_outside(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_outside(item) for item in value]
    return str(value) if isinstance(value, Path) else value


# ---- checks for `faults()`: each looks at named fields and returns one line per faulty one --------------------------
# A value that is None (an optional field left out) or of the wrong type (reported already) is passed over.


def _number(config: object, name: str) -> float | None:
    value = getattr(config, name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def positive(config: object, *names: str) -> list[str]:
    """The named numbers are above zero (and finite)."""
    values = {name: _number(config, name) for name in names}
    return [
        fault(name, value, "is not positive", "give a number above 0")
        for name, value in values.items()
        if value is not None and not 0 < value < math.inf
    ]


def in_range(
    config: object, name: str, low: float | None = None, high: float | None = None, *, open_high: bool = False
) -> list[str]:
    """The named number lies in [low, high], or [low, high) with `open_high`; None leaves a side open."""
    value = _number(config, name)
    if value is None:
        return []
    below = low is not None and not value >= low  # written so that NaN is out of range
    above = high is not None and not (value < high if open_high else value <= high)
    if not (below or above or math.isnan(value)):
        return []
    left = "(-inf" if low is None else f"[{low}"
    right = "inf)" if high is None else f"{high}{')' if open_high else ']'}"
    return [fault(name, value, "is out of range", f"give a number in {left}, {right}")]


def choice(config: object, name: str, options: Collection[object]) -> list[str]:
    """The named value is one of the options."""
    value = getattr(config, name)
    return [] if value is None or value in options else [_not_a_choice(name, value, options)]


def divides(config: object, divisor: str, dividend: str) -> list[str]:
    """The number in field `divisor` divides the one in field `dividend`."""
    small, large = _number(config, divisor), _number(config, dividend)
    if small is None or large is None or small <= 0 or large <= 0 or large % small == 0:
        return []
    return [fault(divisor, small, f"does not divide {dividend} = {large!r}", "change one of the two")]
