"""The router learns what can be learnt from the states alone, knows how sure it is, and is the same after a reload."""

from __future__ import annotations

import json
import random
import zlib

import numpy as np
import pytest
import torch

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.release import load_release
from nexus_final.router import IntentHead, Router, RouterConfig
from nexus_final.router_baselines import baselines
from nexus_final.router_features import TextFeatures
from nexus_final.router_fit import RouterSettings, fit_head, fit_temperature, usual_depths
from nexus_final.router_metrics import (
    best_threshold,
    calibration_error,
    confusion,
    macro_f1,
    reliability,
    risk_coverage,
    typos,
)
from nexus_final.train_router import describe, main, texts_to_read, train_router
from tests.tiny_release import write_release

WORDS = {
    "sum": ["add", "plus", "minus", "total", "number", "count", "many", "sum"],
    "cook": ["bake", "oven", "salt", "flour", "boil", "pan", "dish", "taste"],
    "greet": ["hello", "thanks", "morning", "friend", "bye", "welcome", "nice", "meet"],
    "unknown": ["xq", "zzt", "kkj", "wvv", "pqp", "qqr", "jjx", "vvz"],
}
FILLERS = ["the", "a", "of", "and", "to", "it", "is", "with", "on", "for"]
QUICK = {
    "epochs": 15, "learning_rate": 1e-2, "hidden": 32, "depths": (0, 1), "dropout": 0.1, "train_per_intent": 30,
    "heldout_per_intent": 20, "test_per_intent": 20,
}  # fmt: skip


VOCABULARY = [*(word for words in WORDS.values() for word in words), *FILLERS]


class WordTokenizer:
    """One id a word; words that are not known (typing slips) get one by a hash that is the same in every process."""

    def encode(self, text: str) -> list[int]:
        known = {word: 1 + place for place, word in enumerate(VOCABULARY)}
        return [known.get(word, 60 + zlib.crc32(word.encode()) % 36) for word in text.lower().split()]


@pytest.fixture(scope="module")
def model() -> HybridLM:
    torch.manual_seed(0)
    model = HybridLM(HybridConfig.tiny(plan="MWAM", n_layers=4, d_model=96)).eval()
    with torch.no_grad():
        model.embed.weight.mul_(20)
    return model


def texts_of(split: str, per_intent: int, noise: float = 0.0) -> list[tuple[str, str]]:
    """Texts with three words of their intent among fillers; a share carries another intent's label."""
    source = random.Random(split)
    found = []
    for _ in range(per_intent):
        for intent, words in WORDS.items():
            text = [*source.choices(words, k=3), *source.choices(FILLERS, k=source.randint(2, 8))]
            source.shuffle(text)
            found.append((" ".join(text), source.choice(list(WORDS)) if source.random() < noise else intent))
    return found


def examples(noise: float = 0.0) -> dict[str, list[tuple[str, str]]]:
    return {
        "train": texts_of("train", 30, noise),
        "heldout": texts_of("heldout", 20, noise),
        "test": texts_of("test", 20, noise),
    }


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    report = train_router(model, WordTokenizer(), examples(), folder, RouterSettings(**QUICK))
    return folder, report


# ---- features -------------------------------------------------------------------------------------------------------


