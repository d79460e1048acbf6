"""Adapters on a base of 16 bits: who reads it in which dtype, what it is merged into, where DPO on it starts."""

import json
import math
import shutil

import pytest
import torch

from tests.training.test_adapters import IDS, logits
from tests.training_jobs import LORA, RECIPE, TRAINER, job, losses, train_here, write_reference
from vpo.backbone.tiny import TinyBackbone
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.checkpoints.merging import read_base
from vpo.records import Pair
from vpo.stages.context import Context
from vpo.stages.reference import Reference
from vpo.storage.rows import write_rows
from vpo.storage.store import Store
from vpo.training.forward import Reader
from vpo.training.lora import add_adapter
from vpo.training.policy_folder import PolicyWriter
from vpo.training.recipe import base_dtype

MIXED = TRAINER | {"precision": "bf16-mixed"}
WIDE = {"optimizer": RECIPE["optimizer"] | {"lr": 1e-2, "schedule": "constant"}}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Wide enough for 4 bits: a block of 64 weights lies in one row."""
    folder = tmp_path_factory.mktemp("wide")
    TinyBackbone(["a red dog runs"], 0, 300, 64, 128, 2, 2, 0.09, 512, "tiny").prepare(folder)
    return folder


@pytest.mark.parametrize(
    ("adapter", "precision", "strategy", "due"),
    [
        (LORA, "bf16-mixed", "auto", "bfloat16"),
        (LORA, "16-mixed", "ddp", "bfloat16"),
        (LORA | {"bits": 4}, "bf16-mixed", "auto", "bfloat16"),
        (LORA, "32-true", "auto", "float32"),
        (LORA, "bf16-mixed", "fsdp", "float32"),  # one dtype a flat piece
        (LORA, "bf16-mixed", "deepspeed", "float32"),  # whose engine rounds itself
        (None, "bf16-mixed", "auto", "float32"),
    ],
)
def test_the_base_is_narrow_beside_an_adapter_only(adapter, precision, strategy, due):
    assert base_dtype(adapter, {"precision": precision, "strategy": strategy}) == due


@pytest.mark.parametrize("bits", [None, 4])
def test_the_base_has_16_bits_the_adapter_32_and_gradients_reach_all_of_it(wide, bits):
    """Gradients against those of an fp32 copy of the very same weights."""
    model = load_pretrained(wide, torch.bfloat16, bits)[0]
    plain = load_pretrained(wide, torch.bfloat16, bits)[0]
    plain = (plain if bits is None else plain.dequantize()).float()
    found = []
    for one in (model, plain):
        torch.manual_seed(0)
        wrapped = add_adapter(one, LORA | {"bits": bits})
        for name, parameter in wrapped.named_parameters():
            assert parameter.dtype == torch.float32 or ".lora_" not in name
            assert parameter.requires_grad == (".lora_" in name)
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        with torch.autocast("cpu", torch.bfloat16, enabled=one is model):
            wrapped(input_ids=IDS).logits.float().logsumexp(-1).sum().backward()
        found.append({name: p.grad for name, p in wrapped.named_parameters() if p.requires_grad})
    assert {p.dtype for name, p in model.named_parameters() if ".lora_" not in name} <= {torch.bfloat16, torch.uint8}
    narrow, whole = found
    assert narrow.keys() == whole.keys()
    for name, gradient in narrow.items():
        assert gradient.dtype == torch.float32
        assert (gradient - whole[name]).norm() < 0.1 * whole[name].norm(), name


@pytest.mark.parametrize("bits", [None, 4])
def test_an_adapter_is_merged_into_the_rounded_base_it_was_trained_on(wide, tmp_path, bits):
    """By hand: the base rounded to bf16 (and dequantised), widened, plus alpha / r B A."""
    model, tokenizer = load_pretrained(wide, torch.bfloat16, bits)
    base = load_pretrained(wide, torch.bfloat16, bits)[0]
    base = (base if bits is None else base.dequantize()).model.layers[1].mlp.up_proj.weight.float()
    torch.manual_seed(0)
    model = add_adapter(model, LORA | {"bits": bits})
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    PolicyWriter(model, tokenizer, "Query: {}", wide, bits, "bfloat16").write(tmp_path)
    assert json.loads((tmp_path / "base.json").read_text())["dtype"] == "bfloat16"
    assert (read_base(str(tmp_path)).dtype, read_base(str(tmp_path)).bits) == ("bfloat16", bits)
    layer = model.get_base_model().model.layers[1].mlp.up_proj
    sum_ = base + 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merged = load_pretrained(tmp_path, torch.float32)[0]
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged.model.layers[1].mlp.up_proj.weight, sum_, rtol=1e-6, atol=1e-7)
    narrow = load_pretrained(tmp_path, torch.bfloat16)[0]
    assert {one.dtype for one in narrow.parameters()} == {torch.bfloat16}
    assert narrow.model.rotary_emb.inv_freq.dtype == torch.float32
    step = narrow.model.layers[1].mlp.up_proj.weight.float() - sum_
    assert torch.all(step.abs() <= sum_.abs() / 128)  # rounded, to bf16's 8 bits of mantissa
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        trained = model.eval()(input_ids=IDS).logits.float()
    torch.testing.assert_close(logits(merged), trained, rtol=0, atol=0.05 * float(trained.std()))


def test_fp32_policies_say_nothing_new(start, tmp_path):
    model, tokenizer = load_pretrained(start, torch.float32)
    PolicyWriter(add_adapter(model, LORA), tokenizer, "Query: {}", start, None).write(tmp_path)
    assert json.loads((tmp_path / "base.json").read_text()).keys() == {"folder", "bits"}


@pytest.mark.parametrize("bits", [None, pytest.param(4, marks=pytest.mark.slow)])
def test_steps_in_16_bits_learn_and_dpo_on_them_starts_near_ln_2(tmp_path, wide, renderer_of_wide, bits):
    """SFT, then DPO on the merged policy, which it and its reference round alike; the adapter's files stay in fp32."""
    from safetensors.torch import load_file

    recipe = {"adapter": LORA | {"bits": bits}, "max_steps": 20, "prompts": 1, "validation": 0.1, **WIDE}
    assert train_here(job(tmp_path / "sft", wide, recipe=recipe, trainer=MIXED)) == 0
    learnt = losses(tmp_path / "sft")
    assert learnt[-1] < 0.9 * learnt[0]
    assert len((tmp_path / "sft/prompts.jsonl").read_text().splitlines()) > 1  # sampled outside autocast
    policy = tmp_path / "sft/policy"
    assert {one.dtype for one in load_file(policy / "adapter_model.safetensors").values()} == {torch.float32}
    assert read_base(str(policy)).dtype == "bfloat16"
    spec = job(
        tmp_path / "dpo", policy, "dpo", recipe={"adapter": LORA | {"bits": bits}, "max_steps": 5}, trainer=MIXED
    )
    write_reference(tmp_path / "dpo", policy, renderer_of_wide, bits=bits, dtype="bfloat16")
    assert train_here(spec) == 0
    assert losses(tmp_path / "dpo")[0] == pytest.approx(math.log(2), abs=5e-3)
    assert losses(tmp_path / "dpo")[-1] < losses(tmp_path / "dpo")[0]


