"""Memory over HTTP: what is acknowledged is on disk, owners are strangers, and refusals name field, value and cure."""

import json
import threading
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from fastapi.testclient import TestClient

from nexus.core.energy import EnergyConfig, EnergyModule
from nexus.inference.release import load_release
from nexus.living.bounds import upper_bound
from nexus.living.journal import OWNER, Journal
from nexus.living.opening import open_living
from nexus.living.versions import PLAIN, Versions
from nexus.serving.app import make_app
from nexus.serving.desk import Desk
from nexus.serving.engine import Engine
from nexus.serving.journal_thread import JournalThread
from nexus.serving.status import EnergyWatch
from nexus.serving.weights import OwnersWeights
from tests.serving.small import release_of
from tests.serving.test_weights import add_version
from tests.tiny_release import write_release

KEY, OTHER_KEY = "k" * 32, "o" * 32


@contextmanager
def served(path, keys=()):
    app = make_app(Engine(release_of()), keys=keys, journal=JournalThread(path))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


@pytest.fixture
def client(path):
    with served(path) as client:
        yield client


def post(client, name, /, status=200, key=None, **body):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = client.post(f"/v1/nexus/{name}", json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


def get(client, name, key=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = client.get(f"/v1/nexus/{name}", headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def texts(client, key=None):
    return [fact["text"] for fact in get(client, "facts", key)["facts"]]


def test_a_life_of_a_fact(client):
    assert post(client, "teach", text="The shop opens at nine.", source="the door") == {"fact": 1, "version": 1}
    assert get(client, "facts")["facts"] == [{"seq": 1, "text": "The shop opens at nine.", "source": "the door"}]
    assert post(client, "correct", fact=1, text="The shop opens at ten.") == {"fact": 2, "corrected": 1, "version": 2}
    assert texts(client) == ["The shop opens at ten."]
    assert post(client, "rollback", version=1) == {"event": 3, "back_at": 1, "version": 3}
    assert texts(client) == ["The shop opens at nine."]
    assert post(client, "forget", fact=1) == {"event": 4, "forgotten": 1, "erased": True, "version": 4}
    assert texts(client) == []
    log = get(client, "log")
    assert [(e["seq"], e["kind"], e["holds"]) for e in log["events"]] == [
        (1, "teach", False), (2, "correct", False), (3, "rollback", False), (4, "forget", False),
    ]  # fmt: skip
    assert log["events"][0]["payload"] is None, "what is forgotten is gone from the history too"
    assert [e["seq"] for e in get(client, "log?limit=2")["events"]] == [3, 4]


def test_what_is_acknowledged_is_on_disk(client, path):
    number = post(client, "teach", text="Water boils at 100 degrees.")["fact"]
    post(client, "feedback", right=False, about="chatcmpl-1")
    with Journal(path) as other:  # another process would see the same
        assert other.verify() == 2
        assert [(fact.seq, fact.text) for fact in other.facts(OWNER)] == [(number, "Water boils at 100 degrees.")]
        assert [event.payload for event in other.events(OWNER)][1] == {"right": False, "about": "chatcmpl-1"}


def test_what_was_taught_is_there_after_a_restart(path):
    with served(path) as client:
        post(client, "teach", text="Kept.")
    with served(path) as client:
        assert texts(client) == ["Kept."]


def test_owners_are_strangers(path):
    with served(path, keys=[KEY, OTHER_KEY]) as client:
        assert client.get("/v1/nexus/facts").status_code == 401
        mine = post(client, "teach", key=KEY, text="My cat is called Tom.")["fact"]
        post(client, "teach", key=OTHER_KEY, text="Mine is not.")
        assert texts(client, KEY) == ["My cat is called Tom."]
        for name, more in (("forget", {}), ("correct", {"text": "My cat is called Bob."})):
            error = post(client, name, 404, OTHER_KEY, fact=mine, **more)["error"]
            assert error["code"] == "no_such_fact"
            assert mine not in [event["seq"] for event in get(client, "log", OTHER_KEY)["events"]]
        post(client, "rollback", key=OTHER_KEY, version=0)
        assert (texts(client, KEY), texts(client, OTHER_KEY)) == (["My cat is called Tom."], [])
        exported = get(client, "export", KEY)
        assert [event["payload"]["text"] for event in exported["events"]] == ["My cat is called Tom."]


@pytest.mark.parametrize(
    ("name", "body", "param", "status"),
    [
        ("teach", {}, "text", 400),
        ("teach", {"text": "  "}, "text", 400),
        ("teach", {"text": "x" * 1_000_001}, "text", 400),
        ("teach", {"text": "\ud800"}, None, 400),
        ("teach", {"text": "a", "source": "s" * 1_001}, "source", 400),
        ("teach", {"text": "a", "owner": "ann"}, "owner", 400),
        ("correct", {"text": "a"}, "fact", 400),
        ("correct", {"fact": 99, "text": "a"}, "fact", 404),
        ("forget", {"fact": 99}, "fact", 404),
        ("forget", {"fact": "1"}, "fact", 400),
        ("forget", {"fact": 2**70}, "fact", 400),
        ("feedback", {"right": 1}, "right", 400),
        ("feedback", {"about": "x"}, "right", 400),
        ("feedback", {"right": True, "about": 3}, "about", 400),
        ("rollback", {"version": 7}, "version", 400),
        ("rollback", {"version": -1}, "version", 400),
    ],
)
def test_what_is_wrong_is_refused_with_field_and_cure(client, name, body, param, status):
    response = client.post(
        f"/v1/nexus/{name}", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )  # httpx itself would refuse half a surrogate pair
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert error["message"].startswith(param or "body")
    assert OWNER not in error["message"].split()
    assert get(client, "facts") == {"facts": [], "version": 0}, "nothing was written"


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1000000", "9" * 5_000])
def test_a_limit_out_of_range_is_refused(client, limit):
    response = client.get("/v1/nexus/log", params={"limit": limit})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "limit")


def test_an_answer_goes_on_while_the_journal_waits(path):
    journal, free = JournalThread(path), threading.Event()
    with TestClient(make_app(Engine(release_of()), journal=journal), base_url="http://127.0.0.1:8000") as client:
        journal._pool.submit(free.wait, 60)  # a disk that takes its time
        taught = []
        slow = threading.Thread(target=lambda: taught.append(post(client, "teach", text="Late.")))
        slow.start()
        body = {"model": "nexus", "prompt": "Hello", "max_tokens": 5}
        assert client.post("/v1/completions", json=body).status_code == 200
        assert not taught
        free.set()
        slow.join()
        assert taught == [{"fact": 1, "version": 1}]


def test_a_file_that_is_no_journal_is_refused_before_anything_is_served(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, and no database at all" * 100)
    with pytest.raises(ValueError, match="journal"):
        JournalThread(path)


def test_the_status_counts(client):
    before = get(client, "status")
    assert (before["memory_version"], before["facts"], before["feedback"]["risk"]) == (0, 0, None)
    assert before["speed"] == {"tokens_per_second": None, "first_token_seconds": None}
    assert before["answers"] == {"answered": 0, "refused": 0, "recent": []}
    assert before["energy"] is None
    post(client, "teach", text="One.")
    for right in (True, True, False, True):
        post(client, "feedback", right=right)
    client.post("/v1/completions", json={"model": "nexus", "prompt": "Hello", "max_tokens": 9})
    after = get(client, "status")
    assert (after["memory_version"], after["facts"]) == (5, 1)
    feedback = after["feedback"]
    assert (feedback["right"], feedback["wrong"], feedback["risk"]) == (3, 1, 0.25)
    assert feedback["highest"] == upper_bound(1, 4, 1 - feedback["sure"])
    assert feedback["recent"] == [True, True, False, True]
    assert after["speed"]["tokens_per_second"] > 0
    assert after["speed"]["first_token_seconds"] > 0


def test_judgements_reach_the_channel_that_answered(path, tmp_path):
    release = load_release(write_release(tmp_path / "release"))
    engine = Engine(release, desk=Desk(release, partial(open_living, release, path)))
    app = make_app(engine, name="nexus", journal=JournalThread(path))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        fact = post(client, "teach", text="The shop opens at nine.")["fact"]
        asked = {"model": "nexus", "messages": [{"role": "user", "content": "When does the shop open?"}]}
        said = client.post("/v1/chat/completions", json=asked).json()["nexus"]
        assert (said["channel"], said["citations"][0]["fact"]) == ("memory", fact)
        assert post(client, "feedback", right=True, about=said["id"])["open"] is True
        assert post(client, "feedback", 404, right=True, about=said["id"])["error"]["param"] == "about", "once"
        asked["messages"][0]["content"] = "Who is the mayor?"
        assert not client.post("/v1/chat/completions", json=asked).json()["nexus"]["answered"]
        status = get(client, "status")
        assert [(row["channel"], row["open"]) for row in status["channels"]][1:] == [("memory", True), ("model", False)]
        assert status["channels"][1]["labels"] == 1
        assert status["answers"] == {"answered": 1, "refused": 1, "recent": [True, False]}
        assert status["feedback"]["right"] == 1


def test_what_is_forgotten_leaves_the_states_that_were_read_and_the_weights_that_learnt_it(path, tmp_path):
    release, folder = release_of(plan="MWA"), tmp_path / "weights"
    weights = OwnersWeights(folder, "r", release)
    engine = Engine(release)
    engine.follow(weights)
    app = make_app(engine, name="nexus", journal=JournalThread(path), weights=weights)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:

        def cached():
            body = {"model": "nexus", "prompt": "My cat is called Tom. And my cat is called?", "max_tokens": 3}
            usage = client.post("/v1/completions", json=body).json()["usage"]
            return usage["prompt_tokens_details"]["cached_tokens"]

        for text in ("My cat is called Tom.", "Water boils."):
            post(client, "teach", text=text)
        name = add_version(release, folder, 1)  # it has learnt fact 1
        assert (cached(), cached() > 16) == (0, True)
        assert post(client, "forget", fact=2)["weights"] == []
        assert cached() == 0
        assert post(client, "forget", fact=1)["weights"] == [name]
        assert (len(engine._batch.cache), Versions(folder, OWNER).chosen()) == (0, PLAIN)
        assert post(client, "forget", 404, fact=1)["error"]["code"] == "no_such_fact"
        (Versions(folder, OWNER).folder / "0002-damaged").mkdir()
        post(client, "teach", text="Air is thin.")
        error = post(client, "forget", 500, fact=5)["error"]
        assert (error["code"], texts(client)) == ("weights_not_settled", [])


def test_without_a_journal_there_is_a_status_and_nothing_to_teach():
    with TestClient(make_app(Engine(release_of())), base_url="http://127.0.0.1:8000") as client:
        assert get(client, "status")["memory_version"] is None
        post(client, "teach", 404, text="a")


def test_energy_steps_are_those_that_the_module_took():
    model = torch.nn.Sequential(EnergyModule(EnergyConfig.tiny()))
    watch = EnergyWatch(model)
    assert watch.to_dict() == {"iterations": None, "most": 8}
    taken = [model(torch.randn(2, 3, 32))[1].per_unit for _ in range(2)]
    mean = torch.stack(taken).double().mean().item()
    assert watch.to_dict() == {"iterations": pytest.approx(mean), "most": 8}
    assert EnergyWatch(torch.nn.Linear(2, 2)).to_dict() is None
