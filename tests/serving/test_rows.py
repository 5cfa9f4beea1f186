"""States that are kept: the same numbers, in one piece of memory."""

import pytest
import torch

from nexus.serving.rows import compact
from tests.serving.small import release_of


def parts(state):
    return dict(state._filled())


@pytest.mark.parametrize("changes", [{"plan": "MWMA"}, {"plan": "A"}, {"plan": "W", "window": 3}], ids=str)
def test_a_kept_state_is_an_independent_copy_in_one_piece(changes):
    model = release_of(**changes).model
    with torch.inference_mode():
        state = model(torch.tensor([[5, 6, 7, 8, 9, 10, 11]]), state=model.init_state(1)).state
        kept = compact(state)
        before = {name: part.clone() for name, part in parts(state).items()}
        assert parts(kept).keys() == before.keys()
        assert all(torch.equal(part, before[name]) for name, part in parts(kept).items())
        (piece,) = {part.untyped_storage().data_ptr() for part in parts(kept).values()}
        size = parts(kept)["next_position"].untyped_storage().nbytes()
        assert kept.nbytes() <= size < kept.nbytes() + 16 * len(before), "and nothing else"
        assert piece not in {part.untyped_storage().data_ptr() for part in parts(state).values()}
        going = kept.fork()
        model(torch.tensor([[12]]), state=going)
        assert all(torch.equal(part, before[name]) for name, part in parts(kept).items())
