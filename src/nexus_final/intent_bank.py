"""Wordings for the router's examples: one bank a split, so that what is tested was never worded so in training.

The one idea: `{x}` is a question, `{p}` a passage. Training sees its own wrappers only; the other two banks also get
other words and another case (`LEXICON`, applied outside training).
"""

from __future__ import annotations

from nexus.data.text import Split

# Around a question of any kind; the bare question is among them, more often than the others.
ASK: dict[Split, tuple[str, ...]] = {
    "train": (
        "{x}", "{x}", "{x}", "Please answer: {x}", "Question: {x}", "Can you help me with this? {x}",
        "I would like to know: {x}", "{x} Answer briefly.", "{x} Think step by step.",
    ),
    "heldout": (
        "{x}", "Quick one: {x}", "Any idea about this? {x}", "{x} Keep it short, please.", "Need some help here. {x}",
    ),
    "test": (
        "{x}", "Hey, I was wondering: {x}", "Got a sec? {x}", "My friend asked me this. {x}",
        "{x} Just tell me straight.", "Not sure about this one: {x}",
    ),
}  # fmt: skip

READ: dict[Split, tuple[str, ...]] = {
    "train": (
        "{p}\n\n{x}", "Read the text and answer the question. {p} Question: {x}", "Text: {p}\nQuestion: {x}",
        "{x}\n\n{p}", "Answer from the passage.\n{p}\n{x}",
    ),
    "heldout": (
        "According to the following paragraph: {x}\n\n{p}", "{x} Use what is written here: {p}", "\"{p}\" So, {x}",
    ),
    "test": (
        "Here's something I found: \"{p}\" Now tell me: {x}", "{x}\n---\n{p}", "Going only by these lines: {x} {p}",
        "I copied this from a page. {p} And now, {x}",
    ),
}  # fmt: skip

SUMMARISE: dict[Split, tuple[str, ...]] = {
    "train": (
        "Summarise this text: {p}", "{p}\n\nGive a short summary.", "Sum up the following in one sentence: {p}",
        "Write a summary of this. {p}", "{p}\nSummary:",
    ),
    "heldout": (
        "What are the main points of this article? {p}", "{p}\n\nPut that in one sentence for me.",
        "Please shorten this text to its essence: {p}",
    ),
    "test": (
        "TL;DR, please:\n{p}", "Boil this down to two lines: {p}", "{p}\n\nIn short, what does it say?",
        "I have no time to read all this, give me the gist: {p}",
    ),
}  # fmt: skip

# Applied outside training only, whole words, each where it fits.
LEXICON: tuple[tuple[str, str], ...] = (
    ("how many", "what number of"),
    ("how much", "what amount"),
    ("how do i", "what's a good way to"),
    ("how do you", "what's the right way to"),
    ("how can i", "is there a way to"),
    ("how would you describe", "what word fits"),
    ("what is", "what's"),
    ("does not", "doesn't"),
    ("did not", "didn't"),
    ("bought", "purchased"),
    ("buy", "purchase"),
    ("gave", "handed over"),
    ("altogether", "in total"),
    ("in all", "in total"),
    ("children", "kids"),
    ("people", "folks"),
    ("begin", "start"),
    ("large", "big"),
    ("small", "little"),
    ("make", "put together"),
    ("likely", "probably"),
    ("patients", "sick people"),
    ("treatment", "therapy"),
    ("wants to", "would like to"),
    ("needs to", "has to"),
    ("after", "following"),
    ("get", "obtain"),
    ("remove", "take off"),
)

CHAT: dict[Split, tuple[str, ...]] = {
    "train": ("{x}", "{x}", "{x} :)", "hey, {x}", "{x}!", "ok, {x}"),
    "heldout": ("{x}", "well, {x}", "{x} :D"),
    "test": ("{x}", "so, {x}", "{x} ;-)", "oh, {x}"),
}

# Small grammars of languages that the student wasn't taught: subjects, verbs, objects.
Grammar = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
LANGUAGES: dict[Split, tuple[Grammar, ...]] = {
    "train": (
        (("Der Hund", "Meine Tante"), ("sucht", "verliert", "kauft"), ("den Schlüssel.", "drei Äpfel.", "das Haus.")),
        (("El perro", "Mi hermana"), ("busca", "pierde", "compra"), ("la llave.", "tres libros.", "una casa.")),
        (("Le chien", "Ma voisine"), ("cherche", "perd", "achète"), ("la clé.", "trois pommes.", "la maison.")),
    ),
    "heldout": (
        (("Il cane", "Mia sorella"), ("cerca", "perde", "compra"), ("la chiave.", "tre libri.", "una casa.")),
        (("De hond", "Mijn tante"), ("zoekt", "verliest", "koopt"), ("de sleutel.", "drie appels.", "het huis.")),
    ),
    "test": (
        (("O cachorro", "Minha irmã"), ("procura", "perde", "compra"), ("a chave.", "três livros.", "uma casa.")),
        (("Hunden", "Min faster"), ("söker", "tappar", "köper"), ("nyckeln.", "tre äpplen.", "huset.")),
        (("Pies", "Moja ciotka"), ("szuka", "gubi", "kupuje"), ("klucza.", "trzy jabłka.", "dom.")),
    ),
}  # fmt: skip
