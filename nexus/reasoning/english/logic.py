"""Rules, facts, quantifiers and negation in English.

Every wumpus is a yumpus. Yumpuses are not red. Max is a wumpus. If someone is red and big then they are kind.
The cat chases the dog. No cat is a dog. Some cats are red. Either Max is red or Fae is blue. Is Max kind?
"""

from __future__ import annotations

from nexus.reasoning.english.text import Discourse, Effect, English, Query
from nexus.reasoning.english.words import is_open, is_plural, lemma, singular, third_person
from nexus.reasoning.formulas import (
    And,
    Atom,
    Exists,
    Forall,
    Formula,
    Iff,
    Implies,
    Not,
    Or,
    Sym,
    Term,
    Var,
    conjunction,
    disjunction,
    negation,
)

X = Var("x")
PRONOUNS = ("it", "they", "he", "she")
_PEOPLE = ("people", "things", "person", "thing", "individuals", "objects")


class Logic:
    """Reads one sentence; `phrases` collects how predicates are said, for proofs in words."""

    def __init__(self, c: English, d: Discourse) -> None:
        self.c, self.d = c, d
        self.phrases: dict[str, str] = {}
        self.names: list[str] = []
        self.variable = False  # "someone" has been said: pronouns mean it
        self.extra: list[Formula] = []  # "a cat" as the subject of a condition

    # ---- sentences --------------------------------------------------------------------------------------------------

    def statement(self) -> Formula:
        """A whole statement."""
        c = self.c
        if c.accept("it is not the case that", "it is false that", "it is not true that"):
            return negation(self.statement())
        if c.accept("it is true that", "it is the case that", "we know that"):
            return self.statement()
        if c.word == "if":
            return self.conditional()
        if c.accept("either"):
            first = self.clause()
            c.need("or")
            return Or((first, self.clause_after(first)))
        quantified = self.quantified()
        if quantified is not None:
            return quantified
        first = self.clause()
        if c.word in ("and", "or", ","):
            first = self.more(first)
        if c.accept("if and only if", "exactly if"):
            return Iff(first, self.conditions())
        if c.accept("if"):
            condition = self.conditions()
            return self.closed(Implies(conjunction([*self.extra, condition]), first))
        return first

    def conditional(self) -> Formula:
        self.c.need("if")
        condition = self.conditions()
        if not self.c.accept(", then", "then", ","):
            self.c.fail("stands where 'then' belongs", "write: if ... then ...")
        result = self.more(self.clause())
        return self.closed(Implies(conjunction([*self.extra, condition]), result))

    def closed(self, formula: Formula) -> Formula:
        return Forall("x", formula) if self.variable else formula

    def conditions(self) -> Formula:
        return self.more(self.clause())

    def more(self, first: Formula) -> Formula:
        """Further clauses after "and" or "or"; the two are not mixed."""
        parts, sign = [first], ""
        while self.c.word in ("and", "or") or (self.c.word == "," and self.c.peek() in ("and", "or")):
            self.c.accept(",")
            word = self.c.take().text.lower()
            if sign and word != sign:
                self.c.position -= 1
                self.c.fail("mixes 'and' with 'or'", "say it in two sentences")
            sign = word
            parts.append(self.clause_after(parts[-1]))
        return disjunction(parts) if sign == "or" else conjunction(parts)

    def clause_after(self, before: Formula) -> Formula:
        """A clause whose subject may be left out: "Max is red and chases the dog"."""
        if self._starts_predicate():
            return self.predicate(self.subject_now)
        return self.clause()

    def clause(self) -> Formula:
        """Subject and predicate."""
        if self.c.accept("there is"):
            self.c.fail("is not understood here", "name the individual")
        self.subject_now = self.subject()
        return self.predicate(self.subject_now)

    # ---- quantifiers ------------------------------------------------------------------------------------------------

    def quantified(self) -> Formula | None:
        """A sentence about all, no or some of a kind; None if it is about individuals."""
        c, start = self.c, self.c.position
        if c.accept("not all", "not every"):
            return Not(self.universal(positive=True))
        if c.accept(
            "every",
            "each",
            "any",
            "all",
            "everything that is",
            "everyone who is",
            "whatever is",
            "anyone who is",
            "anything that is",
            "whoever is",
            "everyone that is",
        ):
            return self.universal(positive=True)
        if c.accept("everything", "everyone", "everybody"):
            return Forall("x", self.predicate(X))
        if c.accept("nothing", "nobody", "no one"):
            return Forall("x", negation(self.predicate(X)))
        if c.accept("no", "none of the"):
            return self.universal(positive=False)
        if c.accept("only"):
            c.fail("is not understood", "say which are: every A is a B")
        if c.accept("some", "there is a", "there is an", "there are some", "at least one"):
            return self.existential()
        conditional = any(t.text.lower() == "if" for t in c.stream[start:])  # "someone is kind if they are young"
        if not conditional and c.accept("something", "someone", "somebody"):
            return Exists("x", self.predicate(X))
        if c.word in ("a", "an") and is_open(c.peek()):
            c.take()
            generic = self.universal(positive=True)
            if "is a" not in c.text() and "is an" not in c.text():
                c.fail("ends a sentence that may be about one or about all", "write 'every' or 'some' for 'a'")
            return generic
        if self._bare_plural():
            return self.universal(positive=True)
        c.position = start
        return None

    def universal(self, positive: bool) -> Formula:
        restriction = self.kind()
        claim = self.predicate(X)
        return Forall("x", Implies(restriction, claim if positive else negation(claim)))

    def existential(self) -> Formula:
        restriction = self.kind()
        if self.c.accept("that", "who", "which"):
            pass
        elif self.c.done:
            return Exists("x", restriction)
        parts = [restriction, self.predicate(X)]
        flat = [p for part in parts for p in (part.parts if isinstance(part, And) else (part,))]
        return Exists("x", And(tuple(flat)))

    def _bare_plural(self) -> bool:
        """Words before "are" (or a verb) that end in a plural noun: "cats are", "red, young people are"."""
        words = [t.text for t in self.c.stream[self.c.position :]]
        for place, word in enumerate(words[:6]):
            if word.lower() in ("are", "aren't", "do", "don't", "that", "who", "which") and place:
                return is_plural(words[place - 1])
            object_next = place > 1 and (words[place : place + 1] == ["the"] or word[:1].isupper())
            if object_next and is_plural(words[place - 2]) and lemma(words[place - 1]) == words[place - 1]:
                return True  # "cats like the dog": the verb has no s
            if not (is_open(word) or word in (",",) or word.lower() == "and"):
                return False
        self.c.unfinished |= len(words) < 6
        return False

    def kind(self) -> Formula:
        """What a quantifier ranges over: adjectives and a noun, perhaps with "that is ..."."""
        c = self.c
        c.accept("a", "an")
        parts: list[Formula] = []
        joined = False
        while True:
            word = c.open_word("noun or adjective")
            before, joined = joined, c.accept(",", "and")
            last = not (joined or (not c.done and is_open(c.token.text) and self._noun_ahead()))
            if last and before:  # "every cat and dog" is each of both, "every big and red cat" is one that is both
                c.position -= 1
                c.fail("joins two kinds", "write a sentence for each")
            if word.lower() in _PEOPLE and last:
                break
            parts.append(self.unary(singular(word) if last else word, noun=last and not self._was_adjective()))
            if last:
                break
        if c.word in ("that", "who", "which") and c.peek() in ("is", "are", "isn't", "aren't"):
            c.take()
            inner = self.predicate(X)
            parts += inner.parts if isinstance(inner, And) else (inner,)
            c.accept(",")
        return conjunction(parts)

    def _was_adjective(self) -> bool:
        return self.c.stream[max(self.c.position - 2, 0)].text.lower() in ("is", "who", "that")

    def _noun_ahead(self) -> bool:
        """Whether the open word that comes next belongs to the noun phrase and is not its verb."""
        after = self.c.peek()
        if self.c.word in _PEOPLE:
            return True
        ends = ("is", "are", "isn't", "aren't", "do", "does", "don't", "doesn't", "that", "who", "which", "")
        return after in ends or (is_open(after) and self.c.peek(2) in ends and self.c.peek(2) != "")

    # ---- subjects, predicates ---------------------------------------------------------------------------------------

    def subject(self) -> Term:
        c = self.c
        if c.word in ("someone", "something", "somebody", "anyone", "anything") or (
            c.word == "a" and c.peek() in ("person", "thing")
        ):
            c.accept("a")
            c.take()
            self._introduce()
            return X
        if c.word in PRONOUNS or (c.word == "that" and c.peek() in ("person", "thing")):
            if not self.variable:
                c.fail("refers to something that is not named", "write the name instead")
            c.accept("that")
            c.take()
            return X
        if c.accept("people", "things"):
            self._introduce()
            return X
        if c.word in ("a", "an"):
            c.take()
            self._introduce()
            self.extra.append(self.unary(singular(c.open_word("noun")), noun=True))
            return X
        return Sym(self.individual())

    def _introduce(self) -> None:
        if self.variable:
            self.c.fail("brings in a second unnamed thing", "use 'it' or 'they' for the first, and names for others")
        self.variable = True

    def individual(self) -> str:
        """A name, or "the" with a noun."""
        c = self.c
        if c.accept("the"):
            words = [c.open_word("noun")]
            if not c.done and is_open(c.token.text) and not self._verb_next():
                words.append(c.open_word("noun"))
            if is_plural(words[-1]) and words[-1].lower() not in ("sheep", "fish"):
                c.position -= 1
                c.fail("is a plural after 'the'", "say 'every ...' or name a single one")
            return self._named("the " + " ".join(words).lower())
        if c.done or not c.token.text[:1].isupper():
            c.fail("is no name", "begin names with a capital letter, or write 'the' before the noun")
        return self._named(c.open_word("name"))

    def _verb_next(self) -> bool:
        """Whether the next open word is a verb with an object behind it."""
        after = self.c.peek()
        spelled = self.c.stream[self.c.position + 1].text if self.c.position + 1 < len(self.c.stream) else ""
        return after == "the" or spelled[:1].isupper()

    def _named(self, spelling: str) -> str:
        self.names.append(spelling)
        return spelling.lower().removeprefix("the ").replace(" ", "_").replace("-", "_")

    def _starts_predicate(self) -> bool:
        c = self.c
        if c.word in ("is", "are", "isn't", "aren't", "does", "do", "doesn't", "don't", "not"):
            return True
        return is_open(c.token.text) and self._verb_next() and not c.token.text[:1].isupper()

    def predicate(self, subject: Term) -> Formula:
        """What is said of a subject: "is ...", or a verb with an object."""
        c = self.c
        if c.accept("isn't", "aren't"):
            return self.complements(subject, False)
        if c.accept("is", "are"):
            negative = c.accept("not")
            return self.complements(subject, not negative)
        if c.accept("doesn't", "don't", "does not", "do not"):
            return Not(self.relation(c.open_word("verb"), subject))
        if c.token.text[:1].isupper():
            c.fail("is no verb", "write verbs in small letters, and names as one word")
        verb = c.open_word("verb")
        if isinstance(subject, Sym) and lemma(verb) == verb.lower():
            c.position -= 1
            c.fail("is no verb in the third person", "write: likes, chases, sees ... or 'is' with a property")
        return self.relation(lemma(verb), subject)

    def relation(self, verb: str, subject: Term) -> Formula:
        key = self.d.key(verb)
        self.phrases[key] = f"{{0}} {third_person(verb.lower())} {{1}}"
        if self.c.word in PRONOUNS or self.c.word in ("them", "him", "her"):
            self.c.fail("refers to something that is not named", "write the name instead")
        return Atom(key, (subject, Sym(self.individual())))

    def complements(self, subject: Term, positive: bool) -> Formula:
        """One or more of: adjective, "a" noun. "Not red and big" is refused: it can be read in two ways."""
        c = self.c
        parts, sign = [self.complement(subject)], ""
        while c.word in ("and", "or", ",") and self._complement_follows():
            comma = c.accept(",")
            word = c.take().text.lower() if c.word in ("and", "or") else "and" if comma else ""
            if sign and word != sign and not (comma and word == "and"):
                c.fail("mixes 'and' with 'or'", "say it in two sentences")
            sign = word
            opposite = c.accept("not")
            if not positive and not opposite:
                c.position -= 1
                c.fail("joins a negated and another property, which can be read in two ways", "write two sentences")
            part = self.complement(subject)
            parts.append(negation(part) if opposite else part)
        if not positive:
            parts[0] = negation(parts[0])
        return disjunction(parts) if sign == "or" else conjunction(parts)

    def _complement_follows(self) -> bool:
        """Whether "and" goes on with a property rather than with a new clause."""
        ahead = 2 if self.c.word == "," and self.c.peek() in ("and", "or") else 1
        first, second, third = (self.c.peek(n) for n in (ahead, ahead + 1, ahead + 2))
        if first == "not":
            first, second, third = second, third, self.c.peek(ahead + 3)
        ends = ("", "and", "or", ",", "then", "if")
        if first in ("a", "an"):
            return is_open(second) and (third in ends or self.c.peek(ahead + 3) in ends)
        return is_open(first) and second in ends

    def complement(self, subject: Term) -> Formula:
        c = self.c
        if c.accept("a", "an"):
            words = [c.open_word("noun")]
            while not c.done and is_open(c.token.text):
                words.append(c.open_word("noun"))
            if len(words) > 3:
                c.fail("comes after too many adjectives", "say them in sentences of their own")
            adjectives = [self.unary(w, subject=subject) for w in words[:-1]]
            return conjunction([*adjectives, self.unary(singular(words[-1]), noun=True, subject=subject)])
        word = c.open_word("adjective or 'a' noun")
        noun = is_plural(word) and c.stream[c.position - 2].text.lower() != "is"
        return self.unary(singular(word) if noun else word, noun=noun, subject=subject)

    def unary(self, word: str, noun: bool = False, subject: Term = X) -> Formula:
        key = self.d.key(word)
        article = "an" if word[:1].lower() in "aeiou" else "a"
        said = f"{{0}} is {article} {word.lower()}" if noun else f"{{0}} is {word.lower()}"
        self.phrases.setdefault(key, said)
        return Atom(key, (subject,))

    # ---- questions --------------------------------------------------------------------------------------------------

    def question(self) -> Query:
        """A question, or a statement to be judged."""
        c = self.c
        words = c.text()
        c.accept("question :", "question")
        asked = c.accept(
            "true or false :",
            "true or false ,",
            "is it true that",
            "does it follow that",
            "is it the case that",
            "prove :",
            "prove that",
            "show that",
            "decide :",
            "does it logically follow that",
            "is it true or false that",
            "can we conclude that",
            "claim :",
            "conclusion :",
        )
        if asked:
            return Query("decide", words, formula=self.statement())
        if c.end != "?":
            c.fail("does not begin a question")
        if c.accept("who is", "what is", "who are", "which one is"):
            return self._who(words)
        if c.word in ("is", "are"):
            return Query("decide", words, formula=self._yes_no())
        if not c.accept("does"):
            c.fail("begins no question that is understood", "ask: Is ... ?  Does ... ?  True or false: ...")
        subject = Sym(self.individual())
        negative = c.accept("not")
        formula = self.relation(c.open_word("verb"), subject)
        return Query("decide", words, formula=negation(formula) if negative else formula)

    def _yes_no(self) -> Formula:
        c = self.c
        c.take()
        if c.accept("every", "all", "each", "any"):
            return self._kind_question(True)
        if c.accept("no"):
            return self._kind_question(False)
        if c.accept("there a", "there an", "there some"):
            return self.existential()
        if c.accept("some"):
            restriction = self.unary(singular(c.open_word("noun")), noun=True)
            return Exists("x", And((restriction, self.complements(X, True))))
        if c.accept("something", "someone", "anything", "anyone"):
            return Exists("x", self.complements(X, True))
        subject = Sym(self.individual())
        negative = c.accept("not")
        return self.complements(subject, not negative)

    def _kind_question(self, positive: bool) -> Formula:
        """In "are all cats animals" no verb parts the two: the kind is one word, the rest is said of it."""
        c = self.c
        words = [c.open_word("noun")]
        restriction = self.unary(singular(words[0]), noun=True)
        negative = c.accept("not")
        claim = self.complements(X, not negative)
        return Forall("x", Implies(restriction, claim if positive else negation(claim)))

    def _who(self, words: str) -> Query:
        negative = self.c.accept("not")
        formula = self.complements(X, not negative)
        return Query("which", words, formula=formula)