@pytest.fixture
def renderer_of_wide(wide):
    from vpo.language.chat.rendering import Renderer
    from vpo.templates import read_template

    return Renderer(load_pretrained(wide, torch.float32)[1], read_template("tiny"))


@pytest.mark.slow
def test_the_reference_reads_as_the_training_does(tmp_path, wide):
    """Beside an adapter under bf16-mixed its sums are those of a model in bf16, near those in fp32; its key is another."""
    context = Context(Store(tmp_path / "store"))
    pairs = [Pair(str(i), f"a dog {i}", f"A fine dog {i} runs.", "No.", "text") for i in range(5)]

    def copied(folder):
        shutil.copytree(wide, folder / "policy")
        return {}

    def written(folder):
        write_rows(folder / "pairs.jsonl", pairs)
        return {}

    policy, data = context.store.get("start", {}, {}, copied), context.store.get("pair", {}, {}, written)

    def reference(adapter, precision):
        objective = {"max_length": 128, "adapter": adapter}
        trainer = TRAINER | {"packing": False, "precision": precision}
        backbone = {"template": "tiny"}
        stage = Reference(objective=objective, trainer=trainer, backbone=backbone, policy=policy, pairs=data)
        return context.make(stage)

    whole, narrow = reference(LORA, "32-true"), reference(LORA, "bf16-mixed")
    assert narrow.key != whole.key
    # Weights that are all trained are read in 32 bits, whatever the layers compute in.
    assert reference(None, "bf16-mixed").key == whole.key
    one, other = (entry.rows("reference.jsonl", dict) for entry in (whole, narrow))
    assert [row["chosen"] for row in one] != [row["chosen"] for row in other]
    assert [row["chosen"] for row in one] == pytest.approx([row["chosen"] for row in other], rel=1e-2)


def test_a_packed_narrow_model_reads_as_a_padded_one(wide):
    """The probe of packed rows accepts an adapter on bf16 weights."""
    model = add_adapter(load_pretrained(wide, torch.bfloat16)[0], LORA)
    assert Reader.of(model, packing=True, longest=128).packing
