"""Calls in an answer: found however the text is cut into pieces."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nexus.serving.calls import CallReader
from nexus.serving.replies import collect
from nexus.serving.tools import call_text

JSON = st.dictionaries(
    st.text(max_size=6),
    st.recursive(st.none() | st.text(max_size=12) | st.integers(), st.lists, max_leaves=4),
    max_size=3,
)
CALLS = st.lists(st.tuples(st.from_regex(r"[a-zA-Z0-9_-]{1,9}", fullmatch=True), JSON), min_size=1, max_size=3)


def read(text, cuts=(), active=True):
    reader, places = CallReader(active), [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    parts = [part for i, piece in enumerate(pieces) for part in reader.feed(piece, last=i == len(pieces) - 1)]
    return collect(iter(parts))


@given(CALLS, st.lists(st.integers(0, 10_000), max_size=12))
def test_calls_come_back_whatever_the_pieces(calls, cuts):
    written = [(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in calls]
    text = "\n".join(call_text(*call) for call in written)
    assert read(text, cuts) == (None, written)


@given(st.text("<tool_calx >{}", max_size=30), st.lists(st.integers(0, 100), max_size=8))
def test_a_text_that_is_no_call_comes_back_whole(text, cuts):
    if not text.startswith("<tool_call>"):
        assert read(text, cuts) == (text, [])
    assert read("<tool_call>" + text, cuts, active=False) == ("<tool_call>" + text, [])


def test_a_call_that_is_cut_off_keeps_what_there_was():
    text = call_text("look", '{"where": "there"}')
    assert read(text[: text.rindex("here")]) == (None, [("look", '{"where": "t')])


def test_closing_words_inside_a_string_end_nothing():
    arguments = json.dumps({"text": '}</tool_call>"\\', "more": ["}"]})
    assert read(call_text("say", arguments)) == (None, [("say", arguments)])
