"""A chat session: the same answers as from reading everything again, without reading anything twice."""

import pytest
import torch

from nexus.inference.generation import generate
from nexus.inference.release import GenerationDefaults, Release
from nexus.inference.sampling import Sampling
from nexus.inference.text import TextTokenizer
from nexus.living.versions import PLAIN
from nexus.serving.session import ChatSession
from nexus.serving.weights import OwnersWeights
from tests.serving.test_weights import add_version, said_by
from tests.tiny_release import byte_tokenizer, speak_ascii, text_tokenizer, tiny_model

END = 258
NEW = 12


def release_of(template=None, plan="MWMA", **defaults):
    ours = text_tokenizer()
    tokenizer = ours if template is None else TextTokenizer(byte_tokenizer(), ours.special, template)
    generation = GenerationDefaults(**{"eos_ids": (END,), **defaults})
    return Release(speak_ascii(tiny_model(plan=plan).double()), tokenizer, generation, None)


def answer_afresh(release, messages):
    """The greedy answer to a whole conversation, read in one go."""
    ids = release.tokenizer.chat_ids(messages)
    (answer,) = generate(release.model, [ids], max_new_tokens=NEW, eos_ids=release.generation.eos_ids)
    return release.tokenizer.decode(answer)


def say(chat, text):
    return "".join(chat.say(text))


class Fed:
    """Counts the tokens that the model is fed."""

    def __init__(self, release):
        self.tokens = 0
        release.model.register_forward_pre_hook(self._count)

    def _count(self, _module, args):
        self.tokens += args[0].numel()

    def taken(self):
        tokens, self.tokens = self.tokens, 0
        return tokens


@pytest.mark.parametrize("plan", ["MWMA", "A", "M", "W"])
@pytest.mark.parametrize("system", [None, "Be kind."])
def test_turns_equal_reading_everything_again(plan, system):
    chat = ChatSession(release_of(plan=plan), system, max_new_tokens=NEW)
    for turn in ("Hello", "And you?", "Why 🙂?"):
        answer = say(chat, turn)
        assert answer == answer_afresh(chat.release, chat.messages[:-1])
        assert chat.messages[-1] == {"role": "assistant", "content": answer}
    assert len(chat.messages) == 6 + (system is not None)


def test_an_answer_that_ends_by_itself_is_closed_once():
    release = release_of()
    bias = torch.zeros(259)
    bias[END] = 1e4
    release.model.lm_head.register_forward_hook(lambda _module, _args, logits: torch.zeros_like(logits) + bias)
    chat = ChatSession(release, max_new_tokens=NEW)
    assert [say(chat, "Hello"), say(chat, "More")] == ["", ""]
    assert chat._memory.text + "\n" == release.tokenizer.render(chat.messages, answer_next=False)


def test_nothing_is_read_twice():
    release = release_of()
    fed, chat = Fed(release), ChatSession(release, max_new_tokens=NEW)
    say(chat, "A long first question, to be remembered")
    fed.taken()
    say(chat, "Yes?")
    # <|im_end|> \n <|im_start|> user \n Yes? <|im_end|> \n <|im_start|> assistant \n, the special tokens one id each
    added = 4 + len("\n" + "user\nYes?" + "\n" + "assistant\n")
    assert fed.taken() == 1 + added + NEW - 1  # the first answer's last token was unread, the second's still is


def test_a_template_that_rewrites_the_past_is_read_again():
    last_only = "{{ messages[-1]['content'] }}>"
    chat = ChatSession(release_of(last_only), max_new_tokens=NEW)
    say(chat, "first")
    fresh = ChatSession(release_of(last_only), max_new_tokens=NEW)
    assert say(chat, "second") == say(fresh, "second")


def test_the_release_brings_its_system_message():
    chat = ChatSession(release_of(system="Be brief."))
    assert chat.messages == [{"role": "system", "content": "Be brief."}]
    assert ChatSession(release_of(system="Be brief."), "Be long.").system == "Be long."


def test_reset_forgets():
    chat = ChatSession(release_of(system="Be brief."), max_new_tokens=NEW)
    first = say(chat, "Hello")
    say(chat, "More")
    chat.reset()
    assert chat.messages == [{"role": "system", "content": "Be brief."}]
    assert say(chat, "Hello") == first
    chat.reset()
    with pytest.raises(ValueError, match="nothing was said yet"):
        next(chat.retry())


