"""Where an answer ends: the pieces are the text up to the first stop text, which is never shown in part."""

from hypothesis import given
from hypothesis import strategies as st

from nexus.serving.ending import Ending
from tests.tiny_release import text_tokenizer

END = 258
TOKENIZER = text_tokenizer()
LETTERS = st.text("ab🙂", max_size=30)


def fed(text, stop, most=1_000, end=True):
    ending = Ending(TOKENIZER, [END], stop, most)
    pieces = []
    for token in TOKENIZER.encode(text) + [END] * end:
        pieces.append(ending.feed(token))
        if ending.reason:
            break
    return pieces, ending.reason


@given(LETTERS, st.lists(st.text("ab🙂", min_size=1, max_size=4), max_size=3))
def test_the_answer_is_the_text_up_to_the_first_stop_text(text, stop):
    pieces, reason = fed(text, stop)
    said = "".join(pieces)
    assert reason == "stop"
    assert text.startswith(said)
    assert not any(word in said for word in stop)
    assert said == text or any(text[len(said) :].startswith(word) for word in stop)


def test_what_may_become_a_stop_text_is_held_back_no_longer_than_needed():
    assert fed("xabya", ["abc"])[0] == ["x", "", "", "aby", "", "a"]


def test_a_stop_text_across_tokens_ends_the_answer():
    assert fed("one\n\ntwo", ["\n\n"]) == (["o", "n", "e", "", ""], "stop")


def test_a_cut_off_answer_says_so_and_shows_all_it_has():
    assert fed("abcd", ["bx"], most=2) == (["a", "b"], "length")
    assert fed("🙂", [], most=2, end=False) == (["", "\ufffd"], "length")
