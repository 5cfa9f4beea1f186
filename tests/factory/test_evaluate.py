"""The examination: how questions are made and judged, and that its figures are those of the answers."""

import json
import math

import pytest
import torch

from nexus.data.text import Document, QAItem
from nexus.inference.quality import perplexity
from nexus_final.evaluate import (
    Answers,
    Exam,
    answer_exam,
    compare_answers,
    compare_prose,
    evaluate_models,
    prose_nll,
    ratio_interval,
    retained_interval,
)
from nexus_final.generation_sets import (
    GenerationSet,
    Question,
    begins_with,
    last_word,
    last_words,
    open_book,
    same_title,
    same_words,
    titles,
)
from nexus_final.report_keys import undocumented
from tests.tiny_release import END_TEXT, speak_ascii, text_tokenizer, tiny_model

FILLER = " ".join(f"word{i}" for i in range(40))


def items(n, **changes):
    made = [{"id": str(i), "question": f"Which is {i}?", "answer": f"Number {i}", "key": str(i)} for i in range(n)]
    return [QAItem(**{**item, **changes}) for item in made]


def passage(i, text):
    return Document(str(i), f"Title {i} (film)\n\n{text}", str(i), {"title": f"Title {i} (film)"})


def a_set(name="copy", right=same_words):
    pair = tuple(Question(str(i), f"{'shared ' * 3}say {i}:", str(i)) for i in range(3))
    return GenerationSet(name, (pair, pair[:2]), right, 0.0, 4)


# ---- questions ------------------------------------------------------------------------------------------------------


def test_an_open_book_asks_each_of_its_questions_again():
    made = open_book("book", items(21), 200)
    assert [len(group) for group in made.groups] == [8, 8]
    assert made.chance == 1 / 8
    question = made.groups[1][3]
    assert question.answer == "Number 11"
    assert question.prompt.count("Question: Which is 11?") == 2
    assert question.prompt.count("Answer: Number") == 8
    assert question.prompt.endswith("\n\nQuestion: Which is 11?\nAnswer:")
    beginnings = {question.prompt.rpartition("\n\n")[0] for question in made.groups[1]}
    assert len(beginnings) == 1


def test_an_open_book_takes_what_fits_a_page():
    assert open_book("book", items(16), 15).questions == open_book("book", items(8), 200).questions
    assert open_book("book", items(8, answer="one two three four five six seven"), 8).questions == []
    assert open_book("book", items(8, answer=None), 8).questions == []
    assert open_book("book", items(8, question="why " * 25), 8).questions == []


def test_titles_are_asked_behind_examples():
    made = titles(
        "title", [passage(i, f"{FILLER} more") for i in range(5)], [passage(90 + i, "Short.") for i in range(9)], 4
    )
    (group,) = made.groups
    assert len(group) == 4
    assert group[2].answer == "Title 2 (film)"
    assert group[2].prompt.startswith(
        "Text: Short.\nTitle: Title 90 (film)\n\nText: Short.\nTitle: Title 91 (film)\n\n"
    )
    assert group[2].prompt.endswith("\n\nText: " + FILLER + " ...\nTitle:")
    assert group[2].prompt.count("Title:") == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"The harbour {FILLER} near the harbour. More", (f"The harbour {FILLER} near the", "harbour")),
        (f"The harbour {FILLER} the new harbour", None),  # no end of a sentence
        (f"The {FILLER} near the harbour.", None),  # not said before
        (f"The harbours {FILLER} near the harbour.", None),  # only as a part of a word
        (f"The sea {FILLER} near the sea.", None),  # too short to tell much
        ("The harbour is a harbour.", None),  # too early
    ],
)
def test_last_words_have_been_said_before(text, expected):
    assert last_word(text) == expected


def test_last_words_take_the_first_fitting_passages():
    fitting = [passage(i, f"The harbour {FILLER} near the harbour.") for i in (1, 3, 4)]
    made = last_words("last", [passage(0, FILLER), *fitting], 2)
    assert [question.id for question in made.questions] == ["1", "3"]


@pytest.mark.parametrize(
    ("right", "said", "answer", "expected"),
    [
        (same_words, "Lots of attention.", "lots of attention", True),
        (same_words, "lots of attention and more", "lots of attention", False),
        (same_words, "", "lots", False),
        (same_title, "Perfect Storm", "The Perfect Storm (film)", True),
        (same_title, "Storm", "The Perfect Storm (film)", False),
        (begins_with, "harbour. It was", "harbour", True),
        (begins_with, "Harbour", "harbour", True),
        (begins_with, "harbours", "harbour", False),
        (begins_with, "old harbour", "harbour", False),
        (begins_with, "", "harbour", False),
    ],
)
def test_what_counts_as_right(right, said, answer, expected):
    assert right(said, answer) is expected


# ---- the exam -------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_written_answers(tmp_path):
    exam = Exam((a_set(right=lambda said, answer: len(said) % 2 == 0), a_set("other")), ("Hello", "And you?"), 8)
    models = {"teacher": speak_ascii(tiny_model(1)), "student": speak_ascii(tiny_model(2))}
    models["student"].set_window(3)
    seen = []
    found = evaluate_models(models, text_tokenizer(), exam, folder=tmp_path, progress=lambda *now: seen.append(now))
    report, details = found["report"], found["details"]
    assert report["window"] == 3
    for name in models:
        rows = [json.loads(line) for line in (tmp_path / f"answers_{name}.jsonl").read_text().splitlines()]
        assert [row["set"] for row in rows] == ["copy"] * 5 + ["other"] * 5 + ["chat"] * 2
        right = [row["right"] for row in rows[:5]]
        assert right == [len(row["said"]) % 2 == 0 for row in rows[:5]]
        assert report["sets"]["copy"][name] == sum(right) / 5
        assert [row["verdict"] for row in rows[10:]] == ["breaks off"] * 2
        assert details["verdicts"][name] == {"breaks off": 2}
    assert report["chat"] == {"n": 2, "teacher": 0.0, "student": 0.0, "retained": None}
    assert ("teacher, copy", 5, 5) in seen
    assert seen[-1] == ("student, chat", 2, 2)
    assert json.loads(json.dumps(found)) == found
    assert not undocumented({"generation": report})


