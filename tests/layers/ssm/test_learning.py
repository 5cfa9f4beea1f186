"""Layers reach their bars on the tasks that they exist for; the rest of the table is benchmarks/ssm_learning.py."""

import pytest

from benchmarks.ssm_learning import BARS, TASKS, accuracy

MEASURED = [
    ("parity", "slstm"),
    ("copying", "mamba"),
    ("recall", "gated_delta_net"),
    ("recall", "h3"),
    ("digits", "s5"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "layer"), MEASURED)
def test_a_layer_reaches_its_bar(task, layer):
    assert accuracy(task, layer) >= BARS[task][layer]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_can_be_solved_from_its_text(task):
    """The wanted tokens follow from those that are seen."""
    x, y = TASKS[task][0](16)
    for text, wanted in zip(x.tolist(), y.tolist(), strict=True):
        if task == "copying":
            assert [t for t in text[:24] if t] == [w for w in wanted if w >= 0]
        elif task == "recall":
            pairs = dict(zip(text[:16:2], text[1:16:2], strict=True))
            assert wanted[:16] == [-100] * 16
            assert [pairs[key] for key in text[16::2]] == wanted[16::2]
        else:
            assert wanted == [sum(text[: i + 1]) % 2 for i in range(len(text))]
