"""Prompts that are read together, and rows that write until they end, against one sequence a forward pass without any cache."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.chat_models import llama3_tokenizer, save_llama
from tests.language.test_architectures import KINDS
from tests.language.test_engine import asked, by_hand
from tests.training_jobs import LORA
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.decoding import decode
from vpo.language.hf import HFEngine
from vpo.language.prefill import prefill, shares_prefill
from vpo.language.sampling import Sampler
from vpo.records import Sampling
from vpo.training.lora import add_adapter

PAD = 1
WINDOW = {"sliding_window": 8}  # shorter than what the prompts below have in common
SHARING = {
    "llama": {},
    "qwen2": {**KINDS["llama"]},
    "qwen3": {},
    "gemma2": WINDOW,
    "gemma3_text": WINDOW,
    "mistral": WINDOW,
    "gpt_oss": WINDOW,
    "mixtral": {},
    "gpt2": {},
    "opt": {},
    "falcon": {},
    "gpt_neox": {},
}
PLAIN = {"bloom", "phi3", "qwen3_next", "mamba", "mamba2", "falcon_mamba", "rwkv"}


def build(kind, **options):
    torch.manual_seed(0)
    ids = {"vocab_size": 97, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": PAD}
    config = AutoConfig.for_model(kind, **ids | KINDS.get(kind, {}) | options)
    config.initializer_range = config.init_std = 0.2  # large enough for attention to matter
    return AutoModelForCausalLM.from_config(config).eval()


def tokens(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 97, (count,), generator=generator).tolist()


def prompts(template=20, queries=(3, 7, 1)):
    return [tokens(template) + tokens(count, seed) for seed, count in enumerate(queries, 1)]


def greedy(rows):
    return Sampler([0] * rows, 0, 1.0, torch.device("cpu"))


@pytest.fixture
def read(monkeypatch):
    """Shapes of the ids (rows, tokens) that models read."""
    shapes = []

    def watch(model):
        model.register_forward_pre_hook(
            lambda module, positional, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
        )
        return shapes

    return watch


@pytest.mark.parametrize("kind", SHARING)
@torch.inference_mode()
def test_what_is_read_together_is_what_is_read_alone(kind):
    model = build(kind, **SHARING[kind])
    assert shares_prefill(model)
    given = prompts()
    logits = prefill(model, given, PAD).logits
    alone = torch.stack([model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in given])
    torch.testing.assert_close(logits.log_softmax(-1), alone.log_softmax(-1), rtol=1e-4, atol=1e-4)
    written = decode(prefill(model, given, PAD), greedy(3), {2}, 12)
    for ids, row in zip(given, written, strict=True):
        expected = by_hand(model, ids, 12)
        assert row == (expected[: expected.index(2) + 1] if 2 in expected else expected)
    assert len({tuple(row) for row in written}) == 3


@pytest.mark.parametrize(
    "given",
    [
        prompts(16, (1, 40)),  # the padding of the first is longer than what both begin with
        [tokens(20), tokens(20) + tokens(5, 1)],  # one is the beginning of the other
        prompts(0, (5, 9)),  # nothing in common
        prompts(30, (4,)),
        prompts(20, (0, 0, 0)),  # all equal
        [[5], [5, 6, 7], [8]],
    ],
    ids=["short", "beginning", "none", "one", "equal", "tiny"],
)
@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
@torch.inference_mode()
def test_prompts_of_any_lengths(kind, given):
    model = build(kind, **SHARING[kind])
    written = decode(prefill(model, given, PAD), greedy(len(given)), (), 6)
    assert written == [by_hand(model, ids, 6) for ids in given]


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_do_more_than_attend_are_left_to_generate(kind):
    assert shares_prefill(build(kind)) == (kind not in PLAIN)


@torch.inference_mode()
def test_each_token_is_read_once(read):
    """20 common tokens in one row, then the 3 and 7 of two queries side by side, then a token a candidate."""
    model = build("llama")
    shapes = read(model)
    first, second = prompts(20, (3, 7))
    decode(prefill(model, [first, second, first, second, first], PAD), greedy(5), (), 3)
    assert shapes == [(1, 20), (2, 7), (5, 1), (5, 1)]


@torch.inference_mode()
def test_a_row_that_ends_leaves_and_the_others_do_not_notice(read):
    model = build("llama")
    given = prompts(20, (3, 7, 1, 5, 6, 2))
    unended = [by_hand(model, ids, 10) for ids in given]
    stops = {unended[0][2], unended[3][0], unended[4][6]}
    ends = [next((place for place, one in enumerate(row) if one in stops), 9) for row in unended]
    assert len(set(ends)) > 2
    shapes = read(model)
    written = decode(prefill(model, given, PAD), greedy(6), stops, 10)
    assert written == [row[: end + 1] for row, end in zip(unended, ends, strict=True)]
    rows = [sum(end > step for end in ends) for step in range(9)]
    assert shapes[2:] == [(count, 1) for count in rows if count]


@torch.inference_mode()
def test_a_long_text_outgrows_its_room():
    """The keys' tensors are made longer by 128 tokens when they are full."""
    model = build("llama")
    given = prompts(20, (3, 7))
    assert decode(prefill(model, given, PAD), greedy(2), (), 140) == [by_hand(model, ids, 140) for ids in given]


