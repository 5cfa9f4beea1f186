"""The release's own words, behind a gate: what it says, how sure that is, and whether the certificate covers it.

The one idea: the certificate's binding is made of what makes the answer: the weights on disk and whether they are held
in eight bits, the template with what comes before the question, the sampler and the score. The memory is no part of it:
the model is asked without what was taught, so teaching cannot change what it says. Questions that come behind other
turns are asked in another way than those that were certified, so their binding differs.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nexus.core.files import sha256_file
from nexus.inference.release import Release
from nexus.inference.sampling import GREEDY, Sampling
from nexus.living.gate import Binding, Certificate, Decision, Gate
from nexus.living.questions import FORM
from nexus.living.scores.combination import Score
from nexus.living.trace import Said
from nexus.living.versions import PLAIN, weights_hash

FOLDER = "living"  # of a release: certificate, score, report and curve
CERTIFICATE, SCORE = "certificate.json", "score.safetensors"
REMEMBERED = 10_000  # answers that are known again
ALONE = 1  # turns of a conversation that is one question


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How an answer was asked for; the certified manner where nothing else is said.

    Attributes:
        system: what the model was told first; None for the release's own.
        turns: messages of the conversation, the system's left out; 0 for a text that is no conversation.
        sampling: how tokens were chosen.
        tokens: the limit of length; None for the certified one.
        stop: texts that end an answer.
        special: whether anything else was wished for, such as a form that the answer has to follow.
        version: of the weights, see `nexus.living.versions`.
    """

    system: str | None = None
    turns: int = ALONE
    sampling: Sampling = GREEDY
    tokens: int | None = None
    stop: tuple[str, ...] = ()
    special: bool = False
    version: str = PLAIN


CERTIFIED = Manner()


class OwnWords:
    """A release's gate with the score that it decides by.

    Args:
        release: what speaks.
        gate: the decisions.
        score: what they rest on.
        score_hash: of the score's file.
    """

    def __init__(self, release: Release, gate: Gate, score: Score, score_hash: str) -> None:
        self.release, self.gate, self.score, self._score_hash = release, gate, score, score_hash
        self._said: OrderedDict[tuple[object, ...], None] = OrderedDict()  # lately

    def binding(self, manner: Manner = CERTIFIED) -> Binding:
        """The binding of an answer that is asked for in this manner."""
        return binding_of(self.release, self.score, self._score_hash, manner)

    def closed(self, manner: Manner = CERTIFIED) -> str:
        """Why nothing said in this manner would be let out; empty if something might be."""
        return self.gate.closed(self.binding(manner))

    def decide(self, said: Said, manner: Manner = CERTIFIED) -> Decision:
        """Whether to let out what was said."""
        return self.gate.decide(float(self.score([said])[0]), self.binding(manner), self._was_said(said))

    def _was_said(self, said: Said) -> bool:
        """Whether the same was said in the same way lately, as it is if a question is repeated."""
        key = (said.text, *np.round(said.logprobs, 2).tolist())
        again = key in self._said
        self._said[key] = None
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return again


def open_own_words(release: Release, folder: Path | None = None, step: float | None = None) -> OwnWords | None:
    """The gate that `nexus certify --release` has left, None if there is none.

    Args:
        folder: where certificate and score are; the release's own if None.
        step: of the adaptive threshold; None for none.

    Raises:
        ValueError: a file is damaged, or one of the two is missing.
    """
    folder = release.folder / FOLDER if folder is None else folder
    if not (folder / CERTIFICATE).is_file():
        return None
    certificate, score = Certificate.load(folder / CERTIFICATE), Score.load(folder / SCORE)
    gate = Gate(certificate, score.reference, step)
    return OwnWords(release, gate, score, sha256_file(folder / SCORE))


def binding_of(release: Release, score: Score, score_hash: str, manner: Manner = CERTIFIED) -> Binding:
    """What an answer in this manner is bound to."""
    tokens = min(score.tokens, manner.tokens or score.tokens)
    return Binding(
        weights=weights_hash(release.hash, manner.version),
        prompt=prompt_hash(release, manner),
        sampler=sampler_text(manner, tokens, score.samples),
        score=score_hash,
    )


def prompt_hash(release: Release, manner: Manner = CERTIFIED) -> str:
    """SHA-256 over the template, the system message, and whether the question is asked alone."""
    system = (release.generation.system or "") if manner.system is None else manner.system
    alone = manner.turns == ALONE
    parts = [release.tokenizer.chat_template, system, "alone" if alone else "not alone", FORM]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def sampler_text(manner: Manner, tokens: int, samples: int) -> str:
    """The sampler in words."""
    chosen = manner.sampling
    drawn = "greedy" if chosen.replace(seed=None) == GREEDY else json.dumps(chosen.to_dict(), sort_keys=True)
    stops = f", until {json.dumps(manner.stop)}" if manner.stop else ""
    special = ", with special wishes" if manner.special else ""
    return f"{drawn}, at most {tokens} tokens{stops}{special}, {samples} samples beside it"
