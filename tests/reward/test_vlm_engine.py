"""The engine of a vision-language model: true classes with random weights, against the model's own forward and generate."""

import numpy as np
import pytest
import torch

from tests.reward.asking import model_folder, moving
from vpo.records import Completion, Failure, Message, Request, Sampling
from vpo.reward.asking.engine import VisionEngine, footage_of
from vpo.video.jpegs import jpeg_urls, picture_of

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "internvl", "llava_onevision")


def engine(name, **more):
    return VisionEngine(str(model_folder(name)), None, "float32", "cpu", 3136, 12544, **more)


def pictures(seed=0):
    return jpeg_urls(moving(4, seed=seed), 3136, 12544, 95)


def asked(text, images=(), **more):
    return Request(messages=(Message("user", text, tuple(images)),), sampling=Sampling(max_new_tokens=6), **more)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_likeliest_text_is_the_models_own(name):
    """Token by token by whole forward passes, each of prompt and all that was written, without a cache."""
    made = engine(name)
    request = asked("Does it move?", pictures(), top_logprobs=5)
    (found,) = made.generate([request])
    inputs = made._inputs(request)
    start = inputs["input_ids"].shape[1]
    ids = inputs.pop("input_ids")
    inputs.pop("attention_mask")
    first = None
    with torch.no_grad():
        for _ in range(6):
            given = {**inputs, **made.reader.family.more(ids)}
            logits = made.reader.model(input_ids=ids, attention_mask=torch.ones_like(ids), **given).logits[0, -1]
            first = logits.softmax(-1) if first is None else first
            ids = torch.cat([ids, logits.argmax()[None, None]], 1)
            if int(ids[0, -1]) == made.reader.tokenizer.eos_token_id:
                break
    own = made.reader.tokenizer.decode(ids[0, start:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert found.text == own.strip()
    assert found.usage.tokens_in == start
    likeliest = sorted(range(len(first)), key=lambda token: -first[token])[:5]
    sums = {made.reader.tokenizer.decode([token]): 0.0 for token in likeliest}
    for token in likeliest:
        sums[made.reader.tokenizer.decode([token])] += float(first[token])
    assert found.first_tokens == pytest.approx(sums, rel=1e-3)
    made.close()


def test_pictures_matter_and_a_request_does_not_depend_on_its_batch():
    made = engine("qwen2_5_vl")
    drawn = [
        Request((Message("user", "What is it?", pictures(seed)),), (), Sampling(1.0, 1.0, 6), 7 + seed)
        for seed in (0, 3)
    ]
    together = made.generate(drawn)
    assert together == [made.generate([one])[0] for one in drawn]
    assert together == made.generate(drawn)
    assert together[0] != together[1]
    logits = [made.generate([asked("Is it red?", pictures(seed), top_logprobs=20)])[0].first_tokens for seed in (0, 3)]
    assert logits[0] != logits[1]


def test_turns_without_pictures_and_what_cannot_be_read():
    made = engine("qwen2_5_vl")
    text, broken, long, several = made.generate([
        asked("Write a question."), asked("What?", ["https://example.org/a.jpg"]), asked("x " * 40_000),
        Request(messages=(Message("user", "One?", pictures()), Message("assistant", "Yes."), Message("user", "Two?"))),
    ])  # fmt: skip
    assert isinstance(text, Completion)
    assert (broken.kind, long.kind, several.kind) == ("not_rendered", "too_long", "not_rendered")
    assert all(isinstance(one, Failure) and not one.retryable for one in (broken, long, several))


def test_pictures_become_frames_of_one_size():
    turn = Message("user", "?", (*pictures(), *jpeg_urls(np.full((1, 56, 112, 3), 90, np.uint8), 3136, 12544, 95)))
    footage = footage_of(turn)
    assert footage.frames.shape == (5, *picture_of(turn.images[0]).shape)
    assert np.abs(footage.frames[4].astype(int) - 90).max() <= 2
    assert footage.times == [0, 1, 2, 3, 4]
