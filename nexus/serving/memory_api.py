"""Memory over HTTP: teach, correct, forget, judge and roll back, each acknowledged after its commit.

The one idea: a route takes its fields, hands one call to the journal's thread, and answers with the event's number and
the new version. What is forgotten also leaves the owner's weights and the states that were read. Whose memory it is
follows from the key and can't be chosen; without keys it is that of ``nexus memory``.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nexus.living.journal import MAX_TEXT, OWNER, Event, Journal, NotErasedYet
from nexus.serving.desk import Desk
from nexus.serving.engine import Engine
from nexus.serving.errors import ApiError, wrong
from nexus.serving.fields import Fields
from nexus.serving.journal_thread import JournalThread
from nexus.serving.weights import OwnersWeights

PREFIX = "/v1/nexus"
NAME = 1_000  # characters of a source, or of what feedback is about
LAST = 2**62  # largest number of an event
GATED = ("proof.", "memory.", "model.")  # ids of the gate's answers begin so
LINES, MOST_LINES = 1_000, 100_000  # of the log

Act = Callable[[Journal, str], dict[str, Any]]  # done in the journal's thread, for an owner
ReadJson = Callable[[Any], Awaitable[dict[str, Any]]]


def owner_of(request: Any) -> str:
    """Whose memory a request may use."""
    return request.state.owner or OWNER


def add_memory(
    app: Any, journal: JournalThread, read_json: ReadJson, engine: Engine, weights: OwnersWeights | None = None
) -> None:
    """Add the routes.

    Args:
        app: the application.
        journal: what is written and read.
        read_json: takes the body off a request.
        engine: drops states of what is forgotten; its gate, if it has one, hears judgements of its answers.
        weights: versions that may have learnt what is forgotten.
    """
    for name, read in {"teach": teach, "correct": correct, "rollback": rollback}.items():
        _add_change(app, journal, name, read, read_json)
    _add_forget(app, journal, read_json, engine, weights)
    _add_feedback(app, journal, read_json, engine.desk)
    for name, look in {"facts": facts, "log": log, "export": export}.items():
        _add_look(app, journal, name, look)


def _add_change(app: Any, journal: JournalThread, name: str, read: Callable[[Fields], Act], body: ReadJson) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    @app.post(f"{PREFIX}/{name}", response_model=None, name=name)
    async def change(request: Request) -> Response:
        fields = Fields(await body(request))
        act = read(fields)
        fields.finish()
        return JSONResponse(await _run(journal, act, owner_of(request)))


def _add_forget(
    app: Any, journal: JournalThread, body: ReadJson, engine: Engine, weights: OwnersWeights | None
) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    @app.post(f"{PREFIX}/forget", response_model=None, name="forget")
    async def erase(request: Request) -> Response:
        fields = Fields(await body(request))
        act = forget(fields)
        fields.finish()

        def everywhere(opened: Journal, owner: str) -> dict[str, Any]:
            done = act(opened, owner)
            try:
                return {**done, **_settled(opened, owner, weights)}
            finally:
                engine.forget(request.state.owner)  # whatever was read for this owner may hold the text

        return JSONResponse(await _run(journal, everywhere, owner_of(request)))


def _settled(journal: Journal, owner: str, weights: OwnersWeights | None) -> dict[str, Any]:
    """The versions that had learnt it, which are erased."""
    try:
        return {} if weights is None else {"weights": weights.settle(owner, journal)}
    except (ValueError, OSError) as error:
        message = f"the fact is forgotten, but the versions of weights could not be looked through: {error}"
        raise ApiError(500, message, code="weights_not_settled") from None


def _add_look(app: Any, journal: JournalThread, name: str, read: Callable[[Mapping[str, str]], Act]) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    @app.get(f"{PREFIX}/{name}", response_model=None, name=name)
    async def look(request: Request) -> Response:
        act = read(request.query_params)
        headers = {"Cache-Control": "no-store"}  # private, and old at once
        return JSONResponse(await _run(journal, act, owner_of(request)), headers=headers)


def _add_feedback(app: Any, journal: JournalThread, body: ReadJson, desk: Desk | None) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    @app.post(f"{PREFIX}/feedback", response_model=None)
    async def feedback(request: Request) -> Response:
        fields, owner = Fields(await body(request)), owner_of(request)
        right, about = fields.take("right"), _name(fields, "about")
        if not isinstance(right, bool):
            raise wrong("right", right, "is neither true nor false", "give one of the two")
        fields.finish()
        still = None
        if desk is not None and about.startswith(GATED):
            still = await _judge(desk, owner, right, about)

        def note(opened: Journal, whose: str) -> dict[str, Any]:
            if still is None:  # else the gate has noted it
                opened.feedback(whose, right, about)
            return {"noted": True, "open": still}

        return JSONResponse(await _run(journal, note, owner))


async def _judge(desk: Desk, owner: str, right: bool, about: str) -> bool:
    """Tell the gate; returns whether the channel that gave the answer is still open."""
    try:
        return await desk.run(desk.living.feedback, owner, about, right)
    except ValueError:
        cure = "give the id of an answer of this server run that was not judged yet"
        raise ApiError(404, f"about: {about[:60]!r} waits for no judgement. cure: {cure}", "about") from None


async def _run(journal: JournalThread, act: Act, owner: str) -> dict[str, Any]:
    def work(opened: Journal) -> dict[str, Any]:
        return {**act(opened, owner), "version": opened.version()}

    try:
        return await journal.run(work)
    except ValueError as error:
        raise _refusal(error) from None


def _refusal(error: ValueError) -> ApiError:
    """The journal's refusal in the server's form; the journal names the owner, which here is a digest of a key."""
    field, _, told = str(error).partition(": ")
    if field == "fact":
        told = "it is not among your facts, or was forgotten. cure: GET /v1/nexus/facts lists them"
        return ApiError(404, f"fact: {told}", "fact", "no_such_fact")
    return ApiError(400, f"{field}: {told}", field, "invalid_value")


# ---- what changes memory ---------------------------------------------------------------------------------------------


def teach(fields: Fields) -> Act:
    """``{text, source}``: learn a fact or a document."""
    text, source = _text(fields), _name(fields, "source")
    return lambda journal, owner: {"fact": journal.teach(owner, text, source)}


def correct(fields: Fields) -> Act:
    """``{fact, text}``: put a text in a fact's place, which gets a new number."""
    old, text = _number(fields, "fact", 1), _text(fields)
    return lambda journal, owner: {"fact": journal.correct(owner, old, text), "corrected": old}


