"""Data as named columns of numbers: from NumPy, pandas, a mapping or a CSV file, checked on the way in."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAX_LEVELS = 10  # whole-number columns with at most this many different values count as discrete
_MISSING = {"", "na", "nan", "null", "none", "?"}


@dataclass(frozen=True)
class Table:
    """Checked data.

    Attributes:
        names: one name a column.
        values: (n, d); texts are coded by their place in `levels`.
        levels: column -> its texts in code order, for columns that held texts.
    """

    names: tuple[str, ...]
    values: Floats
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str) -> Floats:
        """The values of one column, (n,).

        Raises:
            ValueError: there is no such column.
        """
        return self.values[:, self.at(name)]

    def at(self, name: str) -> int:
        """The place of a column; a ValueError names the columns that there are."""
        if name not in self.names:
            raise ValueError(f"the data have no column {name!r}; they have {', '.join(self.names)}")
        return self.names.index(name)

    def select(self, names: Collection[str]) -> Floats:
        """Some columns, (n, k), in the order asked for."""
        return self.values[:, [self.at(name) for name in names]]

    def rows(self, at: Any) -> Table:
        """The same columns with some of the rows."""
        return Table(self.names, self.values[at], self.levels)

    def with_column(self, name: str, values: Any) -> Table:
        """A copy with one column replaced, or added at the end."""
        new = np.asarray(values, dtype=float)
        if name in self.names:
            changed = self.values.copy()
            changed[:, self.at(name)] = new
            return Table(self.names, changed, self.levels)
        return Table((*self.names, name), np.column_stack([self.values, new]), self.levels)

    def is_discrete(self, name: str) -> bool:
        """Texts, or whole numbers with few different values."""
        values = self.column(name)
        return name in self.levels or (
            len(np.unique(values)) <= MAX_LEVELS and bool((values == np.round(values)).all())
        )

    def is_binary(self, name: str) -> bool:
        """Two different values."""
        return len(np.unique(self.column(name))) == 2

    def standardised(self) -> Floats:
        """(n, d): mean 0, variance 1. The order of the variances then says nothing about causes (Reisach 2021)."""
        return standardise(self.values)


def standardise(values: Floats) -> Floats:
    """Columns with mean 0 and variance 1; a constant column becomes zero."""
    centred = values - values.mean(0)
    scale = centred.std(0)
    return centred / np.where(scale > 0, scale, 1.0)


def as_table(data: Any, names: Sequence[str] = ()) -> Table:
    """Read a Table, a pandas frame, a mapping of columns, an array (n, d) or the path of a CSV file.

    Raises:
        ValueError: shapes differ, values are missing or not numbers, a column is constant; all faults at once, each
            with its place and the cure.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, (str, Path)):
        return read_csv(data)
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return _from_columns({str(name): data[name].to_numpy() for name in data.columns})
    if isinstance(data, Mapping):
        return _from_columns({str(name): np.asarray(column) for name, column in data.items()})
    values = np.asarray(data.detach().cpu().numpy() if hasattr(data, "detach") else data)
    if values.ndim != 2:
        raise ValueError(f"data have shape {values.shape}; give a table (n, d)")
    if names and len(names) != values.shape[1]:
        raise ValueError(
            f"names = {list(names)!r} are {len(names)}, the data have {values.shape[1]} columns; give as many"
        )
    return _from_columns({n: values[:, i] for i, n in enumerate(names or [f"x{i}" for i in range(values.shape[1])])})


def _from_columns(columns: Mapping[str, NDArray[Any]]) -> Table:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"the columns have lengths {sorted(lengths)}; give columns of one length")
    coded, levels, faults = [], {}, []
    for name, column in columns.items():
        numbers, texts = _coded(column)
        coded.append(numbers)
        if texts:
            levels[name] = texts
        faults += _column_faults(name, numbers)
    if faults:
        raise ValueError("data: " + "; ".join(faults))
    return Table(tuple(columns), np.column_stack(coded), levels)


def _coded(column: NDArray[Any]) -> tuple[Floats, tuple[str, ...]]:
    try:
        return np.asarray(column, dtype=float), ()
    except (TypeError, ValueError):
        texts = [str(value) for value in column]
        levels = tuple(sorted(set(texts)))
        return np.array([float(levels.index(text)) for text in texts]), levels


def _column_faults(name: str, values: Floats) -> list[str]:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        return [
            f"column {name!r} has {len(bad)} missing or infinite values, the first in row {bad[0]}; fill or drop them"
        ]
    if len(values) < 4:
        return [f"column {name!r} has {len(values)} rows; give at least 4"]
    return [] if (values != values[0]).any() else [f"column {name!r} is constant ({values[0]:g}); drop it"]


def read_csv(path: str | Path) -> Table:
    """Read a CSV file with a header line.

    Raises:
        ValueError: the file is not such a table; the message gives line, column and cure.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the path of a CSV file with a header line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    rows = _csv_rows(path, text)
    if len(rows) < 2:
        raise ValueError(f"{path}: has {len(rows)} lines; give a header line and then the data")
    header = [name.strip() for name in rows[0][1]]
    _check_header(path, header)
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line}: has {len(row)} values, the header has {len(header)}; "
                "add or remove values (a value that holds a comma needs quotes)"
            )
    columns = {
        name: _csv_column(path, name, [(n, row[i].strip()) for n, row in rows[1:]]) for i, name in enumerate(header)
    }
    return _from_columns(columns)


def _csv_rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Line number and cells of each line that is not empty; cells are divided by commas, semicolons or tabs."""
    divider = next((mark for mark in ",;\t" if mark in text.partition("\n")[0]), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=True)
    try:
        return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; correct the quotes of this line") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    for place, name in enumerate(header, start=1):
        if not name:
            raise ValueError(f"{path}, line 1, column {place}: has no name; name every column")
        if header.index(name) != place - 1:
            raise ValueError(f"{path}, line 1, column {place}: the name {name!r} occurs twice; rename one of the two")


def _csv_column(path: Path, name: str, cells: Sequence[tuple[int, str]]) -> NDArray[Any]:
    """The cells as numbers, or as texts if none of them is a number; a mixture is a fault of the odd ones."""
    for line, cell in cells:
        if cell.lower() in _MISSING:
            raise ValueError(f"{path}, line {line}, column {name!r}: the value is missing; fill it in or drop the line")
    numbers = [_number(cell) for _, cell in cells]
    if all(number is None for number in numbers):
        return np.array([cell for _, cell in cells])
    for (line, cell), number in zip(cells, numbers, strict=True):
        if number is None or not np.isfinite(number):
            raise ValueError(
                f"{path}, line {line}, column {name!r}: {cell!r} is not a number; correct it or drop the line"
            )
    return np.array(numbers, dtype=float)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
