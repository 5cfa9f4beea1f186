"""The contents of the zoo: one row for each reference system, in the sections of the documentation.

The one idea: everything about a system follows from its row by one stem: its file, its class, its page, its test. The
table is literal and needs no torch, so it reads as the contents page that it is; whether a system is proved is not
written here but found on disk (:attr:`Row.status`).

    for row in rows(section=14): print(row.name, row.status)
    find("GraphSAGE").module                     # nexus.models.gnn.graph_sage
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Status = Literal["proved", "planned"]
PACKAGE = Path(__file__).resolve().parent
CERTIFICATES = PACKAGE / "certificates"  # what `nexus zoo verify` found, one JSON file a system

PROOFS: Mapping[str, str] = MappingProxyType(
    {
        "W": "same weights, same outputs and gradients",
        "S": "same update steps from the same weights, batch and draws",
        "L": "learns what the reference learns in the same run",
        "R": "round trip of a format, both ways",
        "T": "statistical test",
        "A": "analytic or exhaustive truth",
    }
)


@dataclass(frozen=True)
class Section:
    """One of the sections: its folder below ``docs/`` and the package its systems live in."""

    number: int
    title: str
    folder: str
    package: str


@dataclass(frozen=True)
class Row:
    """One reference system.

    Attributes:
        name: of its class (or function), in the paper's spelling; unique.
        stem: of its file, page and test.
        title: what it is called in text.
        paper: arXiv id, or where it was published.
        oracle: the independent implementation that it is held against.
        proof: how, in the letters of `PROOFS`.
        section: where it stands.
    """

    name: str
    stem: str
    title: str
    paper: str
    oracle: str
    proof: str
    section: Section

    @property
    def module(self) -> str:
        """Import path of the code."""
        return f"{self.section.package}.{self.stem}"

    @property
    def file(self) -> Path:
        """Where the code is, or will be."""
        return PACKAGE.joinpath(*self.module.split(".")[1:]).with_suffix(".py")

    @property
    def proof_file(self) -> Path:
        """Where the proof is, or will be."""
        return PACKAGE / "zoo" / "proofs" / f"{self.stem}.py"

    @property
    def page(self) -> str:
        """Path of the page in the repository."""
        return f"docs/{self.section.folder}/{self.stem}.md"

    @property
    def certificate(self) -> Path:
        """Where the proof's record is, once there is one."""
        return CERTIFICATES / f"{self.stem}.json"

    def sources(self) -> dict[str, str]:
        """What a certificate vouches for: path in the repository and SHA-256 of the code's and the proof's text.

        Raises:
            FileNotFoundError: one of them does not exist yet.
        """
        return {file.relative_to(PACKAGE.parent).as_posix(): _sha256(file) for file in (self.file, self.proof_file)}

    @property
    def status(self) -> Status:
        """Proved where there is a certificate that was made for the present text of code and proof."""
        try:
            made_for = json.loads(self.certificate.read_text(encoding="utf-8"))["sources"]
            return "proved" if made_for == self.sources() else "planned"
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return "planned"


def _sha256(file: Path) -> str:
    text = file.read_text(encoding="utf-8")  # as text: how a checkout ends its lines does not matter
    return hashlib.sha256(text.encode()).hexdigest()


SECTIONS = (
    Section(1, "Reinforcement learning", "01_reinforcement_learning", "nexus.models.rl"),
    Section(2, "Attention mechanisms", "02_attention_mechanisms", "nexus.layers.attention"),
    Section(3, "State space models", "03_state_space_models", "nexus.layers.ssm"),
    Section(4, "Hybrid architectures", "04_hybrid_architectures", "nexus.models.hybrid"),
    Section(5, "Positional encodings", "05_positional_encodings", "nexus.layers.positional"),
    Section(6, "Architecture components", "06_architecture_components", "nexus.layers.components"),
    Section(7, "Inference optimizations", "07_inference_optimizations", "nexus.inference"),
    Section(8, "Computer vision", "08_computer_vision", "nexus.models.vision"),
    Section(9, "Generative models", "09_generative_models", "nexus.models.generative"),
    Section(10, "NLP and LLM", "10_nlp_llm", "nexus.models.nlp"),
    Section(11, "Training infrastructure", "11_training_infrastructure", "nexus.training"),
    Section(12, "Self-supervised learning", "12_self_supervised_learning", "nexus.models.ssl"),
    Section(13, "Multimodal models", "13_multimodal_models", "nexus.models.multimodal"),
    Section(14, "Graph neural networks", "14_graph_neural_networks", "nexus.models.gnn"),
)

