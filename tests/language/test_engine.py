"""Requests in, completions out: the engine that holds a transformers model."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.chat_models import llama3_tokenizer, save_llama
from tests.training_jobs import WORDS
from vpo.backbone.hf import HFBackbone
from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.hf import HFEngine, PretrainedEngine
from vpo.language.policy import InstructedPolicy, TrainedPolicy
from vpo.records import Completion, Failure, Message, Request, Sampling, Usage
from vpo.templates import read_template

WARM = Sampling(0.9, 0.9, 12)
END_OF_TEXT, EOT = 1, 4  # ids of Llama 3's two stops in `llama3_tokenizer`


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in Llama 3's chat format that reads 2048 tokens."""
    return save_llama(tmp_path_factory.mktemp("chat"), llama3_tokenizer(eos="<|end_of_text|>"))


@pytest.fixture
def engine(folder):
    model, tokenizer = load_pretrained(folder, torch.float32)
    return HFEngine(model.eval(), tokenizer)


def asked(text, sampling=WARM, seed=0):
    return Request(messages=(Message("user", text),), sampling=sampling, seed=seed)


def always(engine, token):
    """Whatever it reads, this token is next."""
    head = torch.nn.Linear(engine.model.config.hidden_size, engine.model.config.vocab_size)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    head.bias.data[token] = 1.0
    engine.model.lm_head = head
    return engine


def by_hand(model, ids, count):
    """Greedy decoding of one sequence, without padding, cache or `generate`."""
    ids = list(ids)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-count:]


def test_a_completion_depends_on_its_own_request_alone(engine):
    """Alone, among others of other seeds and lengths, and beside other samplings: the same text."""
    requests = [asked(words, seed=seed) for seed, words in enumerate(WORDS)]
    others = [asked(WORDS[0], Sampling(0, 1.0, 5)), asked(WORDS[1], Sampling(0.7, 1.0, 30), seed=9)]
    alone = [engine.generate([request])[0] for request in requests]
    assert engine.generate(requests) == alone
    mixed = engine.generate([others[0], *requests[:2], others[1], *requests[2:]])
    assert [*mixed[1:3], *mixed[4:]] == alone
    assert [mixed[0], mixed[3]] == [engine.generate([other])[0] for other in others]
    assert engine.generate([replace(one, seed=one.seed + 50) for one in requests]) != alone


def test_batches_of_an_engine_change_nothing(engine):
    requests = [asked(words, seed=seed) for seed, words in enumerate(WORDS)]
    in_twos = HFEngine(engine.model, engine.tokenizer, batch_size=2)
    assert in_twos.generate(requests) == engine.generate(requests)
    assert engine.generate([]) == []


def test_a_greedy_completion_is_the_likeliest_token_at_every_place(engine):
    ids = Renderer(engine.tokenizer, "{}").prompt_ids(WORDS[0])
    expected = by_hand(engine.model, ids, 8)
    assert not {END_OF_TEXT, EOT} & set(expected)
    requests = [asked(words, Sampling(0, 1.0, 8)) for words in (WORDS[0], "a much longer query than the other one")]
    first = engine.generate(requests)[0]
    assert first.text == engine.tokenizer.decode(expected).strip()
    assert first.usage == Usage(len(ids), 8)


@pytest.mark.parametrize("token", [END_OF_TEXT, EOT])
def test_a_model_that_ends_says_stop_and_its_last_token_counts(engine, token):
    (done,) = always(engine, token).generate([asked("a dog", Sampling(0, 1.0, 6))])
    assert (done.text, done.finish_reason, done.usage.tokens_out, done.cut) == ("", "stop", 1, False)


def test_a_model_that_does_not_end_says_length(engine):
    letter = engine.tokenizer.convert_tokens_to_ids("x")
    (done,) = always(engine, letter).generate([asked("a dog", Sampling(0, 1.0, 6))])
    assert (done.text, done.finish_reason, done.usage.tokens_out, done.cut) == ("xxxxxx", "length", 6, True)
    # BOS, four tokens around the role "user" and its lines, the text, and so on: what the renderer counts
    assert done.usage.tokens_in == len(Renderer(engine.tokenizer, "{}").prompt_ids("a dog"))


def test_a_row_that_ends_before_its_neighbours_says_stop(engine):
    """The shorter prompt's row is filled up behind its end; the filling is not counted."""
    ends = {7: EOT}  # the model writes the end behind token 7, else 7

    class Head(torch.nn.Module):
        def forward(self, hidden):
            logits = torch.zeros(*hidden.shape[:-1], engine.model.config.vocab_size)
            for row in range(hidden.shape[0]):
                logits[row, :, ends.get(engine.last[row], 7)] = 1.0
            return logits

    original = engine.model.forward

    def forward(input_ids=None, **named):
        engine.last = input_ids[:, -1].tolist()
        return original(input_ids=input_ids, **named)

    engine.model.forward, engine.model.lm_head = forward, Head()
    rows = engine.generate(
        [
            Request(prompt_ids=(9, 9, 9, 7), sampling=Sampling(0, 1.0, 4)),
            Request(prompt_ids=(9,), sampling=Sampling(0, 1.0, 4)),
        ]
    )
    assert [(one.usage, one.finish_reason) for one in rows] == [(Usage(4, 1), "stop"), (Usage(1, 2), "stop")]