@pytest.mark.parametrize(("window", "same"), [(4, True), (8, False)])
@torch.inference_mode()
def test_what_is_beyond_the_window_has_no_say(window, same):
    """Two prompts that differ in their seventh token from behind; one layer, so that it is not seen through another."""
    model = build("mistral", sliding_window=window, num_hidden_layers=1)
    first, second = prefill(model, [[*tokens(20), other, *tokens(6, 1)] for other in (11, 12)], PAD).logits
    assert torch.allclose(first, second, atol=1e-5) == same


@torch.inference_mode()
def test_an_adapter_is_read_too():
    model = add_adapter(build("llama"), LORA).eval()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    assert shares_prefill(model)
    with model.disable_adapter():
        base = by_hand(model, prompts()[0], 8)
    written = decode(prefill(model, prompts(), PAD), greedy(3), (), 8)
    assert written == [by_hand(model, ids, 8) for ids in prompts()]
    assert written[0] != base


@torch.inference_mode()
def test_settings_of_a_training_have_no_say():
    """A model that is trained has its cache off."""
    model = build("qwen3")
    expected = [by_hand(model, ids, 4) for ids in prompts()]
    model.config.use_cache = False
    assert decode(prefill(model, prompts(), PAD), greedy(3), (), 4) == expected


@torch.inference_mode()
def test_sixteen_bits_stay_sixteen_bits():
    model = build("qwen2", **SHARING["qwen2"]).to(torch.bfloat16)
    batch = prefill(model, prompts() * 2, PAD)
    decode(batch, greedy(6), (), 4)
    assert {one.keys.dtype for one in batch.cache.layers} == {torch.bfloat16}
    assert [one.keys.shape[:3] for one in batch.cache.layers] == [(6, 2, 20 + 7 + 3)] * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("chat"), llama3_tokenizer(eos="<|end_of_text|>"))


@pytest.fixture
def engine(folder):
    model, tokenizer = load_pretrained(folder, torch.float32)
    return HFEngine(model.eval(), tokenizer)


def candidates(sampling, texts=("a dog", "two cats that run over a wide field"), count=3):
    return [asked(text, sampling, seed=10 * k + n) for k in range(count) for n, text in enumerate(texts)]


@pytest.mark.parametrize("sampling", [Sampling(0.9, 0.9, 12), Sampling(0.7, 1.0, 12), Sampling(0, 1.0, 12)])
def test_candidates_are_those_of_generate(engine, sampling, monkeypatch):
    """transformers' own loop, which reads each prompt whole, takes the same tokens: the draws are the seed's."""
    together = engine.generate(candidates(sampling))
    monkeypatch.setattr("vpo.language.hf.shares_prefill", lambda model: False)
    assert engine.generate(candidates(sampling)) == together
    if sampling.temperature:
        assert len({one.text for one in together}) == 6


def test_candidates_come_together_wherever_they_stand(engine, read):
    """In batches of three; the requests alternate between two queries."""
    shapes = read(engine.model)
    in_threes = HFEngine(engine.model, engine.tokenizer, batch_size=3)
    sampling = Sampling(0.9, 1.0, 1)
    in_threes.generate(candidates(sampling))
    assert [rows for rows, _ in shapes] == [1, 1]
    one_by_one = [engine.generate([one])[0] for one in candidates(replace(sampling, max_new_tokens=9))]
    assert in_threes.generate(candidates(replace(sampling, max_new_tokens=9))) == one_by_one


def test_nothing_of_a_batch_is_kept(engine, monkeypatch):
    seen = []

    def watched(*given):
        batch = prefill(*given)
        seen.extend(weakref.ref(one) for one in (batch, batch.cache, batch.cache.layers[0].keys))
        return batch

    monkeypatch.setattr("vpo.language.hf.prefill", watched)
    engine.generate(candidates(Sampling(0.9, 1.0, 3)))
    gc.collect()
    assert [one() for one in seen] == [None] * 3


@pytest.mark.slow
def test_four_bits_read_together_what_they_read_alone(folder):
    pytest.importorskip("bitsandbytes")
    model, tokenizer = load_pretrained(folder, torch.float32, 4, device="cpu")
    engine = HFEngine(model.eval(), tokenizer)
    requests = candidates(Sampling(0, 1.0, 8))
    assert engine.generate(requests) == [engine.generate([one])[0] for one in requests]
