"""The gate: it lets an answer out if a certificate stands behind it, and says why if it does not.

The one idea: a certificate belongs to one state of the whole system. It carries a hash of the weights, the memory, the
prompt, the sampler and the score; if one of them changes the gate is closed until it is certified anew. While open, it
listens to feedback and closes when the answers have become worse than was certified, and it watches the scores and
closes when the questions have become unlike those that the certificate rests on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from nexus.core.config import unknown_keys
from nexus.core.files import atomic_write_text
from nexus.living.adaptive import Adaptive
from nexus.living.drift import DriftAlarm
from nexus.living.risk_control import Verdict
from nexus.living.shift import ShiftAlarm


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What a certificate is bound to: a hash or a full text of each; empty where there is none.

    ``memory`` is empty for answers that are made without reading the memory: what is taught cannot change those.
    """

    weights: str = ""
    memory: str = ""
    prompt: str = ""
    sampler: str = ""
    score: str = ""

    def changed(self, other: Binding) -> list[str]:
        """The names of the parts that differ."""
        return [part.name for part in fields(self) if getattr(self, part.name) != getattr(other, part.name)]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A verdict, what it holds for, and the hash of the questions it rests on."""

    verdict: Verdict
    binding: Binding
    data: str

    @property
    def id(self) -> str:
        """Sixteen hex digits that stand for the whole content."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, with its id."""
        atomic_write_text(path, json.dumps({"id": self.id, **self._content()}, indent=2) + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read it back.

        Raises:
            ValueError: the file is no certificate, or was changed by hand.
        """
        try:
            content: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            unknown = unknown_keys(content["verdict"], {field.name for field in fields(Verdict)})
            if unknown:
                raise ValueError("; ".join(unknown))
            verdict, binding = Verdict(**content["verdict"]), Binding(**content["binding"])
            made = cls(verdict=verdict, binding=binding, data=content["data"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no certificate ({error}). cure: make one with nexus certify") from None
        if content.get("id") != made.id:
            raise ValueError(f"{path} was changed after it was made. cure: make a new one with nexus certify")
        return made

    def _content(self) -> dict[str, Any]:
        return {"verdict": self.verdict.to_dict(), "binding": asdict(self.binding), "data": self.data}


@dataclass(frozen=True)
class Decision:
    """Whether to answer; if not, why and what would help, in one sentence."""

    answered: bool
    reason: str
    score: float
    threshold: float | None
    certificate: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


class Gate:
    """Decides answer by answer. Give every decision the present binding: a stale certificate opens nothing.

    Args:
        certificate: from which score on answers are let out.
        reference: scores of questions of the certified kind, for the alarm that needs no labels; none turns it off.
        step: of the adaptive threshold, which feedback moves (see `Adaptive`); None keeps the certified one.
    """

    def __init__(self, certificate: Certificate, reference: Iterable[float] = (), step: float | None = None) -> None:
        verdict, known = certificate.verdict, list(reference)
        self.certificate = certificate
        self.alarm = DriftAlarm(verdict.alpha, verdict.delta)
        self.shift = ShiftAlarm(known, verdict.delta) if known else None
        usable = step is not None and verdict.threshold is not None
        self.adaptive = Adaptive(verdict.threshold or 0.0, verdict.alpha, step or 0.0) if usable else None

    @property
    def threshold(self) -> float | None:
        """The score from which on answers are let out now; None lets out nothing."""
        return self.certificate.verdict.threshold if self.adaptive is None else self.adaptive.threshold

    def decide(self, score: float, binding: Binding, again: bool = False) -> Decision:
        """Answer or refuse a question whose answer has this score; ``again`` if it was asked before.

        A question that is repeated says nothing about which ones come, so the alarm that listens to that is spared.
        """
        fresh = not again and math.isfinite(score) and not self.certificate.binding.changed(binding)
        if self.shift is not None and fresh:
            self.shift.feed(score)
        reason, threshold = self.closed(binding), self.threshold
        if not reason and not (threshold is not None and score >= threshold):  # so that NaN is refused
            reason = "I am not sure enough to answer this; a source or a more exact question would help."
        return Decision(not reason, reason, score, threshold, self.certificate.id)

    def feedback(self, right: bool) -> bool:
        """Take the label of an answer that was given; returns whether the gate is still open."""
        if self.adaptive is not None:
            self.adaptive.feed(right)
        return not self.alarm.feed(right).alarm

    def closed(self, binding: Binding) -> str:
        """Why nothing would be let out, whatever its score; empty if that is not so."""
        changed = self.certificate.binding.changed(binding)
        if changed:
            return f"I have changed since I was tested ({', '.join(changed)}); a new certificate would help."
        if self.alarm.alarm:
            return "My last answers were wrong more often than I may be; a new certificate would help."
        if self.shift is not None and self.shift.alarm:
            return "The questions are no longer like those I was tested on; a certificate on such ones would help."
        if self.certificate.verdict.threshold is None:
            return "Nothing I say on such questions is certified; more test questions or a better model would help."
        return ""
