"""What the tests of the promises share: the mark of one not kept yet, and the names from the documentation index."""

from __future__ import annotations

import pytest

NOT_THERE = (ImportError, AttributeError, AssertionError, FileNotFoundError, KeyError)


def missing(what: str) -> pytest.MarkDecorator:
    """A promise that is not kept yet, because of `what`. An error of any other kind is a fault of the test."""
    return pytest.mark.xfail(strict=True, reason=f"missing: {what}", raises=NOT_THERE)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(";"))


# folder of the pages -> names
SECTIONS: dict[str, tuple[str, ...]] = {
    "01_reinforcement_learning": _names(
        "DQN; Double DQN; Dueling DQN; Rainbow; C51; QR-DQN; IQN; A2C; PPO; TRPO; SAC; TD3; DDPG; CQL; IQL; "
        "Decision Transformer; RLHF; DPO; KTO; RRHF; RAFT; QMIX; MADDPG; CommNet; World Models; MuZero; Dreamer; ICM; "
        "RND; NGU; Trajectory Transformer; Preference Learning; Reward Shaping; MCTS; MPC"
    ),
    "02_attention_mechanisms": _names("Multi-Head Attention; Flash Attention; Linear Attention; Sparse Attention"),
    "03_state_space_models": _names("Mamba; Mamba-2; S4; S4D; S5"),
    "04_hybrid_architectures": _names("Jamba; Bamba; Griffin"),
    "05_positional_encodings": _names("Absolute; Relative; RoPE; ALiBi"),
    "06_architecture_components": _names("MoE; LayerNorm; RMSNorm; GroupNorm; GELU; SwiGLU"),
    "07_inference_optimizations": _names("KV Cache; Speculative Decoding; Quantization"),
    "08_computer_vision": _names(
        "ViT; DeiT; Swin Transformer; DETR; Deformable DETR; SAM; Mask2Former; NeRF; 3D Gaussian Splatting"
    ),
    "09_generative_models": _names(
        "DDPM; DDIM; Stable Diffusion; Consistency Models; AudioLDM; Video Diffusion; Sora-Style DiT"
    ),
    "10_nlp_llm": _names(
        "Chain-of-Thought; Tree-of-Thought; Self-Consistency; RAG; LoRA; QLoRA; Adapters; GPTQ; AWQ; GGUF; "
        "Structured Pruning; Unstructured Pruning; Distillation; Constrained Decoding; Grammar-Based Decoding; "
        "Contrastive Embeddings; Instruction Embeddings; BPE; SentencePiece; Unigram"
    ),
    "11_training_infrastructure": _names(
        "Distributed; Mixed Precision; Gradient Accumulation; Optimizers; Schedules; Checkpointing"
    ),
    "12_self_supervised_learning": _names("Contrastive Learning; Masked Modeling; Self-Distillation"),
    "13_multimodal_models": _names(
        "LLaVA-RLHF; Qwen2-VL; PaLM-E; HiViLT; LLaVA-NeXT; Molmo; Phi-3-Vision; BiomedCLIP; NVLM"
    ),
    "14_graph_neural_networks": _names("GPS; Base GNN; Message Passing; GraphSAGE; GATv2; Exphormer"),
}

# what the index calls by another name than the catalogue: the rows that stand for it
ROWS_OF: dict[str, tuple[str, ...]] = {
    "Sparse Attention": ("SparseAttention",),
    "Mamba-2": ("Mamba2",),
    "Absolute": ("SinusoidalEncoding", "LearnedEncoding"),
    "Relative": ("ShawEncoding", "TransformerXLEncoding", "T5Bias", "DebertaEncoding"),
    "KV Cache": ("KVCache",),
    "Quantization": ("WeightQuantization", "ActivationQuantization"),
    "Swin Transformer": ("SwinTransformer",),
    "Sora-Style DiT": ("SpaceTimeDiT",),
    "Chain-of-Thought": ("ChainOfThought",),
    "Tree-of-Thought": ("TreeOfThought",),
    "Unstructured Pruning": ("UnstructuredPruning",),
    "Distillation": ("KnowledgeDistillation",),
    "Constrained Decoding": ("ConstrainedDecoding",),
    "Distributed": ("DataParallel", "FullyShardedDataParallel", "ModelParallel"),
    "Checkpointing": ("Checkpoints", "ActivationCheckpointing"),
    "Contrastive Learning": ("SimCLR", "BYOL", "BarlowTwins"),
    "Masked Modeling": ("MAE", "BEiT", "Data2Vec", "IJEPA"),
    "Self-Distillation": ("DINO",),
    "Message Passing": ("AdaptiveMessagePassing",),
}

# Kept so far: sections with pages, and names that are proved. What is not in here is expected to fail.
SECTIONS_WITH_PAGES = {
    "02_attention_mechanisms", "03_state_space_models", "04_hybrid_architectures", "05_positional_encodings",
    "06_architecture_components", "10_nlp_llm", "11_training_infrastructure", "14_graph_neural_networks",
}  # fmt: skip
PROVED_NAMES = set(
    _names(
        "Multi-Head Attention; Flash Attention; Linear Attention; Sparse Attention; Mamba; Mamba-2; S4; S4D; S5; "
        "Jamba; Bamba; Griffin; Absolute; Relative; RoPE; ALiBi; MoE; LayerNorm; RMSNorm; GroupNorm; GELU; SwiGLU; "
        "Mixed Precision; Gradient Accumulation; Optimizers; Schedules; Checkpointing; GPS; Base GNN; Message Passing; "
        "GraphSAGE; GATv2; Exphormer; BPE; Distributed"
    )
)

_MULTIMODAL = _names("llava_rlhf; qwen2_vl; palm_e; hivilt; llava_next; molmo; phi3_vision; biomedclip; nvlm")
_GNN = _names("gps; base_gnn; message_passing; graph_sage; gatv2; exphormer")
MODEL_FILES = [
    *(f"nexus/models/multimodal/{stem}.py" for stem in _MULTIMODAL),
    *(f"nexus/models/gnn/{stem}.py" for stem in _GNN),
]

PAGE_HEADINGS = (
    "Overview & Motivation",
    "Theoretical Background",
    "Mathematical Formulation",
    "High-Level Architecture",
    "Implementation Details",
    "Code Walkthrough",
    "Optimization Tricks",
    "Experiments & Results",
    "Common Pitfalls",
    "References",
)
