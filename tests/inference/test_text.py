"""Text in and out: streams that never break a character, templates equal to transformers'."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from nexus.inference.text import Detokenizer, TextTokenizer
from tests.tiny_release import CHATML, SPECIAL, byte_tokenizer, text_tokenizer, write_release

TOKENIZER = text_tokenizer()
CHAT = [
    {"role": "system", "content": 'Be <brief> & "kind".'},
    {"role": "user", "content": "Wie geht's? 你好 🙂"},
    {"role": "assistant", "content": "  Gut!\n"},
    {"role": "user", "content": "{{ 7 * 7 }} {% raw %}"},
]
TEMPLATES = {
    "chatml": CHATML,
    "default system": "{% for m in messages %}"
    "{% if loop.first and m['role'] != 'system' %}{{ 'SYSTEM: none\n' }}{% endif %}"
    "{{ m['role'] | upper + ': ' + m['content'] | trim + eos_token }}\n{% endfor %}",
    "blocks on lines": """
    {%- set ns = namespace(turns=0) %}
    {{- bos_token }}
    {% for m in messages %}
        {% if m.role == 'user' %}
            {% set ns.turns = ns.turns + 1 %}
        {% endif %}
        {% if ns.turns > 1 %}{% continue %}{% endif %}
        [{{ ns.turns }}] {{ m.content }}
    {% endfor %}
    {% if add_generation_prompt %}ASSISTANT:{% endif %}
    """,
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ tools is none }}",
    "generation": "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}",
    "break": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m['content'] }}{% endfor %}",
}


def streamed(tokenizer, ids, **options):
    text = Detokenizer(tokenizer, **options)
    return [*map(text.feed, ids), text.finish()]


@given(st.text())
def test_streamed_pieces_make_the_text(text):
    ids = TOKENIZER.encode(text)
    pieces = streamed(TOKENIZER, ids)
    assert "".join(pieces) == TOKENIZER.decode(ids) == text


@given(st.text(st.characters(exclude_characters="\ufffd", exclude_categories=["Cs"])))
def test_no_piece_holds_half_a_character(text):
    assert not any("\ufffd" in piece for piece in streamed(TOKENIZER, TOKENIZER.encode(text)))


def test_a_character_comes_when_its_last_byte_does():
    pieces = streamed(TOKENIZER, TOKENIZER.encode("a🙂b"))
    assert pieces == ["a", "", "", "", "🙂", "b", ""]


@given(st.lists(st.integers(0, 255)))
def test_bytes_that_are_no_text_come_out_in_the_end(ids):
    assert "".join(streamed(TOKENIZER, ids)) == TOKENIZER.decode(ids)


def test_endless_garbage_is_not_held_back():
    garbage = TOKENIZER.encode("🙂")[1:2] * 40  # the inside of a character, without its beginning
    pieces = streamed(TOKENIZER, garbage)
    assert pieces == ["", *["\ufffd"] * 40]


def test_an_unfinished_character_is_said_so_at_the_end():
    assert streamed(TOKENIZER, TOKENIZER.encode("a🙂")[:-1]) == ["a", "", "", "", "\ufffd"]


def test_special_tokens_are_skipped_or_shown():
    ids = [*TOKENIZER.encode("hi"), *TOKENIZER.eos_ids]
    assert streamed(TOKENIZER, ids) == ["h", "i", "", ""]
    assert "".join(streamed(TOKENIZER, ids, skip_special=False)) == "hi<|im_end|>"


def word_tokenizer():
    """Spaces belong to the word behind them, and the decoder drops the first: pieces depend on what came before."""
    words = {"<unk>": 0, "▁Hello": 1, "▁big": 2, "▁world": 3, "!": 4}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return TextTokenizer(made)


def test_spaces_between_words_survive_streaming():
    tokenizer = word_tokenizer()
    assert "".join(streamed(tokenizer, [1, 2, 3, 4])) == tokenizer.decode([1, 2, 3, 4]) == "Hello big world!"


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("answer_next", [True, False])
@pytest.mark.parametrize("chat", [CHAT, CHAT[1:], CHAT[1:2]], ids=["whole", "no system", "one turn"])
def test_templates_render_as_in_transformers(name, answer_next, chat):
    theirs = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), bos_token=SPECIAL[1], eos_token=SPECIAL[2])
    theirs.chat_template = TEMPLATES[name]
    ours = TextTokenizer(byte_tokenizer(), TOKENIZER.special, TEMPLATES[name])
    options = {"add_generation_prompt": answer_next}
    assert ours.render(chat, answer_next=answer_next) == theirs.apply_chat_template(chat, tokenize=False, **options)
    ids = theirs.apply_chat_template(chat, tokenize=True, return_dict=True, **options)["input_ids"]
    assert ours.chat_ids(chat, answer_next=answer_next) == ids


def test_a_saved_transformers_tokenizer_is_read(tmp_path):
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(), bos_token=SPECIAL[1], eos_token=AddedToken(SPECIAL[2], special=True)
    )
    theirs.chat_template = CHATML
    theirs.save_pretrained(tmp_path)
    ours = TextTokenizer.from_folder(tmp_path)
    assert ours.chat_template == CHATML
    assert ours.eos_ids == (theirs.eos_token_id,)
    assert ours.vocab_size == len(theirs)
    assert ours.encode("Grüße 🙂") == theirs("Grüße 🙂")["input_ids"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [(CHATML, CHATML), ([{"name": "tool", "template": "x"}, {"name": "default", "template": "y"}], "y"), (None, None)],
)
def test_templates_inside_the_settings(tmp_path, template, expected):
    byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    settings = {"eos_token": {"content": SPECIAL[2], "special": True}, "pad_token": None, "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = TextTokenizer.from_folder(tmp_path)
    assert (ours.chat_template, ours.special) == (expected, {"eos_token": SPECIAL[2]})


def test_a_tokenizer_alone_has_no_template(tmp_path):
    byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    ours = TextTokenizer.from_folder(tmp_path)
    assert ours.eos_ids == ()
    with pytest.raises(ValueError, match=r"chat_template: there is none; put a chat_template\.jinja"):
        ours.render(CHAT)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "chat_template: does not parse"),
        ("{{ raise_exception('roles must alternate') }}", "refuses them .roles must alternate"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safe"),
        ("{{ lipsum() }}", "lipsum"),
    ],
)
def test_templates_that_fail_or_reach_out_are_refused(template, message):
    with pytest.raises(ValueError, match=message):
        TextTokenizer(byte_tokenizer(), chat_template=template).render(CHAT)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", "no", "is not a tokenizer"),
        ("tokenizer_config.json", "{", "not readable JSON"),
        ("tokenizer_config.json", "[]", "holds a list, not an object"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, content, message):
    write_release(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=f"{file}.*{message}"):
        TextTokenizer.from_folder(tmp_path)


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json does not exist; give a folder"):
        TextTokenizer.from_folder(tmp_path)
