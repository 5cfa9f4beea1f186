"""The words of controlled English: which are part of the grammar, and how the others are brought to their base form.

The vocabulary of nouns, adjectives, verbs and names is open. What makes that safe is the closed list of words that
carry logic, time, degree or doubt: one of them at a place where the grammar does not know it is a fault, never a noun.
"""

from __future__ import annotations

_GRAMMAR = """a an the every each any all no some none not never is are am was were be been being isn't aren't do does
did don't doesn't didn't has have had if then and or nor either neither both but so that who which whom whose what where
when why how than as of to in on at by from with without into over under between among about it its they them their he
him his she her hers we us our you your i me my this these those there here someone something anyone anything everyone
everything nobody nothing anybody everybody somebody whatever whoever one ones other others another true false"""
_HEDGES = """most many few several lot lots much more less least fewer majority half almost nearly about roughly
approximately exactly only just even also too again still yet already usually often sometimes seldom rarely normally
generally typically mostly always probably possibly perhaps maybe likely unlikely certainly surely presumably apparently
allegedly reportedly hardly barely unless until while before after since because although though however therefore hence
except besides instead rather quite very really may might must can could should would shall will cannot can't won't
wouldn't shouldn't couldn't seems seem seemed appears appear appeared becomes become became believes believe believed
thinks think thought knows know knew doubts doubt hopes hope wants want wishes wish says say said claims claim claimed
suppose supposes supposed imagine pretend pretends used same different similar like-minded together yesterday today
tomorrow now soon later ago once twice former ex fake alleged so-called potential possible impossible future toy
counterfeit would-be virtual artificial past otherwise respectively whether per unlike via versus next
previous please"""
HEDGES = frozenset(_HEDGES.split())
RESERVED = frozenset((_GRAMMAR + " " + _HEDGES).split())
_NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty"""
NUMBERS = {word: value for value, word in enumerate(_NUMBERS.split())}
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
ORDINALS = {word: value for value, word in enumerate(_ORDINALS.split(), 1)}
ORDINALS |= {f"{n}{'st' if n == 1 else 'nd' if n == 2 else 'rd' if n == 3 else 'th'}": n for n in range(1, 11)}
_IRREGULAR = {"mice": "mouse", "men": "man", "women": "woman", "people": "person", "children": "child",
              "geese": "goose", "wolves": "wolf", "feet": "foot", "teeth": "tooth", "knives": "knife",
              "shelves": "shelf", "leaves": "leaf", "cookies": "cookie", "movies": "movie", "species": "species",
              "sheep": "sheep", "fish": "fish", "knaves": "knave", "lives": "life", "loaves": "loaf",
              "buses": "bus", "pies": "pie", "shoes": "shoe"}  # fmt: skip


def is_open(word: str) -> bool:
    """Whether a word may be a noun, an adjective, a verb or a name."""
    lower = word.lower()
    return word.replace("-", "").isalpha() and lower not in RESERVED and lower not in NUMBERS


def singular(word: str) -> str:
    """The singular of a noun; a word that is no plural stays as it is."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes", "uses", "oes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 2:
        return word[:-1]
    return word


def is_plural(word: str) -> bool:
    """Whether the word has the form of a plural."""
    return singular(word) != word.lower() or word.lower() in ("sheep", "fish")


def lemma(verb: str) -> str:
    """Base form of a verb in the third person: chases, watches, carries."""
    verb = verb.lower()
    if verb.endswith("ies") and len(verb) > 4:
        return verb[:-3] + "y"
    if verb.endswith(("sses", "shes", "ches", "xes", "zzes", "oes")):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") and not verb.endswith("ss") else verb


def third_person(verb: str) -> str:
    """The form that `lemma` takes back."""
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("ss", "sh", "ch", "x", "zz", "o")) else "s")