def test_features_are_averages_over_the_text_however_it_is_batched(model):
    features = TextFeatures(model, WordTokenizer(), (0, 2, 4))
    texts = ["add", "bake the salt", "hello " * 20, "a b c d e f g"]
    together = features(texts)
    alone = torch.cat([features([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    seen = {}
    hook = model.backbone.blocks[1].register_forward_hook(lambda module, args, output: seen.update(x=output[0]))
    ids = torch.tensor([features.ids(texts[1])])
    with torch.no_grad():
        model(ids)
    hook.remove()
    plain = torch.nn.functional.rms_norm(seen["x"][0, 1:], (model.config.d_model,)).mean(0)
    torch.testing.assert_close(together[1, 1], plain, rtol=1e-4, atol=1e-5)


def test_reading_leaves_the_model_as_it_was(model):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    TextFeatures(model, WordTokenizer(), (1, 3))(["add it"])
    assert len(model.backbone.blocks) == 4
    assert not any(block._forward_hooks for block in model.backbone.blocks)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_a_long_text_is_read_at_both_ends(model):
    features = TextFeatures(model, WordTokenizer(), (0,), max_tokens=5)
    ids = WordTokenizer().encode("a b c d e f g h")
    assert features.ids("a b c d e f g h") == [0, *ids[:3], *ids[-2:]]
    assert features.ids("a b") == [0, *ids[:2]]


def test_an_empty_text_has_features(model):
    assert torch.isfinite(TextFeatures(model, WordTokenizer(), (0, 4))([""])).all()


@pytest.mark.parametrize("depths", [(), (5,), (-1,)])
def test_depths_that_are_not_there_are_refused(model, depths):
    with pytest.raises(ValueError, match="0 to 4"):
        TextFeatures(model, WordTokenizer(), depths)


def test_the_depths_tried_lie_around_the_middle():
    assert usual_depths(30) == (10, 15, 20)
    assert usual_depths(1) == (1,)


# ---- figures --------------------------------------------------------------------------------------------------------


def test_f1_and_confusion_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    source = np.random.default_rng(0)
    truth, said = source.integers(0, 4, 200), source.integers(0, 4, 200)
    assert macro_f1(truth, said, 5) == pytest.approx(sklearn.f1_score(truth, said, average="macro"))
    assert (confusion(truth, said, 4) == sklearn.confusion_matrix(truth, said)).all()


def test_calibration_error_of_known_cases():
    right = np.array([True] * 8 + [False] * 2)
    assert calibration_error(np.full(10, 0.8), right) == pytest.approx(0)
    assert calibration_error(np.full(10, 1.0), right) == pytest.approx(0.2)
    rows = reliability(np.array([0.1, 0.12, 0.95]), np.array([False, True, True]))
    assert [row["count"] for row in rows] == [2, 1]


def test_risk_coverage_of_a_perfect_and_a_useless_order():
    right = np.array([True] * 5 + [False] * 5)
    good = risk_coverage(np.linspace(1, 0.5, 10), right)
    bad = risk_coverage(np.linspace(0.5, 1, 10), right)
    assert good["curve"][4] == {"coverage": 0.5, "risk": 0.0}
    assert good["curve"][-1]["risk"] == bad["curve"][-1]["risk"] == 0.5
    assert good["aurc"] < 0.25 < bad["aurc"]


def test_the_threshold_is_the_lowest_that_keeps_the_promise():
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert best_threshold(confidence, np.array([True, True, True, False, False]), 0.9) == 0.7
    assert best_threshold(confidence, np.ones(5, bool), 0.9) == 0.5
    assert best_threshold(confidence, np.array([False, True, True, True, False]), 0.99) == 0.6  # never kept: the best
    tied = np.array([0.9, 0.6, 0.6])
    assert best_threshold(tied, np.array([True, True, False]), 0.9) == 0.9, "equal confidences can't be told apart"


def test_typing_slips_change_long_words_only_and_repeat():
    text = "please summarise this short paragraph about gardens"
    assert typos(text, "1") == typos(text, "1") != text
    assert len({typos(text, str(seed)) for seed in range(20)}) > 10
    changed = [a != b for a, b in zip(text.split(), typos(text, "1", share=0.5).split(), strict=True)]
    assert 1 <= sum(changed) <= 4
    assert typos("is it on", "1") == "is it on"


def test_the_temperature_of_overconfident_logits_is_found():
    torch.manual_seed(0)
    logits = torch.randn(4_000, 5) * 2
    targets = torch.multinomial(logits.softmax(-1), 1).squeeze(1)
    assert fit_temperature(logits * 3, targets) == pytest.approx(3, rel=0.1)
    assert fit_temperature(logits, targets) == pytest.approx(1, rel=0.1)
    sure = torch.eye(3).repeat(3, 1) * 10
    assert fit_temperature(sure, torch.arange(3).repeat(3)) > 1, "nine right answers are no proof of certainty"


def test_baselines_know_what_they_should():
    pytest.importorskip("sklearn")
    known = ["add plus"] * 6 + ["bake oven"] * 4
    labels = np.array([0] * 6 + [1] * 4)
    features = np.array([[1.0, 0.1]] * 6 + [[0.1, 1.0]] * 4, dtype=np.float32)
    found = baselines(known, labels, features, ["plus", "oven"], np.array([0, 1]), features[[0, -1]])
    assert found["majority"]["accuracy"] == 0.5
    assert found["tfidf_logistic_regression"]["macro_f1"] == found["nearest_neighbour"]["macro_f1"] == 1.0


# ---- training -------------------------------------------------------------------------------------------------------


def test_separable_intents_are_learnt_and_majority_is_beaten(trained):
    _, report = trained
    assert report["macro_f1"] >= 0.9
    assert report["macro_f1"] > report["baselines"]["majority"]["macro_f1"] + 0.5
    assert report["answered"]["accuracy"] >= 0.85
    assert 0 <= report["flip_rate_answered"] <= 1
    assert report["n"] == {"train": 120, "heldout": 80, "test": 80}
    assert sum(map(sum, report["confusion"]["rows"])) == 80
    assert f"macro_f1 {report['macro_f1']:.3f}" in describe(report)


def test_a_router_from_disk_says_the_same(trained, model):
    folder, report = trained
    router = Router.load(folder, model, WordTokenizer())
    texts = [text for text, _ in examples()["test"]]
    routes = router.route_all(texts)
    truth = [intent for _, intent in examples()["test"]]
    assert sum(intent is None for intent, _ in routes) / len(routes) == pytest.approx(report["abstain"])
    given = [(intent, true) for (intent, _), true in zip(routes, truth, strict=True) if intent is not None]
    assert sum(a == b for a, b in given) / len(given) == pytest.approx(report["answered"]["accuracy"])
    intent, probability = router.route(texts[0])
    assert intent == routes[0][0]
    assert probability == pytest.approx(routes[0][1], abs=1e-5)
    assert json.loads((folder / "report.json").read_text()) == report


def test_training_twice_gives_the_same_bits(trained, model, tmp_path):
    folder, _ = trained
    train_router(model, WordTokenizer(), examples(), tmp_path, RouterSettings(**QUICK))
    for name in ("router.safetensors", "router.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_noise_is_answered_with_none_and_so_is_doubt(trained, model):
    folder, _ = trained
    router = Router.load(folder, model, WordTokenizer())
    assert router.config.abstain == "unknown"
    assert router.route("zzt kkj xq wvv pqp")[0] is None
    assert router.route("add plus minus total")[0] == "sum"
    strict = Router(router.head, router.config.replace(threshold=1.0), model, WordTokenizer())
    assert strict.route("add plus minus total")[0] is None


def test_the_probability_means_something_on_noisy_labels(model, tmp_path):
    """Nearly a quarter of the labels is wrong: the temperature has to take the head's confidence back."""
    settings = RouterSettings(
        **{
            **QUICK,
            "train_per_intent": 60,
            "heldout_per_intent": 80,
            "test_per_intent": 80,
            "dropout": 0.0,
            "epochs": 40,
        }
    )
    noisy = {name: texts_of(name, 80, noise=0.3) for name in ("train", "heldout", "test")}
    report = train_router(model, WordTokenizer(), noisy, tmp_path, settings)
    assert report["temperature"] > 1.1
    router = Router.load(tmp_path, model, WordTokenizer())
    raw = Router(router.head, router.config.replace(temperature=1.0), model, WordTokenizer())
    truth = np.array([router.config.labels.index(intent) for _, intent in noisy["test"]])
    confidence, said = raw.probabilities(raw.features([text for text, _ in noisy["test"]])).max(1)
    assert report["ece"] < calibration_error(confidence.double().numpy(), said.numpy() == truth)


def test_shuffled_labels_teach_nothing(model, tmp_path):
    """The control: with labels that have nothing to do with the texts the router is no better than chance."""
    mixed = examples()
    labels = [intent for _, intent in mixed["train"]]
    random.Random(0).shuffle(labels)
    mixed["train"] = [(text, label) for (text, _), label in zip(mixed["train"], labels, strict=True)]
    report = train_router(model, WordTokenizer(), mixed, tmp_path, RouterSettings(**QUICK))
    assert report["macro_f1"] < 0.5


def test_progress_counts_every_text_and_a_stop_leaves_no_files(model, tmp_path):
    settings, told = RouterSettings(**QUICK), []
    train_router(model, WordTokenizer(), examples(), tmp_path / "a", settings, advance=lambda n, what: told.append(n))
    assert sum(told) == texts_to_read(examples(), settings)

    class Stop:
        def check(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_router(model, WordTokenizer(), examples(), tmp_path / "b", settings, control=Stop())
    assert not (tmp_path / "b").exists()


def test_the_head_takes_wide_and_narrow_channels_alike():
    """Channels of real states differ by factors of thousands; the one that tells may be the narrowest."""
    torch.manual_seed(0)
    targets = torch.arange(200) % 2
    features = torch.randn(200, 16)
    features[:, 0] = (targets * 2 - 1) * 1e-3
    features[:, 1] *= 1e4
    head = fit_head(features, targets, 2, RouterSettings(hidden=16, epochs=30, dropout=0.0, learning_rate=1e-2))
    assert (head(features).argmax(1) == targets).float().mean() > 0.95


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [({"test": []}, "nothing in test"), ({"heldout": [("hi", "new")]}, "no text of new in train")],
)
def test_examples_that_do_not_fit_are_refused(model, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        train_router(model, WordTokenizer(), {**examples(), **change}, tmp_path)


def test_unknown_options_and_bad_values_are_refused():
    with pytest.raises(ValueError, match="epochs"):
        RouterSettings.from_dict({"epoch": 3})
    with pytest.raises(ValueError, match="dropout"):
        RouterSettings(dropout=1.0)
    with pytest.raises(ValueError, match="abstain"):
        RouterConfig(labels=("a", "b"), abstain="c", depth=0, d_model=8)


def test_folders_and_models_that_do_not_fit_are_refused(trained, model, tmp_path):
    folder, _ = trained
    with pytest.raises(FileNotFoundError, match=r"router\.json"):
        Router.load(tmp_path)
    with pytest.raises(ValueError, match="d_model"):
        Router.load(folder, HybridLM(HybridConfig.tiny()), WordTokenizer())
    with pytest.raises(ValueError, match="has none to read texts with"):
        Router.load(folder).route("add")
    for name, content in (("router.json", "{"), ("router.json", '{"format": 99}'), ("router.safetensors", "no")):
        broken = tmp_path / name.replace(".", "") / str(len(content))
        broken.mkdir(parents=True)
        for kept in ("router.json", "router.safetensors"):
            (broken / kept).write_bytes((folder / kept).read_bytes())
        (broken / name).write_text(content)
        with pytest.raises(ValueError, match=name):
            Router.load(broken)


def test_a_head_alone_gives_probabilities():
    router = Router(IntentHead(8, 4, 3), RouterConfig(labels=("a", "b", "c"), depth=0, d_model=8))
    assert torch.allclose(router.probabilities(torch.randn(5, 8)).sum(1), torch.ones(5))


# ---- the command line -----------------------------------------------------------------------------------------------


def test_the_command_trains_on_a_release_and_prints_the_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nexus_final.intents.intent_examples", lambda split: examples()[split])
    release = write_release(tmp_path / "release")
    assert main(["--release", str(release), "--out", str(tmp_path / "out"), "--quick", "--seed", "3"]) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["seed"] == 3
    assert report["n"]["train"] == 4 * RouterSettings.quick().train_per_intent
    assert f"macro_f1 {report['macro_f1']:.3f}" in capsys.readouterr().out
    loaded = load_release(release)
    assert Router.load(tmp_path / "out", loaded.model, loaded.tokenizer).route("add plus")[1] > 0


def test_a_missing_release_is_one_line_and_exit_2(tmp_path, capsys):
    assert main(["--release", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
