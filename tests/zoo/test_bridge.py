"""The weight bridge: there and back again, and nothing is lost or left over without a word."""

import pytest
import torch
from torch import nn

from nexus.zoo.bridge import Bridge, Same, Stack, Turned

BRIDGE = Bridge(
    Same("embed.weight", "model.embed_tokens.weight"),
    Same("layers.{i}.norm.{p}", "model.layers.{i}.input_layernorm.{p}"),
    Stack("layers.{i}.gate_up.weight", ("model.layers.{i}.gate.weight", "model.layers.{i}.up.weight")),
    Stack("layers.{i}.qkv.weight", tuple(f"model.layers.{{i}}.{n}.weight" for n in "qkv"), sizes=(4, 2, 2)),
    Turned("head.weight", "lm_head.kernel"),
    ignored=("model.layers.{i}.inv_freq",),
)


def _ours() -> dict[str, torch.Tensor]:
    layers = {
        f"layers.{i}.{name}": torch.randn(shape)
        for i in (0, 1, 11)
        for name, shape in {"norm.weight": 4, "norm.bias": 4, "gate_up.weight": (6, 4), "qkv.weight": (8, 4)}.items()
    }
    return {"embed.weight": torch.randn(7, 4), **layers, "head.weight": torch.randn(7, 4)}


def test_there_and_back_again():
    ours = _ours()
    theirs = BRIDGE.to_theirs(ours)
    assert len(theirs) == 2 + 3 * 7
    assert torch.equal(theirs["model.layers.11.up.weight"], ours["layers.11.gate_up.weight"][3:])
    assert torch.equal(theirs["model.layers.0.k.weight"], ours["layers.0.qkv.weight"][4:6])
    assert torch.equal(theirs["lm_head.kernel"], ours["head.weight"].T)
    back = BRIDGE.to_ours({**theirs, "model.layers.0.inv_freq": torch.ones(2)})
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_real_modules_take_each_others_weights():
    ours = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8))
    theirs = nn.ModuleDict({"up": nn.Linear(3, 4), "down": nn.Linear(3, 4), "norm": nn.LayerNorm(8)})
    bridge = Bridge(Stack("0.{p}", ("up.{p}", "down.{p}")), Same("1.{p}", "norm.{p}"))
    theirs.load_state_dict(bridge.to_theirs(ours.state_dict()))
    x = torch.randn(2, 3)
    torch.testing.assert_close(theirs["norm"](torch.cat([theirs["up"](x), theirs["down"](x)], -1)), ours(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"model.extra": torch.ones(1)}, "no line for these of theirs: model.extra"),
        (
            lambda t: {k: v for k, v in t.items() if k != "model.layers.1.up.weight"},
            "missing: model.layers.1.up.weight",
        ),
    ],
)
def test_what_is_left_over_or_missing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BRIDGE.to_ours(change(BRIDGE.to_theirs(_ours())))


def test_a_name_of_ours_without_a_line_is_refused():
    with pytest.raises(ValueError, match=r"no line for these of ours: layers.0.norm.extra.x, odd"):
        BRIDGE.to_theirs({"layers.0.norm.extra.x": torch.ones(1), "odd": torch.ones(1)})


def test_two_that_become_one_are_refused():
    bridge = Bridge(Same("a.{p}", "x.{p}"), Same("b.{p}", "x.{p}"))
    with pytest.raises(ValueError, match="two tensors get this name"):
        bridge.to_theirs({"a.w": torch.ones(1), "b.w": torch.ones(1)})


def test_sizes_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match=r"9 is not 4 \+ 2 \+ 2"):
        BRIDGE.to_theirs({"layers.0.qkv.weight": torch.randn(9, 4)})
    with pytest.raises(ValueError, match=r"5 is not 2 \+ 2"):
        BRIDGE.to_theirs({"layers.0.gate_up.weight": torch.randn(5, 4)})
