"""The release speaks as ever, and its numbers are those of a pass over the finished text."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nexus.inference.generation import generate
from nexus.inference.release import GenerationDefaults
from nexus.living.speaking import Voice
from tests.serving.small import END, release_of
from tests.tiny_release import never_end, tiny_model

TEXTS = ["Hello", "What is the capital of France, please?", "x"]


@pytest.fixture(scope="module")
def release():
    return release_of()


def test_answers_are_those_of_generate_alone_and_in_a_batch(release):
    voice = Voice(release, tokens=9)
    prompts = [voice.prompt(text) for text in TEXTS]
    expected = [
        release.tokenizer.decode(ids).strip()
        for ids in generate(release.model, prompts, max_new_tokens=9, eos_ids=(END,))
    ]
    assert [one.text for one in voice.say_all(TEXTS)] == expected == [voice.say(text).text for text in TEXTS]


def test_the_numbers_are_those_of_one_pass_over_prompt_and_answer(release):
    voice = Voice(release, tokens=9)
    prompts = [voice.prompt(text) for text in TEXTS]
    answers = generate(release.model, prompts, max_new_tokens=9, eos_ids=(END,))
    for said, prompt, answer in zip(voice.say_all(TEXTS), prompts, answers, strict=True):
        with torch.inference_mode():
            out = release.model(torch.tensor([prompt + answer]))
        logs = out.logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
        hidden = out.hidden[0, len(prompt) - 1 : -1]
        np.testing.assert_allclose(said.logprobs, logs[range(len(answer)), answer], atol=1e-4)
        entropies = torch.special.entr(logs.exp()).sum(-1)
        np.testing.assert_allclose(said.entropies, entropies, atol=1e-4)
        np.testing.assert_allclose(said.question, hidden[0], atol=1e-4)
        np.testing.assert_allclose(said.answer, hidden.mean(0), atol=1e-4)
        assert said.tokens == len(answer)


def test_rows_that_end_early_leave_and_are_marked():
    model = tiny_model().double()
    release = release_of()
    release = replace(release, source=model, generation=GenerationDefaults(eos_ids=tuple(range(0, 259, 12))))
    voice = Voice(release, tokens=12)
    texts = [f"Question {i}" for i in range(12)]
    together = voice.say_all(texts)
    assert {one.ended for one in together} == {True, False}
    assert len({one.tokens for one in together}) > 2
    for text, one in zip(texts, together, strict=True):
        alone = voice.say(text)
        assert (alone.text, alone.tokens, alone.ended) == (one.text, one.tokens, one.ended)
        np.testing.assert_allclose(alone.logprobs, one.logprobs, atol=1e-5)


def test_samples_are_drawn_beside_the_greedy_answer(release):
    plain, sampled = Voice(release, tokens=5), Voice(release, tokens=5, samples=3)
    for one, more in zip(plain.say_all(TEXTS), sampled.say_all(TEXTS), strict=True):
        assert more.text == one.text
        assert len(more.samples) == len(more.sample_logprobs) == 3
        assert len(set(more.samples)) > 1
        assert all(total < 0 for total in more.sample_logprobs)
    again = sampled.say_all(TEXTS)
    assert [one.samples for one in again] == [one.samples for one in sampled.say_all(TEXTS)]


def test_what_does_not_fit_is_refused():
    release = release_of()
    with pytest.raises(ValueError, match="too few"):
        Voice(release, tokens=0)
    small = replace(release, source=never_end(tiny_model(max_seq_length=40, tie_embeddings=False)))
    with pytest.raises(ValueError, match="say it shorter"):
        Voice(small, tokens=9).say("x" * 60)
