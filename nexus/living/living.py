"""The living service: one question, one answer that something stands behind, or a polite refusal.

The one idea: channels are asked in order, the surest first: a checked proof, what was taught, the model's own words
behind its certificate. Feedback about an answer goes to the alarm of the channel that gave it. The model's is one for
all owners, and ends with its certificate; those of the checked channels are each owner's own, since what an owner
taught is right or wrong for that owner, and end when that owner's memory changes.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nexus.living.answers import Answer, Channel
from nexus.living.channels import Retriever
from nexus.living.drift import DriftAlarm
from nexus.living.gate import Decision
from nexus.living.journal import Event, Journal
from nexus.living.own_words import CERTIFIED, Manner, OwnWords
from nexus.living.speaking import Speaker
from nexus.living.trace import Said

CHECKED: tuple[Channel, ...] = ("proof", "memory")
ALPHA, DELTA = 0.02, 0.05  # what feedback on the checked channels is held against
REMEMBERED = 10_000  # answers that feedback may still come about
UNCERTIFIED = (
    "I have no certificate for my own words; `nexus certify --release FOLDER --data questions.jsonl` would make one, "
    "and `--raw` lets me speak without."
)


@dataclass(frozen=True)
class _Given:
    """An answer that was given out."""

    owner: str
    channel: Channel


class Living:
    """Answers for owners; to be used from one thread.

    Args:
        checked: the channels "proof" and "memory", as far as there are any.
        own: the model's own words; None if nothing is certified for them.
        speaker: what speaks them in :meth:`ask`.
        journal: where feedback is noted; what it holds already is taken in at once.
    """

    def __init__(
        self,
        checked: Mapping[Channel, Retriever],
        own: OwnWords | None = None,
        speaker: Speaker | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._checked = {name: checked[name] for name in CHECKED if name in checked}
        self.own, self._speaker, self._journal = own, speaker, journal
        self._alarms: dict[tuple[str, str], DriftAlarm] = {}  # by owner and checked channel
        self._given: OrderedDict[str, _Given] = OrderedDict()
        for event in () if journal is None else journal.events():
            self._take_in(event)

    # ---- answers ----------------------------------------------------------------------------------------------------

    def ask(self, owner: str, question: str, manner: Manner = CERTIFIED) -> Answer:
        """The answer to a question that stands alone; the model is not heard in another manner than was certified."""
        found = self.look_up(owner, question) or self.refused_unheard(manner)
        if found is not None:
            return found
        assert self._speaker is not None, "whoever certifies has a speaker"
        return self.judge(owner, self._speaker.say(question), manner)

    def look_up(self, owner: str, question: str) -> Answer | None:
        """The answer of a channel that checks what it says, or None if none of them has one."""
        for name, channel in self._checked.items():
            found = None if self._is_closed(owner, name) else channel.ask(owner, question)
            if found is not None and found.answered:
                return self._issued(owner, found)
        return None

    def refused_unheard(self, manner: Manner = CERTIFIED) -> Answer | None:
        """The refusal, if nothing that the model could say in this manner would be let out; None if something might."""
        if self.own is None:
            return _refusal(UNCERTIFIED)
        reason = self.own.closed(manner)
        if not reason:
            return None
        gate = self.own.gate
        return _refusal(reason, threshold=gate.threshold, certificate=gate.certificate.id)

    def judge(self, owner: str, said: Said, manner: Manner = CERTIFIED) -> Answer:
        """What was said in this manner, if the certificate lets it out."""
        assert self.own is not None
        made = self.own.decide(said, manner)
        if not made.answered:
            return _refusal(made.reason, **_of(made))
        return self._issued(owner, Answer(text=said.text, answered=True, channel="model", **_of(made)))

    # ---- feedback ---------------------------------------------------------------------------------------------------

    def feedback(self, owner: str, answer_id: str, right: bool) -> bool:
        """Note whether an answer was right; each answer once. Returns whether its channel is still open.

        Raises:
            ValueError: this owner got no such answer lately, or has said so already.
        """
        given = self._given.get(answer_id)
        if given is None or given.owner != owner:
            raise ValueError(f"id: {answer_id[:60]!r} waits for no feedback. cure: give the id of a recent answer")
        if self._journal is not None:
            self._journal.feedback(owner, right, about=answer_id)
        del self._given[answer_id]
        return self._feed(owner, given.channel, right)

    def status(self, owner: str) -> dict[str, Any]:
        """Each channel's state for an owner, as plain values for JSON."""
        rows: dict[str, Any] = {}
        for name in self._checked:
            alarm = self._alarm(owner, name)
            rows[name] = {"open": not alarm.alarm, "labels": alarm.labels, "wealth": alarm.wealth}
        if self.own is None:
            return {**rows, "model": {"open": False, "reason": UNCERTIFIED}}
        gate, reason = self.own.gate, self.own.closed()
        row = {"open": not reason, "reason": reason, "labels": gate.alarm.labels, "wealth": gate.alarm.wealth}
        row |= {"certificate": gate.certificate.id, "threshold": gate.threshold, **gate.certificate.verdict.to_dict()}
        row["shift_wealth"] = None if gate.shift is None else gate.shift.wealth
        row["long_run_bound"] = None if gate.adaptive is None else gate.adaptive.bound
        return {**rows, "model": row}

    def forgotten(self, owner: str) -> int:
        """The owner's last event of forgetting; 0 if there is none."""
        return 0 if self._journal is None else self._journal.forgotten(owner)

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _issued(self, owner: str, answer: Answer) -> Answer:
        """The answer with an id that tells channel and certificate, remembered for feedback."""
        answer = replace(answer, id=".".join([answer.channel, answer.certificate, secrets.token_hex(8)]))
        self._given[answer.id] = _Given(owner, answer.channel)
        while len(self._given) > REMEMBERED:
            self._given.popitem(last=False)
        return answer

    def _feed(self, owner: str, channel: str, right: bool) -> bool:
        if channel == "model":
            assert self.own is not None
            return self.own.gate.feedback(right)
        return not self._alarm(owner, channel).feed(right).alarm

    def _alarm(self, owner: str, channel: str) -> DriftAlarm:
        return self._alarms.setdefault((owner, channel), DriftAlarm(ALPHA, DELTA))

    def _is_closed(self, owner: str, channel: str) -> bool:
        """Whether the alarm is on; if it seems so, the journal is asked whether the memory has changed since."""
        if not self._alarm(owner, channel).alarm or self._journal is None:
            return self._alarm(owner, channel).alarm
        self._forget_alarms(owner)
        for event in self._journal.events(owner):
            if event.kind != "feedback" or not str((event.payload or {}).get("about", "")).startswith("model."):
                self._take_in(event)
        return self._alarm(owner, channel).alarm

    def _take_in(self, event: Event) -> None:
        """Feed the alarms what they were fed before; a new certificate or a changed memory starts afresh."""
        if event.kind != "feedback":
            self._forget_alarms(event.owner)
        elif event.payload is not None:
            channel, _, rest = str(event.payload["about"]).partition(".")
            if channel in self._checked or self._is_present(channel, rest):
                self._feed(event.owner, channel, event.payload["right"])

    def _forget_alarms(self, owner: str) -> None:
        for name in self._checked:
            self._alarms.pop((owner, name), None)

    def _is_present(self, channel: str, rest: str) -> bool:
        own = self.own
        return own is not None and channel == "model" and rest.partition(".")[0] == own.gate.certificate.id


def _refusal(reason: str, **of: Any) -> Answer:
    why = reason if reason.startswith("I ") else reason[:1].lower() + reason[1:]
    text = f"Sorry, no proof and nothing that I was taught answers this, and {why}"
    return Answer(text=text, answered=False, channel="model", reason=reason, **of)


def _of(made: Decision) -> dict[str, Any]:
    return {"score": made.score, "threshold": made.threshold, "certificate": made.certificate}
