"""Tensor, pipeline and expert parallel: what no process holds whole is what one process computes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nexus.core.config import ConfigError
from nexus.core.state_space import HybridConfig, HybridLM
from nexus.layers.attention import GroupedQueryAttention
from nexus.training.audit.record import read_record
from nexus.training.config import TrainingConfig
from nexus.training.loop import Trainer
from nexus.training.model_parallel import ModelParallel, ModelParallelConfig, shared
from nexus.training.pipeline_parallel import Stage, summed_loss
from nexus.training.processes import Processes, joined
from nexus.training.store import CheckpointStore
from nexus.training.tensor_parallel import Cut, faults
from nexus.zoo.proofs import model_parallel as proof

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = TrainingConfig(
    steps=4, learning_rate=1e-2, schedule="constant", max_grad_norm=0.5, gradient_accumulation_steps=2, audit_every=1
)


def batches(replica, replicas):
    found = [ids for step in range(16) for ids, _ in [proof.batch(0, step, 0)]]
    return found[replica::replicas]


def main(kind, folder):
    """What each process does."""
    with joined() as processes:
        if kind != "pipeline":
            settings = SETTINGS.replace(parallel="tensor", tensor=2, optimizer=kind)
            replica = processes.replica(2)
            for steps in (2, 4):  # the second run goes on from the checkpoint of the first
                model = proof.model(processes.rank)
                Trainer(model, batches(replica.rank, replica.world), settings.replace(steps=steps), folder=folder).run()
            return
        config = ModelParallelConfig(pipeline=processes.world, microbatches=4)
        parallel = ModelParallel(three_blocks(processes.rank), config)
        optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
        for step in range(3):
            parallel.step(*proof.batch(0, step, 0))
            parallel.clip(0.5)
            optimizer.step()
            optimizer.zero_grad()
        weights, _ = parallel.whole_state(optimizer)
        if processes.first:
            save_file({name: value.clone() for name, value in weights.items()}, Path(folder, "weights.safetensors"))


def three_blocks(seed):
    torch.manual_seed(seed)
    sizes = {"plan": "TMA", "n_layers": 3, "vocab_size": proof.WORDS}
    return HybridLM(HybridConfig.tiny(**sizes)).double()


def processes(count, kind, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = f"from tests.training.test_model_parallel import main; main({kind!r}, {str(folder)!r})"
    base = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env=os.environ | base | {"RANK": str(rank), "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        )
        for rank in range(count)
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]


@pytest.mark.slow  # seed 0 is the contract's
def test_it_equals_its_oracle():
    for comparison in proof.prove(1):
        assert comparison.difference <= proof.TOLERANCE, comparison.what


@pytest.mark.slow
@pytest.mark.parametrize(("count", "optimizer"), [(2, "adamw"), (4, "lion")])
def test_the_trainer_shares_layers_and_goes_on_from_whole_checkpoints(tmp_path, count, optimizer):
    processes(count, optimizer, tmp_path / "many")
    alone = proof.model(0)
    parts = SETTINGS.gradient_accumulation_steps * (count // 2)
    whole = SETTINGS.replace(gradient_accumulation_steps=parts, optimizer=optimizer)
    Trainer(alone, batches(0, 1), whole, folder=tmp_path / "one").run()
    one, many = (CheckpointStore(tmp_path / name / "checkpoints").latest() for name in ("one", "many"))
    assert one.model.keys() == many.model.keys()
    for name in one.model:
        torch.testing.assert_close(many.model[name], one.model[name], rtol=1e-5, atol=1e-6)  # the loss is in float32
    seen, wanted = (read_record(tmp_path / name).readings[-1] for name in ("many", "one"))
    assert seen["gradient"] == pytest.approx(wanted["gradient"], rel=1e-5)  # the auditor sees whole tensors
    assert seen["ratio"] == pytest.approx(wanted["ratio"], rel=1e-4)
    assert seen["silent_count"] == wanted["silent_count"] == 0


@pytest.mark.slow
def test_three_stages_with_a_memory_block_are_the_model(tmp_path):
    processes(3, "pipeline", tmp_path)
    alone = three_blocks(0)
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    for step in range(3):
        ids, labels = proof.batch(0, step, 0)
        (summed_loss(alone(ids).logits, labels) / (labels[:, 1:] != -100).sum()).backward()
        nn.utils.clip_grad_norm_(alone.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    found = load_file(tmp_path / "weights.safetensors")
    assert found.keys() == alone.state_dict().keys()
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


def test_one_process_is_the_model_itself():
    whole, parallel = proof.model(0), ModelParallel(proof.model(0), ModelParallelConfig(microbatches=2))
    ids, labels = proof.batch(0, 0, 0)
    assert torch.equal(parallel(ids), whole(ids).logits)
    loss = parallel.step(ids, labels)
    wanted = nn.functional.cross_entropy(whole(ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    wanted.backward()
    torch.testing.assert_close(loss, wanted.detach())
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parallel.stage.get_parameter(name).grad, parameter.grad)
    norm = parallel.clip(0.5)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(whole.parameters(), 0.5))


def test_stages_hold_every_name_once():
    names = [set(Stage(proof.model(0, tied=False), index, 2).state_dict()) for index in range(2)]
    assert names[0] | names[1] == set(proof.model(0, tied=False).state_dict())
    assert not names[0] & names[1]
    with pytest.raises(ValueError, match="pipeline = 3: the model has 2 blocks"):
        Stage(proof.model(0), 0, 3)


def test_fused_matrices_are_cut_part_by_part():
    assert Cut(0, (4, 2)).order(2).tolist() == [0, 1, 4, 2, 3, 5]
    order = Cut(0, (8, 4, 4)).order(4)
    assert torch.equal(order[order.argsort()], torch.arange(16))


def test_what_does_not_come_out_even_is_named_at_once():
    model = HybridLM(HybridConfig.tiny(plan="MAT", n_layers=3, ssm_groups=1, d_ff=63))
    found = faults(model, 2)
    assert [line.split(":")[0].rpartition(".")[2] for line in found] == ["mixer", "mlp", "mlp", "mixer", "mlp"]
    assert "n_groups = 1 is not shared evenly by 2; make it a multiple of 2" in found[0]
    assert "memory ('T' layers) is not cut" in found[3]
    assert faults(GroupedQueryAttention(8, 4, 2), 4) == [
        "module: n_kv_heads = 2 is not shared evenly by 4; make it a multiple of 4, or share layers among fewer"
    ]
    with pytest.raises(ValueError, match="a copy of the model takes 3 processes, and 4 are no multiple"):
        ModelParallelConfig(tensor=3).replicas(4)
    with pytest.raises(ValueError, match="this run has 1 process, which is no multiple"):
        Processes().replica(2)


def test_faulty_configurations():
    with pytest.raises(ConfigError) as caught:
        ModelParallelConfig.from_dict({"tensor": 0, "pipeline": 4, "microbatches": 2, "schedule": "zigzag"})
    for part in ("tensor = 0", "'zigzag' is not a choice"):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match="microbatches = 2 are fewer than pipeline = 4 stages; use at least 4, or"):
        ModelParallelConfig(pipeline=4, microbatches=2)
    with pytest.raises(ConfigError, match=r"tensor = 1 does not go with parallel = 'tensor'"):
        TrainingConfig(parallel="tensor")
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(parallel="tensor", tensor=2, compile=True, ema_decay=0.9, optimizer="muon")
    for part in ("compile = True cannot", "ema_decay = 0.9 is not kept", "optimizer = 'muon' looks at whole matrices"):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match="no process group; start with torchrun"):
        shared(proof.model(0), 2)
    with pytest.raises(ValueError, match="microbatches = 3: a batch of 4 rows is not cut evenly"):
        ModelParallel(proof.model(0), ModelParallelConfig(microbatches=3)).step(proof.batch(0, 0, 0)[0])