def test_a_model_keeps_all_of_its_own():
    model, exam = speak_ascii(tiny_model()), Exam((a_set(right=lambda said, _: bool(said)),), ("Hello",), 4)
    report = evaluate_models({"teacher": model, "student": model}, text_tokenizer(), exam)["report"]
    assert report["sets"]["copy"] == {"n": 5, "teacher": 1.0, "student": 1.0, "retained": 1.0, "chance": 0.0}


def test_answers_end_with_the_line_and_chats_with_the_end_token():
    model, tokenizer = tiny_model(), text_tokenizer()
    script = iter(tokenizer.encode("yes\n") + tokenizer.encode("fine") + [tokenizer.tokenizer.token_to_id(END_TEXT)])

    def say_next(_module, _args, logits):
        logits = torch.zeros_like(logits)
        logits[..., next(script)] = 1
        return logits

    model.lm_head.register_forward_hook(say_next)
    one = GenerationSet("one", ((Question("1", "Say yes:", "yes"),),), same_words, 0.0, 9)
    answers = answer_exam(model, tokenizer, Exam((one,), ("How are you?",), 9))
    assert (answers.lines, answers.right) == ({"one": ["yes"]}, {"one": [True]})
    assert (answers.chat, answers.verdicts, answers.sound) == (["fine"], ["good"], [True])
    assert next(script, None) is None, "nothing is generated behind an end"


def test_retained_is_the_ratio_with_a_paired_interval():
    teacher = Answers(right={"copy": [True, True, True, True, False]}, verdicts=["good", "loops"])
    student = Answers(right={"copy": [True, True, True, False, False]}, verdicts=["good", "good"])
    found = compare_answers(teacher, student, Exam((a_set(),), ("a", "b")), window=64)
    assert found["report"]["sets"]["copy"] == {"n": 5, "teacher": 0.8, "student": 0.6, "retained": 0.75, "chance": 0.0}
    assert found["report"]["chat"] == {"n": 2, "teacher": 0.5, "student": 1.0, "retained": 2.0}
    assert found["details"]["verdicts"] == {"teacher": {"good": 1, "loops": 1}, "student": {"good": 2}}


def test_the_interval_of_what_is_retained_is_paired():
    draw = torch.Generator().manual_seed(0)
    teacher = (torch.rand(400, generator=draw) < 0.5).tolist()
    same = retained_interval(teacher, teacher)
    assert same == (1.0, 1.0), "the same answers leave no doubt"
    worse = [right and i % 5 > 0 for i, right in enumerate(teacher)]
    low, high = retained_interval(teacher, worse)
    assert low < sum(worse) / sum(teacher) < high
    assert high - low < 0.12
    assert retained_interval([False] * 4, [True] * 4) is None
    assert retained_interval([], []) is None


# ---- perplexity -----------------------------------------------------------------------------------------------------


def test_all_lengths_are_of_the_same_text():
    model, tokens = tiny_model(), torch.randint(259, (3, 32))
    seen = []
    found = prose_nll(model, tokens.int().numpy(), (8, 32), 64, progress=lambda *now: seen.append(now))
    assert {length: len(nll) for length, nll in found.items()} == {8: 12, 32: 3}
    assert math.exp(found[8].mean()) == pytest.approx(perplexity(model, tokens.view(12, 8)))
    assert math.exp(found[32].mean()) == pytest.approx(perplexity(model, tokens))
    assert seen[-1] == ("32 tokens", 3, 3)
    with pytest.raises(ValueError, match=r"lengths: \[7\] do not divide the 32 tokens"):
        prose_nll(model, tokens, (7, 8))


def test_perplexity_in_bfloat16_is_the_same_up_to_its_bits():
    model, tokens = tiny_model(), torch.randint(259, (3, 32))
    exact, rough = (prose_nll(model, tokens, (32,), precision=p)[32] for p in ("float32", "bfloat16"))
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, rtol=2e-3, atol=0)


def test_ratios_come_with_their_interval():
    draw = torch.Generator().manual_seed(1)
    teacher = torch.rand(200, generator=draw, dtype=torch.float64) + 3
    student = teacher + 0.05 + 0.02 * torch.randn(200, generator=draw, dtype=torch.float64)
    low, high = ratio_interval(teacher, student)
    ratio = math.exp((student - teacher).mean())
    assert low < ratio < high
    assert high - low < 0.008, "paired: far narrower than the spread of the blocks"
    cells = compare_prose({512: teacher}, {64: {512: student}, 0: {512: teacher}})
    assert not undocumented({"perplexity": {"sets": {"prose": cells}}})
    found = cells["512"]
    assert found["teacher"] == pytest.approx(math.exp(teacher.mean()))
    assert found["blocks"] == 200
    assert found["windows"]["64"] == pytest.approx(
        {"ppl": math.exp(student.mean()), "ratio": ratio, "ratio_low": low, "ratio_high": high}
    )
    equal = {"ppl": found["teacher"], "ratio": 1, "ratio_low": 1, "ratio_high": 1}
    assert found["windows"]["0"] == pytest.approx(equal)