def forget(fields: Fields) -> Act:
    """``{fact}``: erase a fact and what it was corrected from and to.

    ``erased`` is false while another process still reads a state of the file that has the text.
    """
    fact = _number(fields, "fact", 1)

    def act(journal: Journal, owner: str) -> dict[str, Any]:
        try:
            return {"event": journal.forget(owner, fact), "forgotten": fact, "erased": True}
        except NotErasedYet as error:
            return {"event": error.seq, "forgotten": fact, "erased": False}

    return act


def rollback(fields: Fields) -> Act:
    """``{version}``: bring back the facts of an earlier version (0: none)."""
    version = _number(fields, "version", 0)
    return lambda journal, owner: {"event": journal.rollback(owner, version), "back_at": version}


# ---- what shows it ---------------------------------------------------------------------------------------------------


def facts(_query: Mapping[str, str]) -> Act:
    """What holds now, oldest first."""
    return lambda journal, owner: {"facts": [fact.to_dict() for fact in journal.facts(owner)]}


def log(query: Mapping[str, str]) -> Act:
    """The last events, oldest first; ``?limit=`` says how many."""
    limit = _limit(query.get("limit", str(LINES)))

    def act(journal: Journal, owner: str) -> dict[str, Any]:
        held = {fact.seq for fact in journal.facts(owner)}
        return {"events": [_line(event, held) for event in deque(journal.events(owner), limit)]}

    return act


def export(_query: Mapping[str, str]) -> Act:
    """Everything that is held about the owner."""
    return Journal.export


def _line(event: Event, held: set[int]) -> dict[str, Any]:
    shown = {"seq": event.seq, "at": event.at, "kind": event.kind, "payload": event.payload}
    return {**shown, "holds": event.seq in held}


def _text(fields: Fields) -> str:
    text = fields.text("text")
    if not text.strip() or len(text) > MAX_TEXT:
        raise wrong("text", text, "is empty or too long", f"give 1 to {MAX_TEXT} characters")
    return text


def _name(fields: Fields, name: str) -> str:
    text = fields.take(name, "")
    if not isinstance(text, str) or len(text) > NAME:
        raise wrong(name, text, "is no short text", f"give at most {NAME} characters")
    return text


def _number(fields: Fields, name: str, low: int) -> int:
    number = fields.whole(name, low, LAST)
    if number is None:
        raise wrong(name, None, "is missing", "give a number, GET /v1/nexus/log lists them")
    return number


def _limit(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= MOST_LINES):
        raise wrong("limit", text, "is out of range", f"give a whole number from 1 to {MOST_LINES}")
    return int(text)
