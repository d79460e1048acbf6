"""Sharded training, and what a trainer needs of the machine."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.conftest import ROOT, run_vpo
from tests.training_jobs import TRAINER, job, losses, metric, steps, work
from vpo.language.checkpoints.loading import load_pretrained
from vpo.processes import launch
from vpo.processes.hardware import hardware_problem
from vpo.training.strategy import checkpoint_activations, decoder_layers

# Lightning offers FSDP on CUDA only: it hands FSDP the index of a CUDA device, and takes weights to the CPU by a copy that on
# CPU is none. Wrapping, sharding, clipping and collecting are the same on CPU.
FSDP_ON_CPU = """
import sys
from pathlib import Path
import torch
from torch.distributed.fsdp import FullStateDictConfig, FullyShardedDataParallel, StateDictType
from vpo.training import strategy, worker

class OnCPU(strategy.FSDPStrategy):
    def _setup_model(self, model):
        return FullyShardedDataParallel(
            model, device_id=torch.device("cpu"), sharding_strategy=self.sharding_strategy, **self.kwargs
        )

    def lightning_module_state_dict(self):
        copied = FullStateDictConfig(offload_to_cpu=False)
        with FullyShardedDataParallel.state_dict_type(self.model, StateDictType.FULL_STATE_DICT, copied):
            return self.model.state_dict()

strategy.FSDPStrategy = OnCPU
sys.exit(worker.main(Path(sys.argv[1])))
"""
SHARDED = {
    "strategy": "fsdp",
    "devices": 2,
    "per_device_batch_size": 1,
    "strategy_options": {"sharding_strategy": "FULL_SHARD"},
}


def fsdp(spec: Path, monkeypatch) -> None:
    """Two processes of the worker with FSDP on CPU, started as the launcher starts them."""
    right = subprocess.Popen

    def popen(command, **named):
        return right([sys.executable, "-c", FSDP_ON_CPU, command[-1]], cwd=ROOT, **named)

    monkeypatch.setattr(launch.subprocess, "Popen", popen)
    launch.train_in_child(yaml.safe_load(spec.read_text()), spec.parent)


@pytest.mark.slow
def test_sharded_training_equals_one_process(tmp_path, start, monkeypatch):
    """Losses, gradient norms and the saved policy; the norms are above the clip, and every step accumulates twice."""
    recipe = {"max_steps": 4, "checkpoint_every": 3}
    one, sharded = (
        job(tmp_path / "one", start, recipe=recipe),
        job(tmp_path / "two", start, recipe=recipe, trainer=SHARDED),
    )
    assert work(one).wait() == 0
    fsdp(sharded, monkeypatch)
    assert steps(sharded.parent) == [0, 1, 2, 3]
    assert losses(sharded.parent) == pytest.approx(losses(one.parent), rel=1e-5)
    norms = metric(one.parent, "train/grad_norm")
    assert max(norms) > 1.0  # else nothing was clipped
    assert metric(sharded.parent, "train/grad_norm") == pytest.approx(norms, rel=1e-4)
    left, right = (load_file(spec.parent / "policy/model.safetensors") for spec in (one, sharded))
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=1e-3, atol=1e-5, msg=name)
    load_pretrained(sharded.parent / "policy", torch.float32)


GPU = TRAINER | {"accelerator": "gpu"}


@pytest.mark.parametrize(
    ("trainer", "gpus", "deepspeed", "problem"),
    [
        (TRAINER, 0, False, None),
        (GPU, 1, False, None),
        (GPU, 0, False, "trainer.strategy=auto asks for 1 GPU and torch sees none; use trainer=cpu"),
        (GPU | {"strategy": "ddp", "devices": 4}, 2, False, "asks for 4 GPUs and torch sees 2; set trainer.devices=2"),
        (GPU | {"strategy": "fsdp", "devices": 8}, 8, False, None),
        (
            TRAINER | {"strategy": "fsdp"},
            8,
            False,
            "trainer.strategy=fsdp needs CUDA GPUs; set trainer.accelerator=gpu",
        ),
        (
            GPU | {"strategy": "deepspeed"},
            1,
            False,
            "needs DeepSpeed, which is not installed; pip install deepspeed",
        ),
        (GPU | {"strategy": "deepspeed"}, 1, True, None),
        (TRAINER | {"accelerator": "tpu"}, 0, False, "trainer.accelerator=tpu is unknown; choose cpu or gpu"),
    ],
)
def test_what_a_trainer_needs_of_the_machine(trainer, gpus, deepspeed, problem):
    found = hardware_problem(trainer, gpus=gpus, deepspeed=deepspeed)
    assert found is None if problem is None else problem in found


_SLOW = pytest.mark.slow


@pytest.mark.parametrize("trainer", ["gpu", pytest.param("fsdp", marks=_SLOW), pytest.param("deepspeed", marks=_SLOW)])
def test_a_machine_without_gpu_refuses_in_one_line_before_any_work(tmp_path, trainer):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = run_vpo("run", f"trainer={trainer}", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "torch sees none" in line
    assert not list(tmp_path.iterdir())


def test_a_trainer_for_other_hardware_composes(tmp_path):
    done = run_vpo("run", "trainer=fsdp", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sharding_strategy: FULL_SHARD" in done.stdout


def test_a_cpu_run_asks_torch_nothing():
    code = "import sys; from vpo.processes.hardware import *; check_hardware({}); release_gpu_memory(); print('torch' in sys.modules)"
    code = code.replace("{}", repr(TRAINER))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_layers_are_found_by_their_class_and_recomputed_when_asked(start):
    """Gradients are the same with and without; the layers run once more in backward."""
    model, _ = load_pretrained(start, torch.float32)
    assert [kind.__name__ for kind in decoder_layers(model)] == ["LlamaDecoderLayer"]
    ids, calls, gradients = torch.arange(12)[None], [], []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    for asked in (False, True):
        checkpoint_activations(model, {"activation_checkpointing": asked})
        model.zero_grad()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        gradients.append(model.model.embed_tokens.weight.grad.clone())
    assert len(calls) == 1 + 2
    torch.testing.assert_close(gradients[0], gradients[1])