# fmt: off
_TABLE = {
    1: (
        ("DQN", "dqn", "DQN", "1312.5602", "stable-baselines3 DQN, torchrl DQNLoss", "SL"),
        ("DoubleDQN", "double_dqn", "Double DQN", "1509.06461", "torchrl DQNLoss(double_dqn=True)", "ST"),
        ("DuelingDQN", "dueling_dqn", "Dueling DQN", "1511.06581", "tianshou dueling head", "WSL"),
        ("Rainbow", "rainbow", "Rainbow", "1710.02298", "tianshou RainbowDQN, torchrl parts", "SL"),
        ("C51", "c51", "C51", "1707.06887", "torchrl DistributionalDQNLoss, tianshou C51", "SA"),
        ("QRDQN", "qr_dqn", "QR-DQN", "1710.10044", "sb3-contrib QRDQN", "SAL"),
        ("IQN", "iqn", "IQN", "1806.06923", "tianshou IQN", "SAL"),
        ("A2C", "a2c", "A2C", "1602.01783", "stable-baselines3 A2C, torchrl A2CLoss", "SL"),
        ("PPO", "ppo", "PPO", "1707.06347", "stable-baselines3 PPO, torchrl ClipPPOLoss", "SL"),
        ("TRPO", "trpo", "TRPO", "1502.05477", "sb3-contrib TRPO", "SA"),
        ("SAC", "sac", "SAC", "1812.05905", "stable-baselines3 SAC, torchrl SACLoss", "SL"),
        ("TD3", "td3", "TD3", "1802.09477", "stable-baselines3 TD3, torchrl TD3Loss", "SL"),
        ("DDPG", "ddpg", "DDPG", "1509.02971", "stable-baselines3 DDPG, torchrl DDPGLoss", "SL"),
        ("CQL", "cql", "Conservative Q-Learning", "2006.04779", "d3rlpy CQL, torchrl CQLLoss", "SLA"),
        ("IQL", "iql", "Implicit Q-Learning", "2110.06169", "d3rlpy IQL, torchrl IQLLoss", "SLA"),
        ("DecisionTransformer", "decision_transformer", "Decision Transformer", "2106.01345", "transformers DecisionTransformerModel", "WL"),
        ("RLHF", "rlhf", "RLHF (reward model and PPO)", "2203.02155", "trl 0.24 PPOTrainer", "SL"),
        ("DPO", "dpo", "DPO", "2305.18290", "trl DPOTrainer", "SA"),
        ("KTO", "kto", "KTO", "2402.01306", "trl KTOTrainer", "SL"),
        ("RRHF", "rrhf", "RRHF", "2304.05302", "GanjinZero/RRHF", "S"),
        ("RAFT", "raft", "RAFT", "2304.06767", "brute-force selection, order statistics", "AL"),
        ("QMIX", "qmix", "QMIX", "1803.11485", "torchrl QMixer, QMixerLoss", "WSA"),
        ("MADDPG", "maddpg", "MADDPG", "1706.02275", "shariqiqbal2810/maddpg-pytorch", "SL"),
        ("CommNet", "comm_net", "CommNet", "1605.07736", "IC3Net in CommNet mode", "WL"),
        ("WorldModels", "world_models", "World Models", "1803.10122", "ctallec/world-models, torch MixtureSameFamily", "WA"),
        ("MuZero", "mu_zero", "MuZero", "1911.08265", "mctx muzero_policy", "SL"),
        ("Dreamer", "dreamer", "Dreamer (v1, v3)", "2301.04104", "torchrl DreamerV3 losses and RSSM", "WSL"),
        ("ICM", "icm", "Intrinsic Curiosity Module", "1705.05363", "rllte ICM", "SL"),
        ("RND", "rnd", "Random Network Distillation", "1810.12894", "torchrl RNDLoss, rllte RND", "SA"),
        ("NGU", "ngu", "Never Give Up", "2002.06038", "rllte NGU, brute-force kernel", "SL"),
        ("TrajectoryTransformer", "trajectory_transformer", "Trajectory Transformer", "2106.02039", "transformers 4.57 TrajectoryTransformer", "WA"),
        ("PreferenceLearning", "preference_learning", "Preference learning", "1706.03741", "trl RewardTrainer, scikit-learn LogisticRegression", "SA"),
        ("RewardShaping", "reward_shaping", "Reward shaping", "Ng, Harada and Russell 1999", "exact value iteration", "A"),
        ("MCTS", "mcts", "Monte Carlo tree search", "1712.01815", "mctx, open_spiel", "SA"),
        ("MPC", "mpc", "Model predictive control", "1707.02342", "torchrl planners, pytorch-mppi, scipy Riccati", "SAL"),
    ),
    2: (
        ("MultiHeadAttention", "multi_head", "Multi-head attention", "1706.03762", "torch.nn.MultiheadAttention", "WA"),
        ("GroupedQueryAttention", "grouped_query", "Multi-query and grouped-query attention", "2305.13245", "transformers Llama, Falcon", "W"),
        ("MultiHeadLatentAttention", "multi_head_latent", "Multi-head latent attention", "2405.04434", "transformers DeepseekV3", "W"),
        ("FlashAttention", "flash", "Flash Attention", "2205.14135", "torch scaled_dot_product_attention", "A"),
        ("LinearAttention", "linear", "Linear attention", "2006.16236", "linear-attention-transformer, explicit quotient", "WA"),
        ("PerformerAttention", "performer", "Performer (FAVOR+)", "2009.14794", "torch_geometric PerformerAttention", "T"),
        ("SparseAttention", "sparse", "Sparse patterns (sliding, strided, global, block)", "1904.10509", "transformers Longformer, local-attention; dense with a mask", "WA"),
        ("LSHAttention", "lsh", "LSH attention", "2001.04451", "transformers Reformer", "W"),
        ("DifferentialAttention", "differential", "Differential attention", "2410.05258", "transformers DiffLlama", "W"),
        ("RingAttention", "ring", "Ring attention", "2310.01889", "one process over the whole sequence", "A"),
    ),
    3: (
        ("S4", "s4", "HiPPO and S4 (DPLR)", "2111.00396", "state-spaces/s4, dense matrix powers", "WA"),
        ("S4D", "s4d", "S4D", "2206.11893", "state-spaces/s4 s4d.py", "W"),
        ("S5", "s5", "S5", "2208.04933", "s5-pytorch", "WA"),
        ("Mamba", "mamba", "Mamba (S6)", "2312.00752", "transformers MambaForCausalLM, mambapy", "W"),
        ("Mamba2", "mamba2", "Mamba-2 (SSD)", "2405.21060", "transformers Mamba2ForCausalLM", "WA"),
        ("H3", "h3", "H3", "2212.14052", "HazyResearch/H3", "W"),
        ("Hyena", "hyena", "Hyena", "2302.10866", "HazyResearch/safari", "W"),
        ("RGLRU", "rg_lru", "LRU and Griffin's RG-LRU", "2402.19427", "transformers RecurrentGemma", "W"),
        ("RWKV", "rwkv", "RWKV-4", "2305.13048", "transformers Rwkv", "W"),
        ("RetNet", "ret_net", "RetNet", "2307.08621", "torchscale RetNet", "W"),
        ("XLSTM", "xlstm", "xLSTM (mLSTM, sLSTM)", "2405.04517", "transformers xLSTM", "W"),
        ("GatedDeltaNet", "gated_delta_net", "DeltaNet and gated DeltaNet", "2412.06464", "transformers Qwen3Next", "W"),
        ("MinGRU", "min_gru", "minGRU and minLSTM", "2410.01201", "step-by-step recurrence, torch.nn.GRU limits", "A"),
        ("TitansMemory", "titans", "Titans memory", "2501.00663", "titans-pytorch, explicit gradient step", "S"),
    ),
    4: (
        ("Jamba", "jamba", "Jamba", "2403.19887", "transformers JambaForCausalLM", "W"),
        ("Zamba2", "zamba2", "Zamba2", "2411.15242", "transformers Zamba2ForCausalLM", "W"),
        ("Bamba", "bamba", "Bamba and Granite hybrid", "IBM reports", "transformers BambaForCausalLM, GraniteMoeHybridForCausalLM", "W"),
        ("Griffin", "griffin", "Griffin", "2402.19427", "transformers RecurrentGemmaForCausalLM", "W"),
        ("FalconH1", "falcon_h1", "Falcon-H1", "2507.22448", "transformers FalconH1ForCausalLM", "W"),
        ("NemotronH", "nemotron_h", "Nemotron-H", "2504.03624", "transformers NemotronHForCausalLM", "W"),
        ("Qwen3Next", "qwen3_next", "Qwen3-Next", "report", "transformers Qwen3NextForCausalLM", "W"),
        ("Samba", "samba", "Samba", "2406.07522", "its parts, each proved", "W"),
        ("Hymba", "hymba", "Hymba", "2411.13676", "its parts, each proved", "W"),
    ),
    5: (
        ("SinusoidalEncoding", "sinusoidal", "Sinusoidal", "1706.03762", "diffusers get_timestep_embedding", "A"),
        ("LearnedEncoding", "learned", "Learned absolute", "1810.04805", "transformers BERT, OPT", "W"),
        ("ShawEncoding", "shaw", "Relative (Shaw)", "1803.02155", "transformers Wav2Vec2-BERT; explicit sum over pairs", "WA"),
        ("TransformerXLEncoding", "transformer_xl", "Relative (Transformer-XL)", "1901.02860", "transformers XLNet", "W"),
        ("T5Bias", "t5_bias", "Relative buckets (T5)", "1910.10683", "transformers T5, x-transformers", "W"),
        ("DebertaEncoding", "deberta", "Disentangled (DeBERTa)", "2006.03654", "transformers DebertaV2", "W"),
        ("RotaryEmbedding", "rope", "RoPE and its scalings", "2104.09864", "transformers ROPE_INIT_FUNCTIONS, rotary-embedding-torch", "AW"),
        ("XPos", "xpos", "xPos", "2212.10554", "rotary-embedding-torch", "AW"),
        ("MRoPE", "mrope", "Multimodal RoPE", "2409.12191", "transformers Qwen2-VL", "W"),
        ("AxialRoPE", "axial_rope", "Axial RoPE", "2403.13298", "transformers DINOv3, rotary-embedding-torch", "AW"),
        ("ALiBi", "alibi", "ALiBi", "2108.12409", "transformers Bloom, MPT; x-transformers", "W"),
        ("NoPE", "nope", "No position at all", "2305.19466", "attention without positions", "A"),
        ("FIRE", "fire", "FIRE", "2310.04418", "explicit function of the distance", "A"),
        ("CoPE", "cope", "CoPE", "2405.18719", "x-transformers CoPE", "W"),
    ),
    6: (
        ("MoE", "moe", "Mixture of experts, top-k", "1701.06538", "transformers Mixtral, Olmoe", "W"),
        ("SwitchMoE", "switch_moe", "Switch and GShard", "2101.03961", "transformers SwitchTransformers; a loop over seats", "W"),
        ("ExpertChoiceMoE", "expert_choice", "Expert choice", "2202.09368", "dense brute force", "A"),
        ("SoftMoE", "soft_moe", "Soft MoE", "2308.00951", "dense brute force", "A"),
        ("DeepSeekMoE", "deepseek_moe", "DeepSeekMoE", "2401.06066", "transformers DeepseekV3", "W"),
        ("LayerNorm", "layer_norm", "LayerNorm", "1607.06450", "torch.nn.LayerNorm", "W"),
        ("RMSNorm", "rms_norm", "RMSNorm", "1910.07467", "torch.nn.RMSNorm, transformers Gemma", "W"),
        ("GroupNorm", "group_norm", "GroupNorm", "1803.08494", "torch.nn.GroupNorm", "W"),
        ("BatchNorm", "batch_norm", "BatchNorm", "1502.03167", "torch.nn.BatchNorm1d, BatchNorm2d", "W"),
        ("WeightNorm", "weight_norm", "Weight normalisation", "1602.07868", "torch.nn.utils.parametrizations.weight_norm", "W"),
        ("SpectralNorm", "spectral_norm", "Spectral normalisation", "1802.05957", "torch.nn.utils.parametrizations.spectral_norm; a decomposition", "WA"),
        ("QKNorm", "qk_norm", "QK-norm", "2010.04245", "transformers Qwen3", "W"),
        ("DeepNorm", "deep_norm", "DeepNorm", "2203.00555", "torchscale (frozen)", "W"),
        ("DynamicTanh", "dynamic_tanh", "Dynamic Tanh", "2503.10622", "x-transformers, formula", "WA"),
        ("AdaLNZero", "ada_ln_zero", "AdaLN-Zero", "2212.09748", "diffusers DiT", "W"),
        ("GELU", "gelu", "GELU, SiLU, Mish, SELU, squared ReLU", "1606.08415", "torch.nn, transformers ACT2FN, mpmath", "A"),
        ("SwiGLU", "swiglu", "SwiGLU, GEGLU, ReGLU", "2002.05202", "transformers LlamaMLP, T5; x-transformers", "W"),
    ),
    7: (
        ("KVCache", "kv_cache", "KV cache: dynamic, static, sliding, sinks", "2309.17453", "transformers caches", "A"),
        ("PagedCache", "paged_cache", "Paged cache with prefix sharing", "2309.06180", "contiguous cache, random traces", "A"),
        ("CacheCompression", "cache_compression", "Eviction (H2O), quantised cache (KIVI)", "2306.14048", "brute force, error bounds", "WA"),
        ("SpeculativeDecoding", "speculative", "Speculative decoding", "2211.17192", "transformers assisted generation, enumeration", "TA"),
        ("TreeDecoding", "tree_decoding", "Medusa and EAGLE trees", "2401.10774", "plain greedy decoding", "A"),
        ("WeightQuantization", "quantization", "Int8 and int4 weights, dynamic int8", "2210.17323", "torchao, torch.quantize_per_channel", "A"),
        ("ActivationQuantization", "activation_quantization", "LLM.int8, SmoothQuant", "2208.07339", "bitsandbytes on CPU", "AS"),
    ),
    8: (
        ("ViT", "vit", "Vision Transformer", "2010.11929", "transformers ViTModel, timm", "W"),
        ("DeiT", "deit", "DeiT", "2012.12877", "transformers DeiT", "WS"),
        ("SwinTransformer", "swin", "Swin Transformer (v1, v2)", "2103.14030", "transformers SwinModel, Swinv2Model", "W"),
        ("DETR", "detr", "DETR", "2005.12872", "transformers DetrForObjectDetection", "WS"),
        ("DeformableDETR", "deformable_detr", "Deformable DETR", "2010.04159", "transformers DeformableDetr", "W"),
        ("SAM", "sam", "Segment Anything", "2304.02643", "transformers SamModel", "W"),
        ("Mask2Former", "mask2former", "Mask2Former", "2112.01527", "transformers Mask2Former", "WS"),
        ("NeRF", "nerf", "Neural Radiance Fields", "2003.08934", "yenchenlin/nerf-pytorch, analytic transmittance", "WAL"),
        ("GaussianSplatting", "gaussian_splatting", "3D Gaussian Splatting", "2308.04079", "gsplat, per-pixel double-precision loop", "WAL"),
    ),
    9: (
        ("DDPM", "ddpm", "DDPM", "2006.11239", "diffusers DDPMScheduler, UNet2DModel", "WST"),
        ("DDIM", "ddim", "DDIM", "2010.02502", "diffusers DDIMScheduler", "SA"),
        ("StableDiffusion", "stable_diffusion", "Stable Diffusion", "2112.10752", "diffusers StableDiffusionPipeline", "W"),
        ("ConsistencyModel", "consistency", "Consistency models", "2303.01469", "diffusers CMStochasticIterativeScheduler", "SL"),
        ("AudioLDM", "audio_ldm", "AudioLDM", "2301.12503", "diffusers AudioLDM parts, librosa", "W"),
        ("VideoDiffusion", "video_diffusion", "Video diffusion", "2204.03458", "diffusers UNet3DConditionModel", "WL"),
        ("SpaceTimeDiT", "space_time_dit", "Sora-style space-time DiT", "2212.09748", "diffusers Latte, CogVideoX", "WA"),
    ),
    10: (
        ("ChainOfThought", "chain_of_thought", "Chain of thought", "2201.11903", "the same model answering directly", "LT"),
        ("TreeOfThought", "tree_of_thought", "Tree of thought", "2305.10601", "princeton-nlp trace, exact solver", "SA"),
        ("SelfConsistency", "self_consistency", "Self-consistency", "2203.11171", "closed form", "T"),
        ("RAG", "rag", "Retrieval-augmented generation", "2005.11401", "transformers RagTokenForGeneration, rank-bm25", "WA"),
        ("LoRA", "lora", "LoRA, DoRA, rsLoRA", "2106.09685", "peft", "WR"),
        ("QLoRA", "qlora", "QLoRA", "2305.14314", "bitsandbytes NF4", "AR"),
        ("Adapters", "adapters", "Adapters, prefix and prompt tuning, IA3", "1902.00751", "peft, adapters", "W"),
        ("GPTQ", "gptq", "GPTQ", "2210.17323", "IST-DASLab/gptq", "S"),
        ("AWQ", "awq", "AWQ", "2306.00978", "mit-han-lab/llm-awq", "S"),
        ("GGUF", "gguf", "GGUF", "ggml specification", "gguf", "R"),
        ("UnstructuredPruning", "pruning", "Pruning: magnitude, Wanda, SparseGPT, 2:4", "2306.11695", "torch prune, author repositories", "S"),
        ("StructuredPruning", "structured_pruning", "Structured pruning", "2301.12900", "torch-pruning", "A"),
        ("KnowledgeDistillation", "distillation", "Knowledge distillation", "1503.02531", "trl GKD, sentence-transformers", "SL"),
        ("ConstrainedDecoding", "constrained_decoding", "Constrained decoding (regex, JSON schema)", "2307.09702", "outlines-core, llguidance", "A"),
        ("GrammarDecoding", "grammar_decoding", "Grammar-based decoding", "2411.15100", "xgrammar, llguidance", "A"),
        ("ContrastiveEmbedding", "contrastive_embedding", "Contrastive embeddings", "1908.10084", "sentence-transformers losses", "S"),
        ("InstructionEmbedding", "instruction_embedding", "Instruction embeddings", "2212.09741", "sentence-transformers prompts", "W"),
        ("BPE", "bpe", "Byte-pair encoding", "1508.07909", "tokenizers, tiktoken", "R"),
        ("SentencePiece", "sentencepiece", "SentencePiece", "1808.06226", "sentencepiece", "R"),
        ("Unigram", "unigram", "Unigram", "1804.10959", "sentencepiece, tokenizers", "AT"),
    ),
    11: (
        ("DataParallel", "data_parallel", "Data parallel", "2006.15704", "DistributedDataParallel over gloo", "S"),
        ("FullyShardedDataParallel", "fsdp", "ZeRO and FSDP", "2304.11277", "torch fully_shard", "S"),
        ("ModelParallel", "model_parallel", "Tensor, pipeline and expert parallel", "1909.08053", "torch DTensor, pipelining", "S"),
        ("MixedPrecision", "precision", "Mixed precision", "1710.03740", "torch.amp", "ST"),
        ("GradientAccumulation", "accumulation", "Gradient accumulation", "2006.15704", "one large batch", "A"),
        ("Optimizers", "optimizers", "Optimisers", "1711.05101", "torch.optim, schedulefree, pytorch-optimizer", "S"),
        ("Schedules", "schedules", "Learning-rate schedules", "1608.03983", "transformers get_*_schedule", "A"),
        ("save_checkpoint", "checkpoint", "Checkpoints", "torch.distributed.checkpoint", "an uninterrupted run", "R"),
        ("ActivationCheckpointing", "activation_checkpointing", "Activation checkpointing", "1604.06174", "torch.utils.checkpoint", "A"),
    ),
    12: (
        ("SimCLR", "simclr", "SimCLR, MoCo, CLIP loss", "2002.05709", "lightly NTXentLoss, transformers CLIP", "SL"),
        ("BYOL", "byol", "BYOL and SimSiam", "2006.07733", "lightly", "S"),
        ("BarlowTwins", "barlow_twins", "Barlow Twins, VICReg, SwAV", "2103.03230", "lightly", "SA"),
        ("MAE", "mae", "Masked autoencoder", "2111.06377", "transformers ViTMAEForPreTraining", "W"),
        ("BEiT", "beit", "BEiT, SimMIM, BERT, VideoMAE", "2106.08254", "transformers Beit, Bert, VideoMAE", "WT"),
        ("Data2Vec", "data2vec", "data2vec", "2202.03555", "transformers Data2Vec", "WS"),
        ("IJEPA", "ijepa", "I-JEPA, V-JEPA 2", "2301.08243", "transformers IJepaModel, VJEPA2Model", "W"),
        ("DINO", "dino", "DINO, iBOT, DINOv2", "2104.14294", "lightly DINOLoss, transformers Dinov2", "WS"),
    ),
    13: (
        ("LLaVARLHF", "llava_rlhf", "LLaVA-RLHF", "2309.14525", "transformers Llava, the authors' trainer", "WS"),
        ("Qwen2VL", "qwen2_vl", "Qwen2-VL", "2409.12191", "transformers Qwen2VL", "W"),
        ("PaLME", "palm_e", "PaLM-E", "2303.03378", "its parts, each proved", "W"),
        ("HiViLT", "hivilt", "HiViLT", "no paper; nearest doi 10.1007/978-3-031-44223-0_34", "its parts, each proved", "WAL"),
        ("LLaVANeXT", "llava_next", "LLaVA-NeXT", "2310.03744", "transformers LlavaNext", "W"),
        ("Molmo", "molmo", "Molmo", "2409.17146", "allenai/molmo", "W"),
        ("Phi3Vision", "phi3_vision", "Phi-3-Vision", "2404.14219", "transformers Phi3 and CLIPVisionModel", "W"),
        ("BiomedCLIP", "biomedclip", "BiomedCLIP", "2303.00915", "transformers VisionTextDualEncoder", "WS"),
        ("NVLM", "nvlm", "NVLM (D, X, H)", "2409.11402", "transformers InternVL, Mllama", "W"),
    ),
    14: (
        ("GPS", "gps", "GPS", "2205.12454", "torch_geometric GPSConv", "W"),
        ("BaseGNN", "base_gnn", "Base GNN", "2009.03509", "torch_geometric TransformerConv", "W"),
        ("AdaptiveMessagePassing", "message_passing", "Message passing (adaptive)", "1704.01212", "torch_geometric MessagePassing", "W"),
        ("GraphSAGE", "graph_sage", "GraphSAGE", "1706.02216", "torch_geometric SAGEConv", "WT"),
        ("GATv2", "gatv2", "GATv2", "2105.14491", "torch_geometric GATv2Conv", "W"),
        ("Exphormer", "exphormer", "Exphormer", "2303.06147", "hamed1375/Exphormer, explicit attention", "WA"),
    ),
}
# fmt: on

ROWS: tuple[Row, ...] = tuple(Row(*cells, section) for section in SECTIONS for cells in _TABLE[section.number])


def rows(section: int | None = None, status: Status | None = None) -> list[Row]:
    """The rows in order, those of one section or status if one is given."""
    return [
        row
        for row in ROWS
        if (section is None or row.section.number == section) and (status is None or row.status == status)
    ]


def find(name: str) -> Row:
    """The row of a system by its name, stem or title, whatever the case.

    Raises:
        ValueError: there is none; names the nearest.
    """
    known = {key.lower(): row for row in ROWS for key in (row.title, row.stem, row.name)}
    if row := known.get(name.lower()):
        return row
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = (
        f"near it: {', '.join(dict.fromkeys(known[key].name for key in near))}"
        if near
        else "see `nexus.catalog.rows()`"
    )
    raise ValueError(f"{name!r}: is no system of the zoo; {hint}")
