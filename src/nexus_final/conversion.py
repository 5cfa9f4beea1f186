"""A student that starts from its teacher: attention layers become state-space layers with a short window.

The one idea: linear attention is a state-space layer without decay, so queries, keys and values are a fair start for
C, B and x (Mamba in the Llama, arXiv:2408.15237, section 3; MOHAWK, arXiv:2408.10189). Everything else is kept.
The state-space layer is in the exportable layout from the start (one group a query head, norm per group, biases), so
that no last step has to undo anything.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from nexus.core.hybrid_config import HybridConfig
from nexus.core.state_space import Block, HybridLM
from nexus.layers.attention import GroupedQueryAttention
from nexus.layers.ssm import Mamba2, WindowedMamba2

OPEN_GATE = 1.2785  # silu(1.2785) = 1: the gate starts out of the way
UNIT_STEP = math.log(math.e - 1)  # softplus of it is 1
MEMORY = (1.0, 64.0)  # tokens that the fastest and the slowest head start out remembering (measured best of three)


def student_config(teacher: HybridConfig, choices: tuple[int, ...]) -> HybridConfig:
    """The student's sizes: the teacher's, with all its layers turned into 'W' layers.

    Raises:
        ValueError: the teacher is not a plain attention model.
    """
    if set(teacher.layers) != {"A"}:
        raise ValueError(f"plan={teacher.layers!r}: a student starts from a teacher of attention layers only ('A')")
    return teacher.replace(
        plan="W",
        ssm_heads=teacher.n_heads,
        ssm_head_dim=teacher.head_dim,
        ssm_groups=teacher.n_heads,
        d_state=teacher.head_dim,
        ssm_bias=True,
        window=max(choices),
        window_choices=choices,
    )


def start_student(teacher: HybridLM, choices: tuple[int, ...], seed: int) -> HybridLM:
    """Build the student with the teacher's weights; its state-space paths start from the attention beside them.

    All layers are converted; :func:`keep_attention` then says which stay what they were.
    """
    student = HybridLM(student_config(teacher.config, choices)).to(teacher.device, teacher.dtype)
    for ours, theirs in zip(student.backbone.blocks, teacher.backbone.blocks, strict=True):
        assert isinstance(ours, Block)
        assert isinstance(theirs, Block)
        for name in ("mixer_norm", "mlp_norm", "mlp"):
            getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())
        assert isinstance(theirs.mixer, GroupedQueryAttention)
        assert isinstance(ours.mixer, WindowedMamba2)
        ours.mixer.attention.load_state_dict(theirs.mixer.state_dict())
        start_from_attention(ours.mixer.mamba, theirs.mixer, seed)
    student.backbone.norm.load_state_dict(teacher.backbone.norm.state_dict())
    student.embed.load_state_dict(teacher.embed.state_dict())
    if not student.config.tie_embeddings:
        student.lm_head.load_state_dict(teacher.lm_head.state_dict())
    return student


def keep_attention(student: HybridLM, layers: Collection[int]) -> HybridLM:
    """A copy of ``student`` in which these of its 'W' layers are attention that sees everything, as in the teacher."""
    plan = "".join("A" if i in layers else kind for i, kind in enumerate(student.config.layers))
    kept = HybridLM(student.config.replace(plan=plan)).to(student.device, student.dtype)
    weights = dict(student.state_dict())
    for layer in layers:
        prefix = f"backbone.blocks.{layer}.mixer."
        for name in [name for name in weights if name.startswith(prefix)]:
            value = weights.pop(name)
            if name.startswith(prefix + "attention."):
                weights[prefix + name.removeprefix(prefix + "attention.")] = value
    kept.load_state_dict(weights)
    return kept


@torch.no_grad()
def start_from_attention(mamba: Mamba2, attention: GroupedQueryAttention, seed: int) -> None:
    """Copy queries, keys, values and output to C, B, x and the output projection.

    The convolution starts as the identity, the gate open, the step at 1, and the heads' memories spread evenly in the
    logarithm, so the layer starts as a decaying linear attention over SiLU features.
    """
    heads, shared, width = attention.n_heads, attention.n_kv_heads, attention.head_dim
    q, k, v = attention.qkv_proj.weight.split([heads * width, shared * width, shared * width])
    k, v = (_for_each_query_head(t, shared, heads) for t in (k, v))
    generator = torch.Generator().manual_seed(seed)
    gate = torch.randn(mamba.d_inner, q.shape[1], generator=generator).to(q) * (0.02 / q.shape[1] ** 0.5)
    mamba.in_proj.weight.copy_(torch.cat((gate, v, k, q, q.new_zeros(heads, q.shape[1]))))
    if mamba.in_proj.bias is not None:
        mamba.in_proj.bias.zero_()
        mamba.in_proj.bias[: mamba.d_inner] = OPEN_GATE
        if attention.qkv_proj.bias is not None:
            _copy_biases(mamba.in_proj.bias, attention.qkv_proj.bias, mamba.d_inner, heads, shared, width)
        mamba.out_proj.bias.zero_()
    nn.init.zeros_(mamba.conv_weight)
    mamba.conv_weight[:, -1] = 1.0
    nn.init.zeros_(mamba.conv_bias)
    mamba.A_log.copy_(-torch.linspace(math.log(MEMORY[0]), math.log(MEMORY[1]), heads))
    nn.init.constant_(mamba.dt_bias, UNIT_STEP)
    nn.init.zeros_(mamba.D)
    nn.init.ones_(mamba.norm.weight)
    mamba.out_proj.weight.copy_(attention.o_proj.weight)


def _for_each_query_head(t: Tensor, shared: int, heads: int) -> Tensor:
    """Repeat each key/value head for the query heads that share it: (shared * D, ...) to (heads * D, ...)."""
    return t.unflatten(0, (shared, -1)).repeat_interleave(heads // shared, dim=0).flatten(0, 1)


def _copy_biases(into: Tensor, qkv: Tensor, start: int, heads: int, shared: int, width: int) -> None:
    q, k, v = qkv.split([heads * width, shared * width, shared * width])
    k, v = (_for_each_query_head(t, shared, heads) for t in (k, v))
    into[start : start + 3 * heads * width] = torch.cat((v, k, q))
