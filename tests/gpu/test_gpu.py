"""What only a CUDA GPU can show: `make test-gpu` runs this, on one GPU, without network, in under nine minutes."""

import json
import math
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from tests.conftest import ROOT
from tests.tiny_models import build, rows
from tests.training_jobs import LORA, RECIPE, job, losses, steps, train_here, write_reference
from vpo.training.data import Collator, TrainingRow
from vpo.training.forward import Reader
from vpo.training.memory import BatchShape, DecoderShape, estimate
from vpo.training.packing.attention import BLOCK, PADDING, dense_mask, tree_attention_forward
from vpo.training.packing.rows import build_trees, pack

GPU = {
    "accelerator": "gpu", "precision": "bf16-mixed", "peak_tflops": None, "activation_checkpointing": False,
    "strategy_options": {}, "memory_gb": None,
}  # fmt: skip


def test_flex_attention_gives_the_values_and_gradients_of_a_dense_mask():
    """In fp32, with grouped heads, over several blocks; the CPU's function is held to the same in tests of packing."""
    (tree,) = build_trees(*rows(40), items_per_row=40)
    layout = pack(tree, pad_to=BLOCK).layout.to("cuda").with_block_mask()
    assert layout.item.numel() > 2 * BLOCK
    torch.manual_seed(0)
    states = [torch.randn(1, heads, layout.item.numel(), 64, device="cuda", requires_grad=True) for heads in (4, 2, 2)]
    real = layout.item != PADDING
    mask = dense_mask(layout.item, layout.branch)
    due = torch.nn.functional.scaled_dot_product_attention(*states, attn_mask=mask, enable_gqa=True).transpose(1, 2)
    found = tree_attention_forward(torch.nn.Module(), *states, None, tree_layout=layout)[0]
    torch.testing.assert_close(found[:, real], due[:, real], rtol=2e-3, atol=2e-3)
    weight = torch.randn_like(due[:, real])
    slopes = torch.autograd.grad((due[:, real] * weight).sum(), states)
    mine = torch.autograd.grad((found[:, real] * weight).sum(), states)
    for one, other in zip(mine, slopes, strict=True):
        assert (one - other).norm() < 5e-3 * other.norm()


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-4), ("bf16-mixed", 2e-2)])
def test_packed_rows_read_as_padded_ones(precision, tolerance):
    """Log-probabilities of whole completions, relative, and the direction of the gradient."""
    prompts, completions = rows(13)
    data = [
        TrainingRow(str(n), prompt, branches)
        for n, (prompt, branches) in enumerate(zip(prompts, completions, strict=True))
    ]
    found = []
    for packing in (True, False):
        model = build(hidden_size=64).to("cuda")  # FlexAttention's kernel takes heads of 16 numbers and more
        reader = Reader.of(model, packing=packing, longest=128, device="cuda", precision=precision)
        assert reader.packing == packing
        sequences = Collator(packing=packing, pad_id=0, pad_to=BLOCK)(data).to("cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16-mixed"):
            sums = reader.logprobs(sequences).sums.float()
        sums.sum().backward()
        gradient = torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
        found.append((sums.detach(), gradient))
    (packed, slope), (padded, other) = found
    torch.testing.assert_close(packed, padded, rtol=tolerance, atol=tolerance)
    assert torch.nn.functional.cosine_similarity(slope, other, dim=0) > 1 - tolerance


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(
    "adapter", [None, LORA, LORA | {"bits": 8}, LORA | {"bits": 4}], ids=["full", "lora", "int8", "nf4"]
)
def test_dpo_begins_at_ln_2_and_learns(tmp_path, start, renderer, adapter, packing):
    if adapter and adapter["bits"] and find_spec("bitsandbytes") is None:
        pytest.skip("needs bitsandbytes, the extra `quant`")
    bits = adapter["bits"] if adapter else None
    spec = job(tmp_path, start, "dpo", {"adapter": adapter}, GPU | {"packing": packing})
    dtype = "bfloat16" if adapter else "float32"
    write_reference(tmp_path, start, renderer, bits=bits, dtype=dtype, device="cuda")
    assert train_here(spec) == 0
    assert losses(tmp_path)[0] == pytest.approx(math.log(2), abs=2e-2)
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]


def test_fsdp_on_one_device_trains_as_one_device_alone(tmp_path, start):
    """The strategy's own code, with one rank that holds all pieces."""
    alone = job(tmp_path / "alone", start, trainer=GPU | {"precision": "32-true"})
    sharded = job(tmp_path / "fsdp", start, trainer=GPU | {"precision": "32-true", "strategy": "fsdp"})
    assert train_here(alone) == 0
    command = [sys.executable, "-m", "vpo.training.worker", str(sharded)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert steps(tmp_path / "fsdp") == steps(tmp_path / "alone")
    assert losses(tmp_path / "fsdp") == pytest.approx(losses(tmp_path / "alone"), rel=1e-3)


def test_an_8b_shape_takes_a_lora_step_and_the_memory_estimate_holds(tmp_path):
    """The benchmark's short form: two steps of DPO, packed, on a random model of Llama 3's shape."""
    if torch.cuda.get_device_properties(0).total_memory < 40e9:
        pytest.skip("an 8B shape in 16 bits needs a GPU of 40 GB")
    command = [
        sys.executable, "experiments/benchmarks/train_step.py", "--json", "--shape", "llama3_8b", "--tuning", "lora",
        "--tasks", "dpo", "--rounds", "0", "--steps", "2", "--sizes", "4", "--trainers", "packed",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = json.loads(done.stdout)["rows"]
    assert "error" not in row, row
    print(
        f"8B shape, LoRA, packed: {row['rows_per_second']:.2f} pairs/s, peak {row['peak_mib']:.0f} MiB, MFU {row['mfu']}"
    )
    spec = (ROOT / "experiments/benchmarks/train_step.yaml").read_text()
    shape, lora, lengths = (_section(spec, name) for name in ("shapes", "lora", "lengths"))
    adapter = {"r": lora["r"], "target_modules": lora["target_modules"], "bits": None}
    trainer = {**RECIPE, **GPU, "devices": 1, "strategy": "auto", "per_device_batch_size": 4, "packing": True}
    sizes = BatchShape(4, 2, lengths["template"], lengths["query"]["median"] + 8, lengths["completion"]["mean"], True)
    guessed = estimate(DecoderShape.of({"model_type": "llama", **shape["llama3_8b"]}), sizes, trainer, adapter).peak
    assert guessed == pytest.approx(row["peak_mib"] * 2**20, rel=0.3)


def _section(text: str, name: str) -> dict:
    import yaml

    return yaml.safe_load(text)[name]