def test_retry_answers_the_same_question_again():
    chat = ChatSession(release_of(), max_new_tokens=NEW)
    say(chat, "Hello")
    second = say(chat, "And you?")
    warm = Sampling(temperature=2.0, seed=3)
    other = "".join(chat.retry(warm))
    assert other != second
    assert "".join(chat.retry()) == second
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 2
    third = say(chat, "Go on")
    again = ChatSession(release_of(), max_new_tokens=NEW)
    assert [say(again, turn) for turn in ("Hello", "And you?", "Go on")][-1] == third


def test_retry_reads_only_the_last_turn_again():
    release = release_of()
    fed, chat = Fed(release), ChatSession(release, max_new_tokens=NEW)
    say(chat, "A long first question, to be remembered")
    fed.taken()
    say(chat, "Yes?")
    last_turn = fed.taken()
    list(chat.retry())
    assert fed.taken() == last_turn


@pytest.mark.parametrize("heard", [1, 3])
def test_an_answer_that_is_left_early_is_remembered_as_far_as_it_came(heard):
    release = release_of(plan="AMW")
    chat = ChatSession(release, max_new_tokens=NEW)
    pieces = chat.say("Hello")
    said = "".join(next(pieces) for _ in range(heard))
    pieces.close()
    assert chat.messages[-1]["role"] == "assistant"
    assert chat.messages[-1]["content"].startswith(said)
    later = say(chat, "Go on")
    assert later == answer_afresh(release, chat.messages[:-1])


def test_an_answer_that_is_never_asked_for_never_happened():
    chat = ChatSession(release_of(), max_new_tokens=NEW)
    first = say(chat, "Hello")
    chat.say("not asked for")
    assert len(chat.messages) == 2
    again = ChatSession(release_of(), max_new_tokens=NEW)
    assert say(again, "Hello") == first
    assert say(again, "More") == say(chat, "More")


def test_interrupted_while_reading_the_question(monkeypatch):
    release = release_of(plan="AMW")
    chat = ChatSession(release, max_new_tokens=NEW)
    say(chat, "Hello")
    with monkeypatch.context() as patch:
        patch.setattr(release.model.backbone.blocks[1], "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            say(chat, "a question that is never read")
    assert chat.messages[-1] == {"role": "assistant", "content": ""}
    later = say(chat, "Go on")
    assert later == answer_afresh(release, chat.messages[:-1])


def interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_a_full_context_is_said_and_the_turn_not_taken():
    release = release_of()
    object.__setattr__(release.model.config, "max_seq_length", 60)
    chat = ChatSession(release, max_new_tokens=1_000)
    first = say(chat, "Hello")
    assert len(release.tokenizer.encode(chat._memory.text)) <= 60
    with pytest.raises(ValueError, match="fill the model's 60; say less, or start anew"):
        say(chat, "x" * 60)
    assert len(chat.messages) == 2
    chat.reset()
    assert say(chat, "Hello") == first


def test_a_template_that_refuses_leaves_the_conversation_as_it_was():
    picky = "{% if messages[1] %}{{ raise_exception('one turn only') }}{% endif %}{{ messages[0]['content'] }}"
    chat = ChatSession(release_of(picky), max_new_tokens=NEW)
    say(chat, "Hello")
    with pytest.raises(ValueError, match="one turn only"):
        say(chat, "More")
    assert len(chat.messages) == 2


def test_a_version_of_the_weights_speaks_where_it_reaches_and_reads_the_chat_anew(tmp_path):
    release = release_of(plan="MWA")
    release.model.float()
    name = add_version(release, tmp_path, 1, about=["Bo is red."])
    chat = ChatSession(release, max_new_tokens=NEW, choose=OwnersWeights(tmp_path, "r", release), owner="me")
    for turn, speaks in (("Hello", PLAIN), ("Who is Bo?", name), ("And why?", name)):
        answer = say(chat, turn)
        prompt = release.tokenizer.chat_ids(chat.messages[:-1])
        assert answer == said_by(release, tmp_path, speaks, prompt, NEW)
        assert say_again(chat) == answer
    assert said_by(release, tmp_path, PLAIN, prompt, NEW) != answer, "the version must be heard"


def say_again(chat):
    return "".join(chat.retry())
