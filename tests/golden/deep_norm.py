"""Makes tests/golden/deep_norm.safetensors: what torchscale computes for DeepNorm.

    pip install --no-deps torchscale==0.3.0 && python tests/golden/deep_norm.py

torchscale asks for a fairscale and a timm that do not fit current packages; its encoder needs nothing of them for this,
so empty stand-ins take their place here.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file

SCRIPT = Path(__file__).resolve()
DEPTHS = ((1, 0), (18, 0), (200, 0), (6, 6), (12, 3), (3, 24))  # encoder layers, decoder layers


def main() -> None:
    """Tables of factors, and one joined layer with its gradients."""
    for name, content in {
        "fairscale": {}, "fairscale.nn": {"checkpoint_wrapper": None, "wrap": lambda layer: layer},
        "timm": {}, "timm.models": {}, "timm.models.layers": {"drop_path": None},
    }.items():  # fmt: skip
        module = ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
    tensors = {"depths": torch.tensor(DEPTHS)}
    tensors["factors"] = torch.tensor([factors(*depth) for depth in DEPTHS], dtype=torch.float64)
    tensors |= joined()
    header = {
        "versions": json.dumps({"torch": version("torch"), "torchscale": "0.3.0"}),
        "sha256": digest(tensors),
        "script": hashlib.sha256(SCRIPT.read_text(encoding="utf-8").encode()).hexdigest(),
    }
    save_file(tensors, SCRIPT.with_suffix(".safetensors"), header)


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def factors(encoder_layers: int, decoder_layers: int) -> list[float]:
    """Alpha and the divisor of starting weights, of the encoder and of the decoder (ones if there is none)."""
    config, encoder, decoder = (import_module(f"torchscale.architecture.{n}") for n in ("config", "encoder", "decoder"))
    sizes = {"encoder_embed_dim": 8, "encoder_attention_heads": 2, "encoder_ffn_embed_dim": 8}
    both = bool(decoder_layers)
    found = []
    for make, prefix in ((encoder.Encoder, "encoder"), (decoder.Decoder, "decoder")):
        if prefix == "decoder" and not both:
            found += [1.0, 1.0]
            continue
        weights, alpha = [], 1.0
        for deep in (False, True):
            torch.manual_seed(0)
            settings = config.EncoderConfig if prefix == "encoder" else config.DecoderConfig
            args = settings(
                **{key.replace("encoder", prefix): value for key, value in sizes.items()}, deepnorm=deep, vocab_size=-1
            )
            args.encoder_layers, args.decoder_layers, args.subln = encoder_layers, decoder_layers, False
            args.encoder_normalize_before = args.decoder_normalize_before = False
            model = make(args, is_encoder_decoder=both)
            weights.append(model.layers[0].ffn.fc1.weight.detach().double())
            alpha = float(model.layers[0].alpha) if deep else alpha
        found += [alpha, float((weights[0] / weights[1]).median())]
    return found


def joined() -> dict[str, torch.Tensor]:
    """Residual, layer output and the result of torchscale's own residual connection and norm."""
    config, encoder = (import_module(f"torchscale.architecture.{n}") for n in ("config", "encoder"))
    args = config.EncoderConfig(
        encoder_embed_dim=8, encoder_attention_heads=2, encoder_ffn_embed_dim=8, encoder_layers=18, deepnorm=True,
        vocab_size=-1, dropout=0.0,
    )  # fmt: skip
    args.subln = args.encoder_normalize_before = False
    torch.manual_seed(0)
    layer = encoder.EncoderLayer(args, 0).double()
    x, y = (torch.randn(2, 5, 8).double().requires_grad_() for _ in range(2))
    norm = layer.final_layer_norm
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    out = norm(layer.residual_connection(y, x))
    leaves = {"x": x, "y": y, "weight": norm.weight, "bias": norm.bias}
    weighting = torch.randn(out.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((out * weighting).sum(), list(leaves.values()))
    result = {name: leaf.detach() for name, leaf in leaves.items()}
    result |= {f"gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)}
    return result | {"out": out.detach(), "weighting": weighting, "alpha": torch.tensor(layer.alpha).double()}


if __name__ == "__main__":
    main()
