"""Weights to and from another library's names, by one table that is read in both directions.

The one idea: a line of the table says what makes up what, and a line that can be read backwards needs no second table.

    BRIDGE = Bridge(
        Same("embed.weight", "model.embed_tokens.weight"),
        Same("layers.{i}.norm.{p}", "model.layers.{i}.input_layernorm.{p}"),
        Stack("layers.{i}.gate_up.weight", ("model.layers.{i}.gate_proj.weight", "model.layers.{i}.up_proj.weight")),
        Turned("head.weight", "lm_head.kernel"),
        ignored=("model.rotary.inv_freq",),        # theirs, and nothing that was learnt
    )
    ours.load_state_dict(BRIDGE.to_ours(theirs.state_dict()))
    theirs.load_state_dict(BRIDGE.to_theirs(ours.state_dict()), strict=False)

A word in braces stands for anything without a dot, and for the same on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Same:
    """One tensor of ours is one of theirs."""

    ours: str
    theirs: str

    @property
    def parts(self) -> tuple[str, ...]:
        """Patterns of theirs."""
        return (self.theirs,)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Theirs to ours."""
        return parts[0]

    def split(self, whole: Tensor) -> Sequence[Tensor]:
        """Ours to theirs."""
        return [whole]


@dataclass(frozen=True)
class Turned(Same):
    """One tensor of ours is one of theirs with its last two dimensions swapped."""

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Theirs to ours."""
        return parts[0].mT.contiguous()

    def split(self, whole: Tensor) -> Sequence[Tensor]:
        """Ours to theirs."""
        return [whole.mT.contiguous()]


@dataclass(frozen=True)
class Stack:
    """One tensor of ours is several of theirs, one after the other along ``dim``.

    Attributes:
        sizes: of the parts along ``dim``; equal ones if it is empty.
    """

    ours: str
    parts: tuple[str, ...]
    dim: int = 0
    sizes: tuple[int, ...] = ()

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Theirs to ours."""
        return torch.cat(list(parts), self.dim)

    def split(self, whole: Tensor) -> Sequence[Tensor]:
        """Ours to theirs. Raises ValueError if the sizes do not add up."""
        length, count = whole.shape[self.dim], len(self.parts)
        sizes = list(self.sizes) or [length // count] * count
        if sum(sizes) != length:
            raise ValueError(f"{self.ours}: {length} is not {' + '.join(map(str, sizes))}; give the line its sizes")
        return [part.contiguous() for part in whole.split(sizes, self.dim)]


Line = Same | Stack


class Bridge:
    """A table of lines; the first that fits a name counts.

    Args:
        lines: what makes up what.
        ignored: patterns of names of theirs that hold nothing learnt.
    """

    def __init__(self, *lines: Line, ignored: Sequence[str] = ()) -> None:
        self.lines = lines
        self.ignored = [_compiled(pattern) for pattern in ignored]

    def to_theirs(self, weights: Weights) -> dict[str, Tensor]:
        """Ours under their names. Raises ValueError for names without a line, and for two that become one."""
        made: dict[str, Tensor] = {}
        unknown = []
        for name, tensor in weights.items():
            found = self._line(name)
            if found is None:
                unknown.append(name)
                continue
            line, words = found
            for pattern, part in zip(line.parts, line.split(tensor), strict=True):
                _put(made, pattern.format(**words), part)
        _refuse("no line for these of ours", unknown)
        return made

    def to_ours(self, weights: Weights) -> dict[str, Tensor]:
        """Theirs under our names. Raises ValueError for names without a line or a partner, and for doubles."""
        made: dict[str, Tensor] = {}
        left = {name for name in weights if not any(pattern.fullmatch(name) for pattern in self.ignored)}
        for line in self.lines:
            for words in self._matches(line, left):
                names = [pattern.format(**words) for pattern in line.parts]
                _refuse("these of theirs are missing", [name for name in names if name not in weights])
                _put(made, line.ours.format(**words), line.join([weights[name] for name in names]))
                left -= set(names)
        _refuse("no line for these of theirs", sorted(left))
        return made

    def _line(self, name: str) -> tuple[Line, dict[str, str]] | None:
        for line in self.lines:
            if match := _compiled(line.ours).fullmatch(name):
                return line, match.groupdict()
        return None

    def _matches(self, line: Line, names: set[str]) -> list[dict[str, str]]:
        """What the words of a line stand for, wherever one of its parts is there."""
        found = []
        for pattern in map(_compiled, line.parts):
            found += [match.groupdict() for name in sorted(names) if (match := pattern.fullmatch(name))]
        return [words for number, words in enumerate(found) if words not in found[:number]]


def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern with words in braces as a regular expression; a word that comes again has to be the same."""
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        word = match[1]
        text = f"(?P={word})" if word in seen else f"(?P<{word}>[^.]+)"
        seen.add(word)
        return text

    return re.compile(re.sub(r"\\\{(\w+)\\\}", group, re.escape(pattern)))


def _put(made: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    if name in made:
        raise ValueError(f"{name}: two tensors get this name; make the table's patterns narrower")
    made[name] = tensor


def _refuse(what: str, names: Sequence[str]) -> None:
    if names:
        raise ValueError(f"{what}: {', '.join(names)}; put them into the bridge's table")
