"""Promotions while serving: every answer is of one version, whole, and no state of other weights is ever used."""

import queue
import threading

import pytest
import torch

from nexus.inference.generation import generate
from nexus.inference.sampling import GREEDY
from nexus.living.reach import Reach
from nexus.living.versions import PLAIN, Trained, Versions
from nexus.serving.batch import Ask, Batch
from nexus.serving.engine import Engine
from nexus.serving.prefix_cache import PrefixCache, Scope
from nexus.serving.weights import OwnersWeights
from nexus.training.adapters import Adapter, RowAdapters
from tests.serving.small import END, release_of

PROMPT = list(range(20, 60))


def add_version(release, folder, seed, owner="me", release_hash="r", speaks=True, about=None):
    """An adapter that changes what is said, as a version of the owner's; ``about`` is what it was taught."""
    adapter = Adapter.fresh(release.model, ["all-linear"], 4, 4.0, seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for up in adapter.up.values():
            up.copy_(0.3 * torch.randn(up.shape, generator=draw))
    versions = Versions(folder, owner)
    saved = adapter.save(folder / f"adapter-{seed}-{owner}")
    if about is not None:
        Reach.of(about).save(saved)
    told = {"journal": "h", "memory": 1, "facts": (1,), "admitted": True, "reasons": (), "figures": {}}
    version = versions.add(saved, Trained(parent=versions.chosen(), release=release_hash, **told))
    if speaks:
        versions.promote(version.name)
    return version.name


def said_by(release, folder, name, prompt=PROMPT, new=12, owner="me"):
    """What a version says, by the code that knows nothing of batches."""
    versions, rows = Versions(folder, owner), RowAdapters(release.model)
    adapter = None if name == PLAIN else Adapter.load(versions.path(versions.get(name)), release.model)
    with rows.using(adapter):
        (ids,) = generate(release.model, [prompt], max_new_tokens=new, eos_ids=(END,))
    return release.tokenizer.decode(ids)


class Asked:
    """Requests to one batch with the weights of a folder."""

    def __init__(self, release, folder, **options):
        self.batch = Batch(release, **options)
        self.batch.choose = OwnersWeights(folder, "r", release)

    def ask(self, prompt=PROMPT, new=12, owner="me", memory=0):
        got = []
        row = self.batch.row(Ask(prompt=prompt, max_new_tokens=new, owner=owner, memory=memory), got.append)
        self.batch.waiting.append(row)
        return row, got

    def run(self):
        while self.batch.busy:
            self.batch.step()


def _text(got):
    return "".join(piece.text for piece in got)


@pytest.fixture
def release():
    return release_of(plan="MWA")


def test_rows_of_several_versions_and_owners_share_a_batch_and_each_equals_its_own(release, tmp_path):
    asked = Asked(release, tmp_path)
    rows = [asked.ask()]  # the release
    for _ in range(3):
        asked.batch.step()
    first = add_version(release, tmp_path, 1)
    rows.append(asked.ask())  # joins an answer under way, with other weights
    asked.batch.step()
    theirs = add_version(release, tmp_path, 2, owner="bob")
    rows += [asked.ask(owner="bob"), asked.ask(owner="eve")]
    asked.run()
    assert [row.weights.version for row, _ in rows] == [PLAIN, first, theirs, PLAIN]
    expected = [said_by(release, tmp_path, n, owner=o) for n, o in
                [(PLAIN, "me"), (first, "me"), (theirs, "bob"), (PLAIN, "eve")]]  # fmt: skip
    assert [_text(got) for _, got in rows] == expected
    assert len(set(expected)) == 3, "the versions must differ for this test to say anything"


def test_a_promotion_never_serves_a_stale_state_and_leaves_none_behind(release, tmp_path):
    asked = Asked(release, tmp_path)
    first = add_version(release, tmp_path, 1)
    second = add_version(release, tmp_path, 2, speaks=False)
    versions = Versions(tmp_path, "me")
    cached = []
    for name in (PLAIN, first, second, first, PLAIN):
        versions.promote(name)
        _, got = asked.ask()
        asked.run()
        assert _text(got) == said_by(release, tmp_path, name)
        cached.append(got[-1].cached)
    assert cached == [0, 0, 0, 0, 0]
    assert len(asked.batch.cache) == 2, "the prompt's and the answer's"


def test_an_answer_under_way_when_the_weights_change_leaves_no_state_behind(release, tmp_path):
    asked = Asked(release, tmp_path)
    old, _ = asked.ask(new=30)
    for _ in range(3):
        asked.batch.step()
    add_version(release, tmp_path, 1)
    asked.ask(new=3)
    asked.run()
    assert asked.batch.cache.find(Scope("me", PLAIN), PROMPT + old.tokens).length == 0
    assert len(asked.batch.cache) == 2


def test_a_state_from_before_something_was_forgotten_is_gone(release, tmp_path):
    asked = Asked(release, tmp_path)
    cached = []
    for memory in (1, 1, 2, 2, 1):
        _, got = asked.ask(memory=memory)
        asked.run()
        cached.append(got[-1].cached)
    assert cached == [0, 39, 0, 39, 0]


def test_where_a_version_does_not_reach_the_release_speaks_and_states_of_both_are_kept(release, tmp_path):
    asked = Asked(release, tmp_path)
    name = add_version(release, tmp_path, 1, about=["Bo is red."])
    near, far = (release.tokenizer.encode(f"{text} Tell me more of it.") for text in ("Who is Bo?", "Who is Al?"))
    cached = []
    for prompt in (near, far, near, far):
        row, got = asked.ask(prompt)
        asked.run()
        speaks = name if prompt is near else PLAIN
        assert row.weights.version == speaks
        assert _text(got) == said_by(release, tmp_path, speaks, prompt)
        cached.append(got[-1].cached)
    assert said_by(release, tmp_path, name, far) != said_by(release, tmp_path, PLAIN, far)
    assert cached == [0, 0, len(near) - 1, len(far) - 1], "asking elsewhere in between drops nothing"
    add_version(release, tmp_path, 2, about=["Bo is blue."])
    _, got = asked.ask(far)
    asked.run()
    assert got[-1].cached == 0, "of an owner's states any may be of what was erased"


def test_an_owners_states_can_be_dropped(release):
    cache, state = PrefixCache(2**20), release.model.init_state(1)
    now, before, other = Scope("ann", "2", 5), Scope("ann", "1", 4), Scope("bob")
    for scope in (now, before, other):
        cache.put(scope, PROMPT, state)
    size = cache.nbytes // 3
    cache.drop("ann")
    assert [cache.find(scope, [*PROMPT, 1]).length for scope in (now, before, other)] == [0, 0, 40]
    assert cache.nbytes == size


@pytest.mark.parametrize("harm", ["damaged", "of another release", "without a manifest"])
def test_weights_that_cannot_be_used_are_passed_over_and_said(release, tmp_path, harm, caplog):
    first = add_version(release, tmp_path, 1)
    second = add_version(release, tmp_path, 2, release_hash="other" if harm == "of another release" else "r")
    folder = Versions(tmp_path, "me").folder / second
    if harm == "damaged":
        (folder / "adapter_model.safetensors").write_bytes(b"flipped")
    choose = OwnersWeights(tmp_path, "r", release)
    if harm == "without a manifest":
        (folder / "manifest.json").unlink()
    assert choose("", PROMPT).version == (PLAIN if harm == "without a manifest" else first)
    assert second in caplog.text
    assert "earlier version answers" in caplog.text


def test_under_load_no_request_fails_and_each_answer_is_of_one_version(release, tmp_path):
    names = [PLAIN, *(add_version(release, tmp_path, seed) for seed in (1, 2, 3))]
    expected = {name: said_by(release, tmp_path, name, new=20) for name in names}
    versions = Versions(tmp_path, "me")
    engine = Engine(release, rows=4)
    engine.follow(OwnersWeights(tmp_path, "r", release))
    engine.start()
    try:
        running, answers = [], queue.SimpleQueue()
        for number in range(24):
            versions.promote(names[number % len(names)])
            got, began = [], threading.Event()

            def emit(piece, got=got, began=began):
                began.set()
                got.append(piece)
                if piece.finish:
                    answers.put(got)

            running.append((engine.submit(Ask(prompt=PROMPT, max_new_tokens=20, sampling=GREEDY), emit)[0], got))
            if number < len(names):
                assert began.wait(60)
        for _ in running:
            assert answers.get(timeout=60)[-1].finish == "length"
    finally:
        engine.close()
    for row, got in running:
        assert _text(got) == expected[row.weights.version]
    assert {row.weights.version for row, _ in running} == set(names)
