"""Positions: what configs say, what a run asks for, and what a training leaves out."""

import shutil

import pytest
from transformers import (
    BloomConfig,
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    OPTConfig,
    Qwen2Config,
)

from tests.chat_models import llama3_tokenizer
from tests.language.folders import prepare
from tests.training_jobs import job, train_here
from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.limits import Limits, positions_of
from vpo.records import Example, Query
from vpo.stages.start import check_prompts
from vpo.storage.rows import read_rows, write_rows
from vpo.storage.store import Entry
from vpo.templates import read_template


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        (GPT2Config(n_positions=128), 128),
        (OPTConfig(max_position_embeddings=64), 64),
        (GPTNeoConfig(max_position_embeddings=32), 32),
        (MptConfig(max_seq_len=48), 48),  # its table of ALiBi biases ends there
        (LlamaConfig(max_position_embeddings=100), 100),
        (LlamaConfig(max_position_embeddings=100, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}), 200),
        (
            Qwen2Config(
                max_position_embeddings=64,
                rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e6},
            ),
            256,
        ),
        (Gemma3TextConfig(max_position_embeddings=80), 80),
        (BloomConfig(seq_length=16), None),
        (FalconConfig(alibi=True, max_position_embeddings=16), None),
        (FalconConfig(alibi=False, max_position_embeddings=16), 16),
        (MambaConfig(), None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int | None) else str(value),
)  # fmt: skip
def test_the_longest_sequence_by_the_config(config, positions):
    assert positions_of(config) == positions


def save_gpt2(folder, positions):
    tokenizer = llama3_tokenizer()
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 4}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=positions, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def asked(tmp_path):
    """Check a GPT-2 of so many positions against queries and new tokens; the rendered query has `longest` tokens."""
    texts = {"sft": "a dog", "dpo": "a dog and a cat", "test": "two cats that run over a wide field at night, naïvely"}
    queries = Entry("queries", "key", tmp_path / "queries")
    queries.folder.mkdir()
    for split, text in texts.items():
        write_rows(queries.folder / f"{split}.jsonl", [Query(split, text)])
    longest = len(Renderer(llama3_tokenizer(), read_template("optimizer")).prompt_ids(texts["test"]))

    def check(positions, new_tokens):
        model = save_gpt2(tmp_path / f"gpt2-{positions}", positions)
        start = Entry("start", "key", tmp_path / f"entry-{positions}")
        shutil.copytree(prepare(model), start.folder / "policy", dirs_exist_ok=True)
        assert Limits.read(start.folder / "policy").positions == positions
        check_prompts(start, queries, {"model": str(model), "template": "optimizer"}, new_tokens)

    return check, longest


def test_prompts_and_what_is_sampled_must_fit_into_the_positions(asked):
    check, longest = asked
    check(longest + 24, {"sampling.max_new_tokens": 24, "method.sft.max_new_tokens": 8})
    check(longest - 1, {})  # nothing is sampled
    message = (
        rf"it reads at most {longest + 23} tokens, and the longest prompt \(query test\) has {longest} and is to get up to 24 more "
        r"\(sampling.max_new_tokens\); set sampling.max_new_tokens to at most 23, or use a model with more positions"
    )
    with pytest.raises(UserError, match=message):
        check(longest + 23, {"sampling.max_new_tokens": 24, "method.sft.max_new_tokens": 8})
    with pytest.raises(
        UserError, match=r"\(method.sft.max_new_tokens\); shorten the query or the template, or use a model"
    ):
        check(longest - 40, {"method.sft.max_new_tokens": 8})


def test_rows_beyond_the_positions_are_left_out_of_training(tmp_path):
    """The job's completions grow from row to row; the recipe alone would take all of them, and GPT-2 has no place for some."""
    tokenizer = llama3_tokenizer()
    renderer = Renderer(tokenizer, read_template("tiny"))
    start = save_gpt2(tmp_path / "model", 100)
    spec = job(tmp_path / "sft", start, recipe={"max_steps": 2, "max_length": 512, "prompts": 2})
    rows = read_rows(tmp_path / "sft/rows.jsonl", Example)
    lengths = [len(renderer.prompt_ids(one.query)) + len(renderer.completion_ids(one.completion)) for one in rows]
    assert any(one > 100 for one in lengths)
    assert any(one <= 100 for one in lengths)
    assert train_here(spec) == 0
