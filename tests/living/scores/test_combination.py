"""The combined score: better than each baseline where there is something to combine, and the same after a file."""

import numpy as np
import pytest

from nexus.living.risk_coverage import augrc
from nexus.living.scores.combination import BASELINES, FEW, LEARNT, PLAIN, SAMPLED, Score, signals_of
from tests.living.answers import crowd, said


@pytest.fixture(scope="module")
def fitted():
    made, right = crowd()
    return Score.fit(made, right.tolist(), tokens=7)


def test_it_beats_the_baselines_on_new_answers(fitted):
    made, right = crowd(seed=1)
    mine = augrc(fitted(made), right)
    assert mine < 0.9 * min(augrc([signal(one) for one in made], right) for signal in BASELINES)
    assert ((fitted(made) >= 0) & (fitted(made) <= 1)).all()


def test_it_is_a_probability(fitted):
    made, right = crowd(n=2_000, seed=2)
    score = fitted(made)
    sure = score > 0.8
    assert abs(right[sure].mean() - score[sure].mean()) < 0.06


def test_a_file_brings_back_the_same_score(fitted, tmp_path):
    path = fitted.save(tmp_path / "score.safetensors")
    again, (made, _) = Score.load(path), crowd(seed=3, n=40)
    assert np.array_equal(again(made), fitted(made))
    assert (again.names, again.tokens, again.samples) == ((*(s.__name__ for s in PLAIN), *LEARNT), 7, 0)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no score"):
        Score.load(path)


def test_samples_are_read_where_all_answers_have_them():
    names, values = signals_of([said(samples=("yes", "Yes.", "no")), said(samples=("a", "b", "c"))])
    assert names == tuple(signal.__name__ for signal in PLAIN + SAMPLED)
    assert values[:, names.index("agreement")].tolist() == [2 / 3, 0.0]
    assert values[0, names.index("cluster_entropy")] > values[1, names.index("cluster_entropy")]
    with pytest.raises(ValueError, match="samples"):
        made, right = crowd(60)
        Score.fit(made, right.tolist(), 7)([said(samples=("a",))])


def test_too_few_outcomes_of_one_kind_leave_the_likelihood(tmp_path):
    made, _ = crowd(60)
    score = Score.fit(made, [i < FEW - 1 for i in range(60)], tokens=7)
    assert score.line is None
    assert np.allclose(score(made), [np.exp(one.logprobs.mean()) for one in made])
    assert Score.load(score.save(tmp_path / "s.safetensors")).names == ("mean_logprob",)