def statement(c: English, d: Discourse) -> Effect:
    """A sentence that states something."""
    if c.end == "?":
        c.fail("begins a question")
    reader = Logic(c, d)
    c.accept("suppose that", "given that", "fact :", "rule :", "premise :")
    formula = reader.statement()
    c.finish()

    def effect() -> None:
        _remember(reader, d)
        d.say(c.text(), formula)

    return effect


def question(c: English, d: Discourse) -> Effect:
    """A question about what has been stated."""
    reader = Logic(c, d)
    query = reader.question()
    c.finish()

    def effect() -> None:
        _remember(reader, d)
        d.queries.append(query)

    return effect


def closed_world(c: English, d: Discourse) -> Effect:
    """The sentence that closes the world."""
    c.need(
        "assume a closed world",
        "closed world",
        "assume that everything that is not stated is false",
        "what is not stated or derived is false",
        "everything that cannot be derived is false",
    )
    c.finish()

    def effect() -> None:
        d.closed = True

    return effect


def _remember(reader: Logic, d: Discourse) -> None:
    for key, phrase in reader.phrases.items():
        d.phrases.setdefault(key, phrase)
    for spelling in reader.names:
        d.names.setdefault(spelling.lower().removeprefix("the ").replace(" ", "_").replace("-", "_"), spelling)
