"""QLoRA: quantised weights are really quantised, read the same by every part, and trained through."""

import copy
import importlib.util
import math

import bitsandbytes as bnb
import pytest
import torch

from tests.tiny_models import assert_gradients_equal, gradients
from tests.training.test_adapters import IDS, logits, trained
from tests.training_jobs import LORA, RECIPE, WORDS, job, losses, train_here, write_reference
from vpo.backbone.tiny import TinyBackbone
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.language.checkpoints.loading import load_pretrained
from vpo.records import Pair
from vpo.training.data import Collator, pair_rows
from vpo.training.forward import Reader
from vpo.training.lora import add_adapter


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Wide enough that a block of 64 weights, the unit of 4-bit quantisation, lies in one row."""
    folder = tmp_path_factory.mktemp("wide")
    TinyBackbone(WORDS, 0, 300, 64, 128, 2, 2, 0.09, 512, "tiny").prepare(folder)
    return folder


def query_projection(model):
    return model.model.layers[0].self_attn.q_proj


def test_4_bits_are_16_levels_a_block_and_8_bits_are_within_half_a_step(wide):
    whole = query_projection(load_pretrained(wide, torch.float32)[0]).weight.detach()
    four = query_projection(load_pretrained(wide, torch.float32, 4)[0])
    assert isinstance(four, bnb.nn.Linear4bit)
    levels = bnb.functional.dequantize_4bit(four.weight.data, four.weight.quant_state).view(-1, 64)
    assert max(len(set(block.tolist())) for block in levels) <= 16
    torch.testing.assert_close(levels.abs().amax(1), whole.view(-1, 64).abs().amax(1), rtol=0.05, atol=0)
    eight = query_projection(load_pretrained(wide, torch.float32, 8)[0])
    assert isinstance(eight, bnb.nn.Linear8bitLt)
    steps = eight.weight.SCB[:, None] / 127  # the largest of a row is 127 steps
    assert torch.all(
        (eight.weight.data.float() * steps - whole).abs() <= 0.5 * steps + whole.abs() / 1024
    )  # and fp16 on the way


def test_the_head_and_the_embeddings_stay_whole(wide):
    model, _ = load_pretrained(wide, torch.float32, 4)
    assert type(model.lm_head) is torch.nn.Linear
    assert model.get_input_embeddings().weight.dtype == torch.float32


def test_gradients_are_those_of_the_dequantised_weights_even_after_a_validation(wide):
    """The oracle is LoRA on plain layers that hold the dequantised weights.

    bitsandbytes' AVX512 kernel would take over in the pass without gradients and cut the backward off.
    """
    quantised, _ = load_pretrained(wide, torch.float32, 4)
    plain = copy.deepcopy(quantised).dequantize()
    recipe = LORA | {"bits": 4}
    torch.manual_seed(0)
    quantised = add_adapter(quantised, recipe)
    torch.manual_seed(0)
    plain = add_adapter(plain, recipe)
    before = logits(quantised.eval())
    weights = torch.linspace(-1, 1, before.numel()).view_as(before)
    found = gradients(quantised, (quantised(input_ids=IDS).logits * weights).sum())
    expected = gradients(plain, (plain(input_ids=IDS).logits * weights).sum())
    assert_gradients_equal(expected, found)
    assert torch.equal(logits(quantised), before)


@pytest.mark.parametrize(("bits", "tolerance"), [(4, 1e-4), (8, 0.2)])
def test_an_adapter_is_merged_into_the_weights_it_was_trained_on(wide, tmp_path, bits, tolerance):
    """8-bit layers round their inputs, too, which the merged model does not."""
    model, writer = trained(wide, bits=bits)
    writer.write(tmp_path)
    loaded, _ = load_pretrained(tmp_path, torch.float32)
    assert type(query_projection(loaded)) is torch.nn.Linear
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=tolerance)
    # On whole weights the same adapter would be another policy.
    (tmp_path / "base.json").write_text((tmp_path / "base.json").read_text().replace(str(bits), "null"))
    other = logits(load_pretrained(tmp_path, torch.float32)[0])
    assert (other - logits(model)).abs().max() > (logits(loaded) - logits(model)).abs().max()


def test_a_merged_policy_is_quantised_as_a_stored_one(wide, tmp_path):
    """DPO with QLoRA on an SFT adapter: merged in memory, then quantised; the oracle goes through a file."""
    trained(wide)[1].write(tmp_path / "adapter")
    load_pretrained(tmp_path / "adapter", torch.float32)[0].save_pretrained(tmp_path / "merged")
    load_pretrained(wide, torch.float32)[1].save_pretrained(tmp_path / "merged")
    for bits in (4, 8):
        found = load_pretrained(tmp_path / "adapter", torch.float32, bits)[0]
        assert torch.equal(logits(found), logits(load_pretrained(tmp_path / "merged", torch.float32, bits)[0]))


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_and_padded_rows_read_the_same_from_quantised_weights(wide, renderer, bits):
    rows, _ = pair_rows([Pair(q, q, f"A fine {q}", f"A bad {q} it is", "text") for q in WORDS], renderer, 128)
    model = load_pretrained(wide, torch.float32, bits)[0].eval()
    reader = Reader.of(model, packing=True, longest=128)
    assert reader.packing
    with torch.no_grad():
        sums = [reader.logprobs(Collator(packing=one, pad_id=renderer.pad_id)(rows)).sums for one in (True, False)]
    torch.testing.assert_close(*sums, rtol=1e-5 if bits == 4 else 1e-3, atol=0)


def test_a_missing_bitsandbytes_names_the_extra(wide, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    message = r"adapter.bits=4 needs bitsandbytes: pip install bitsandbytes, or set it to null"
    with pytest.raises(UserError, match=message):
        load_pretrained(wide, torch.float32, 4)
    from tests.checking.test_config import composed

    with pytest.raises(UserError, match="config: sft." + message):
        check(composed("sft=qlora"))


@pytest.mark.parametrize("bits", [4, 8])
def test_qlora_steps_learn_and_dpo_on_them_starts_at_ln_2(tmp_path, wide, renderer, bits):
    """SFT, then DPO on the merged and quantised anew policy, both through the worker."""
    adapter = LORA | {"bits": bits}
    optimizer = RECIPE["optimizer"] | {"lr": 1e-2, "schedule": "constant"}
    recipe = {"adapter": adapter, "max_steps": 30, "optimizer": optimizer}
    assert train_here(job(tmp_path / "sft", wide, recipe=recipe)) == 0
    learnt = losses(tmp_path / "sft")
    assert learnt[-1] < 0.8 * learnt[0]
    spec = job(tmp_path / "dpo", tmp_path / "sft/policy", "dpo", recipe={"adapter": adapter, "max_steps": 5})
    write_reference(tmp_path / "dpo", tmp_path / "sft/policy", renderer, bits=bits)
    assert train_here(spec) == 0
    found = losses(tmp_path / "dpo")
    assert found[0] == pytest.approx(math.log(2), abs=1e-4 if bits == 4 else 2e-2)
    assert found[-1] < found[0]
    load_pretrained(tmp_path / "dpo/policy", torch.float32)
