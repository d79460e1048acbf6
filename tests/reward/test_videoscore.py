"""VideoScore's head on transformers' Idefics2: keys, text, frames, and the numbers of an independent path."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, Idefics2ForConditionalGeneration
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

from tests.reward.clips import clip, named, reward
from vpo.errors import UserError
from vpo.records import Failure
from vpo.templates import template_text
from vpo.video.clips import read_mp4

OPTIONS = ("reward.revision=null", "reward.dtype=float32")


def test_the_keys_are_those_of_released_checkpoints(tiny: Path) -> None:
    """model.* as Idefics2ForConditionalGeneration has them, and a head with a bias; no head of a language model."""
    names = set(load_file(tiny / "videoscore/model.safetensors"))
    assert {"score.weight", "score.bias"} <= names
    assert {name.split(".")[0] for name in names} == {"model", "score"}
    assert {name.split(".")[1] for name in names if name.startswith("model")} == {
        "vision_model",
        "connector",
        "text_model",
    }
    role = reward("videoscore", f"reward.path={tiny / 'videoscore'}", *OPTIONS)
    loaded = role.lease.get().model
    state = load_file(tiny / "videoscore/model.safetensors")
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    role.close()


@torch.inference_mode()
def test_the_numbers_are_the_heads_on_the_last_token(tiny: Path, tmp_path: Path) -> None:
    one = clip(tmp_path / "a.mp4", 'a dog says "hi {}"', count=20)
    role = reward("videoscore", f"reward.path={tiny / 'videoscore'}", *OPTIONS, "reward.frames='steps 3'")
    (score,) = role.score([one])
    role.close()

    folder = tiny / "videoscore"
    frames = read_mp4(Path(one.path))[0][[0, 6, 13]]  # 20/3 = 6.67
    text = template_text("videoscore").replace("{}", one.query) + "<image> <image> <image> "
    image = "<fake_token_around_image>" + "<image>" * 4 + "<fake_token_around_image>"
    ids = AutoTokenizer.from_pretrained(folder)(text.replace("<image>", image)).input_ids
    pixels = Idefics2ImageProcessorPil.from_pretrained(folder)(
        [[Image.fromarray(f) for f in frames]], return_tensors="pt"
    )
    base = Idefics2ForConditionalGeneration.from_pretrained(folder).eval()
    states = base(input_ids=torch.tensor([ids]), **pixels, output_hidden_states=True).hidden_states[-1][0, -1]
    weights = load_file(folder / "model.safetensors")
    expected = (weights["score.weight"] @ states + weights["score.bias"]).tolist()
    assert list(score.dimensions) == ["VQ", "TC", "DD", "TVA", "FC"]
    assert list(score.dimensions.values()) == pytest.approx(expected, abs=1e-4)
    assert score.value == pytest.approx(sum(expected) / 5, abs=1e-4)
    assert len(set(score.dimensions.values())) == 5


def test_query_and_frames_count_and_the_prompt_does_not(tiny: Path, tmp_path: Path) -> None:
    one, other = clip(tmp_path / "a.mp4"), clip(tmp_path / "b.mp4", seed=1)
    role = reward("videoscore", f"reward.path={tiny / 'videoscore'}", *OPTIONS, "reward.frames='steps 2'")
    clips = [one, dataclasses.replace(one, prompt="x"), dataclasses.replace(one, query="x"), other]
    values = [score.value for score in role.score(clips)]
    assert values[0] == values[1]
    assert len({round(value, 5) for value in values}) == 3
    # A query that names the mark of a frame is text like any other, and no frame that is missing.
    (marked,) = role.score([dataclasses.replace(one, query="an <image> of a dog </s>")])
    assert marked.value is not None
    role.close()


def test_the_text_is_that_of_the_released_script() -> None:
    text = template_text("videoscore")
    assert text.startswith("\nSuppose you are an expert in judging")
    assert 'For this video, the text prompt is "{}",\nall the frames of video are as follows:\n' in text
    assert text.endswith("as follows:\n")
    assert "in that sub-score, \nthe lowest" in text  # with its space


def test_what_cannot_be_scored_is_a_failure(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").write_bytes(b"")
    role = reward("videoscore", f"reward.path={tiny / 'videoscore'}", *OPTIONS)
    found = role.score([named(tmp_path / "zero.mp4"), clip(tmp_path / "one.mp4", count=1)])
    assert isinstance(found[0], Failure)
    assert found[0].kind == "unreadable"
    assert found[1].value is not None
    with torch.no_grad():
        role.lease.get().model.score.bias[2] = float("inf")
    assert role.score([clip(tmp_path / "one.mp4", count=1)])[0].kind == "not_finite"
    role.close()


def test_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    for folder, message in ((tiny / "clip_b32", "a model of type clip, and reward.path takes idefics2"),):
        with pytest.raises(UserError, match=message):
            reward("videoscore", f"reward.path={folder}", *OPTIONS).score([clip(tmp_path / "a.mp4")])