def test_a_prompt_that_fills_the_model_fails_alone_and_a_long_completion_is_cut(engine):
    """2048 positions: 2048 prompt tokens leave none, 2045 leave three."""
    letter = engine.tokenizer.convert_tokens_to_ids("x")
    sampling = Sampling(0, 1.0, 5)
    requests = [
        Request(prompt_ids=(letter,) * 2048, sampling=sampling),
        Request(prompt_ids=(letter,) * 2045, sampling=sampling),
        Request(prompt_ids=(letter,), sampling=sampling),
    ]
    full, cut, short = always(engine, letter).generate(requests)
    assert isinstance(full, Failure)
    assert (full.kind, full.retryable) == ("too_long", False)
    assert "2048 tokens" in full.detail
    assert (cut.text, cut.finish_reason, cut.usage) == ("xxx", "length", Usage(2045, 3))
    assert (short.text, short.usage) == ("xxxxx", Usage(1, 5))


def test_a_model_with_learned_positions_runs_beside_a_nearly_full_row(start):
    """GPT-2 looks its positions up in a table: one step beyond it, and the whole batch would fail."""
    tokenizer = load_pretrained(start, torch.float32)[1]
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1
    )
    engine = always(HFEngine(GPT2LMHeadModel(config).eval(), tokenizer), 9)
    long, short = engine.generate(
        [
            Request(prompt_ids=(5,) * 14, sampling=Sampling(0, 1.0, 8)),
            Request(prompt_ids=(5,) * 3, sampling=Sampling(0, 1.0, 8)),
        ]
    )
    assert (long.usage, short.usage) == (Usage(14, 2), Usage(3, 8))


def test_a_users_turn_and_its_rendered_ids_are_the_same_request(engine):
    """A policy's request (ids) and any engine's (a turn with the template's text) give the same text."""
    template = read_template("optimizer")
    trained = TrainedPolicy(engine, Renderer(engine.tokenizer, template))
    asked_for = InstructedPolicy(engine, template)
    for query in (*WORDS, "  a dog, naïve, 狗, with  two spaces  "):
        ids, turn = trained.request(query, WARM, 3), asked_for.request(query, WARM, 3)
        assert (ids.messages, turn.prompt_ids) == ((), ())
        assert engine.generate([ids]) == engine.generate([turn])


def test_the_models_own_generation_config_has_no_say(engine):
    """A repetition penalty of 0.001 would make every token that was seen once win for ever."""
    before = engine.generate([asked("a red dog runs", seed=3)])
    engine.model.generation_config.repetition_penalty = 0.001
    assert engine.generate([asked("a red dog runs", seed=3)]) == before
    assert engine.model.generation_config.repetition_penalty == 0.001


def test_a_tokenizer_without_pad_is_filled_with_eos_which_is_always_masked(engine):
    """A sample does not depend on its neighbours, so neither on what fills the shorter rows."""
    assert engine.tokenizer.pad_token is None
    requests = [asked("a dog", seed=1), asked("two cats that run over a wide field at night", seed=2)]
    assert engine.generate(requests) == [engine.generate([one])[0] for one in requests]


def test_a_closed_engine_holds_no_model(folder):
    model, tokenizer = load_pretrained(folder, torch.float32)
    engine = HFEngine(model.eval(), tokenizer)
    assert isinstance(engine.generate([asked("a dog")])[0], Completion)
    policy = TrainedPolicy(engine, Renderer(tokenizer, "{}"))
    seen = weakref.ref(model)
    del model
    policy.close()
    gc.collect()
    assert seen() is None
    policy.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.generate([asked("a dog")])


def test_an_engine_of_a_folder_writes_what_the_backbone_of_that_folder_writes(folder):
    backbone = HFBackbone(str(folder), None, "optimizer", True, "float32", "cpu")
    policy = backbone.load(folder)
    loaded = PretrainedEngine(str(folder), None, "float32", "cpu", None, 2)
    requests = [InstructedPolicy(loaded, read_template("optimizer")).request(one, WARM, 5) for one in WORDS]
    assert loaded.generate(requests) == policy.engine.generate([policy.request(one, WARM, 5) for one in WORDS])


def test_an_engines_model_that_cannot_be_loaded_names_the_engines_key(tmp_path):
    with pytest.raises(UserError, match=r"^engine\.model=/nowhere: no such folder"):
        PretrainedEngine("/nowhere", None, "float32", "cpu", None, 2)
    with pytest.raises(UserError, match=r"^engine\.model=") as caught:
        PretrainedEngine(str(tmp_path), None, "float32", "cpu", None, 2)
    assert "backbone" not in str(caught.value)


@pytest.mark.slow
def test_an_engine_of_4_bits_generates(folder):
    pytest.importorskip("bitsandbytes")
    (done,) = PretrainedEngine(str(folder), None, "float32", "cpu", 4, 2).generate([asked("a dog")])
    assert done.usage.tokens_out >= 1
