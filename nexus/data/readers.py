"""Read text out of the containers people keep it in: txt, jsonl, parquet; long texts are cut into documents.

The one idea: a file yields the same documents in the same order every time, and a line that can't be used is an error
that names file and line, not a silent gap.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nexus.data.errors import DataError
from nexus.data.text import Document, content_id, normalise

DOCUMENT_CHARACTERS = 6_000  # about 1,400 tokens: long texts are cut at blank lines near this size


def read_documents(path: Path, name: str) -> list[Document]:
    """Read one file into documents whose ids start with `name`.

    Raises:
        DataError: a kind of file that isn't known, a malformed line, a missing `text`, or a missing library.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(name, f"{path.name} is no known kind of text file", f"use {', '.join(sorted(READERS))}")
    pieces = (piece for text in reader(path) for piece in cut(text))
    return [Document(f"{name}:{content_id(piece)}", piece, normalise(piece), {"file": path.name}) for piece in pieces]


def cut(text: str, size: int = DOCUMENT_CHARACTERS) -> Iterator[str]:
    """Cut a long text at blank lines (else at line ends, else at blanks) into pieces of about `size` characters."""
    text = text.strip()
    while len(text) > 1.5 * size:
        place = max(text.rfind("\n\n", size // 2, size), 0) or max(text.rfind("\n", size // 2, size), 0)
        place = place or max(text.rfind(" ", size // 2, size), 0) or size
        yield text[:place].strip()
        text = text[place:].strip()
    if text:
        yield text


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each line of a JSON Lines file; blank lines are skipped."""
    with open(path, encoding="utf-8-sig") as handle:
        for number, line in enumerate(_decoded(handle, path), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path.name} line {number}", f"is not JSON ({error.msg} at column {error.colno})", "mend the line"
                ) from error
            if not isinstance(row, dict):
                raise DataError(f"{path.name} line {number}", "is not a JSON object", 'write {"text": "..."}')
            yield number, row


def _decoded(handle: Any, path: Path) -> Iterator[str]:
    try:
        yield from handle
    except UnicodeDecodeError as error:
        raise DataError(path.name, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error


def _texts_of_txt(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8-sig") as handle:
        yield "".join(_decoded(handle, path))


def _texts_of_jsonl(path: Path) -> Iterator[str]:
    for number, row in read_jsonl(path):
        if not isinstance(row.get("text"), str):
            fields = ", ".join(row) or "none"
            raise DataError(f"{path.name} line {number}", f"has no text in field 'text' (fields: {fields})", "add it")
        yield row["text"]


def _texts_of_parquet(path: Path) -> Iterator[str]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataError(path.name, "reading parquet needs pyarrow", "pip install 'nexus-ai[factory]'") from error
    try:
        table = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise DataError(path.name, f"is not a parquet file ({error})", "write it again") from error
    if "text" not in table.schema_arrow.names:
        raise DataError(path.name, f"has no column 'text' (it has {', '.join(table.schema_arrow.names)})", "rename one")
    for batch in table.iter_batches(columns=["text"]):
        for value in batch.column(0).to_pylist():
            if not isinstance(value, str):
                raise DataError(path.name, f"column 'text' holds {type(value).__name__}", "make it strings, no nulls")
            yield value


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".txt": _texts_of_txt,
    ".jsonl": _texts_of_jsonl,
    ".parquet": _texts_of_parquet,
}
