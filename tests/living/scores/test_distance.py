"""Distance: questions that lie away from the known ones score low."""

import numpy as np

from nexus.living.risk_coverage import augrc
from nexus.living.scores.distance import Distance


def test_it_tells_known_from_unknown_in_correlated_states():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(12, 12)) * np.geomspace(0.1, 10, 12)
    known, near, far = (rng.normal(size=(300, 12)) @ mix for _ in range(3))
    far = far + 4 * mix[0]
    distance = Distance.fit(known)
    scores = np.concatenate([distance(near), distance(far)])
    inside = np.repeat([True, False], 300)
    assert augrc(scores, inside) < 0.75 * augrc(np.zeros(600), inside)  # perfect: half of it
