"""MPS: its module against loops written from the description, its checkpoint, its text."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPModel

from tests.reward.clips import clip, named, node, reward
from vpo.errors import UserError
from vpo.records import Failure
from vpo.video.clips import read_mp4
from vpo.video.transforms import CLIP

OPTIONS = ("reward.revision=null", "reward.dtype=float32")


def role_of(tiny: Path, checkpoint: Path | None = None, *more: str):
    file = checkpoint or tiny / "mps/mps.safetensors"
    return reward("mps", f"reward.path={tiny / 'mps'}", f"reward.checkpoint={file}", *OPTIONS, *more)


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def norm(row, weight):
    return (row - row.mean()) / np.sqrt(row.var() + 1e-5) * weight


def feed(row, first, second):
    """The second matrix on the first half of the first's output times the SiLU of the other half."""
    wide = first @ row
    half = len(wide) // 2
    return second @ (wide[:half] * (wide[half:] / (1 + np.exp(-wide[half:]))))


def turned(row, place, inverse):
    """Pairs (i, i + d/2) as complex numbers, each turned by place * inverse[i]."""
    half = len(row) // 2
    spun = (row[:half] + 1j * row[half:]) * np.exp(1j * place * inverse)
    return np.concatenate([spun.real, spun.imag])


def by_loops(state, tokens, context, read):
    """The head on one frame: tokens (q, d), context (m, d), and which of the context's tokens are read."""
    for layer in range(2):
        part = {name.split(f"layers.{layer}.")[1]: value for name, value in state.items() if f"layers.{layer}." in name}
        head = len(part["0.fn.to_kv.weight"]) // 2
        rows = []
        for row in tokens:
            plain = norm(row, part["0.fn.norm.weight"])
            query, both = part["0.fn.to_q.weight"] @ plain, [part["0.fn.to_kv.weight"] @ one for one in context]
            outs = []
            for at in range(0, len(query), head):
                kept = [number for number in range(len(context)) if read[number]]
                shares = softmax([query[at : at + head] @ both[number][:head] / math.sqrt(head) for number in kept])
                outs.append(sum(share * both[number][head:] for share, number in zip(shares, kept, strict=True)))
            attended = part["0.fn.to_out.weight"] @ np.concatenate(outs)
            rows.append(row + attended + feed(plain, part["0.fn.ff.0.weight"], part["0.fn.ff.2.weight"]))
        tokens = np.stack(rows)
        whole = part["1.fn.fused_attn_ff_proj.weight"]
        inner = part["1.fn.attn_out.weight"].shape[1]
        plain = [norm(row, part["1.fn.norm.weight"]) for row in tokens]
        queries, keys, values = (
            [whole[start:stop] @ row for row in plain]
            for start, stop in ((0, inner), (inner, inner + head), (inner + head, inner + 2 * head))
        )
        inverse = part["1.fn.rotary_emb.inv_freq"]
        rows = []
        for place, row in enumerate(tokens):
            outs = []
            for at in range(0, inner, head):
                query = turned(queries[place][at : at + head], place, inverse)
                scores = [query @ turned(key, other, inverse) / math.sqrt(head) for other, key in enumerate(keys)]
                outs.append(sum(share * value for share, value in zip(softmax(scores), values, strict=True)))
            attended = part["1.fn.attn_out.weight"] @ np.concatenate(outs)
            rows.append(row + attended + feed(plain[place], whole[inner + 2 * head :], part["1.fn.ff_out.1.weight"]))
        tokens = np.stack(rows)
    return tokens[0]


@torch.inference_mode()
def test_the_score_is_that_of_the_description(tiny: Path, tmp_path: Path) -> None:
    one = clip(tmp_path / "a.mp4", "a red dog runs")
    role = role_of(tiny, None, "reward.condition='light, color'")  # by which the tiny model hides some tokens
    (score,) = role.score([one])
    role.close()

    model, folder = CLIPModel.from_pretrained(tiny / "mps").double().eval(), tiny / "mps"
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def text(words):
        ids = tokenizer(words, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
        found = model.text_model(ids)
        return [model.text_projection(part)[0].numpy() for part in (found.last_hidden_state, found.pooler_output)]

    (words, ending), (about, _) = text(one.query), text("light, color")
    likeness = (words @ about.T).max(1)
    read = likeness / likeness.max() > 0.3
    assert 0 < read.sum() < 77, "the mask must matter"
    state = {name: value.double().numpy() for name, value in load_file(folder / "mps.safetensors").items()}
    pixels = CLIP.of_size(28)(read_mp4(Path(one.path))[0][[0, 1, 3, 4]]).double()  # 0, 1.5, 3, 4.5
    images = model.visual_projection(model.vision_model(pixels).last_hidden_state).numpy()
    assert images.shape == (4, 5, 64)  # four patches and the class
    seen = [by_loops(state, tokens, words, read) for tokens in images]
    cosines = [row @ ending / np.linalg.norm(row) / np.linalg.norm(ending) for row in seen]
    expected = float(model.logit_scale.exp()) * np.mean(cosines)
    assert score.value == pytest.approx(expected, rel=1e-3)
    assert len({round(value, 4) for value in cosines}) == 4


def test_clips_weights_of_the_checkpoint_take_the_place_of_the_hubs(tiny: Path, tmp_path: Path) -> None:
    """The released one was trained as a whole; another reward on the same CLIP keeps its own weights."""
    one, state = clip(tmp_path / "a.mp4"), load_file(tiny / "mps/mps.safetensors")
    trained = {f"model.{name}": 1.5 * value for name, value in load_file(tiny / "mps/model.safetensors").items()}
    save_file(state | trained, tmp_path / "whole.safetensors")
    torch.save(state | trained, tmp_path / "whole.pth")
    plain, whole, pickled = (
        role_of(tiny),
        role_of(tiny, tmp_path / "whole.safetensors"),
        role_of(tiny, tmp_path / "whole.pth"),
    )
    values = [role.score([one])[0].value for role in (plain, whole, pickled, plain)]
    for role in (plain, whole, pickled):
        role.close()
    assert values[0] == values[3] != values[1]
    assert values[1] == values[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.pth", r"reward\.checkpoint=.*none\.pth: no such file"),
        ("module.pth", r"module\.pth: cannot be read safely .*save its state_dict\(\) as safetensors"),
        ("other.safetensors", r"other\.safetensors: is no state dict of MPS"),
        ("part.safetensors", r"part\.safetensors: is no state dict of MPS"),
    ],
)
def test_other_checkpoints_are_refused(tiny: Path, tmp_path: Path, name: str, message: str) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    state = load_file(tiny / "mps/mps.safetensors")
    state.pop("cross_model.layers.1.1.fn.attn_out.weight")
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=message):
        role_of(tiny, tmp_path / name).score([clip(tmp_path / "a.mp4")])


def test_without_a_checkpoint_it_says_where_to_get_one(tiny: Path, tmp_path: Path) -> None:
    role = reward("mps", f"reward.path={tiny / 'mps'}", *OPTIONS)
    with pytest.raises(UserError, match=r"reward\.checkpoint: MPS's weights are on Google Drive only"):
        role.score([clip(tmp_path / "a.mp4")])


def test_the_condition_is_the_released_one() -> None:
    words = node("mps")["condition"]
    assert len(words.split(", ")) == 22
    assert words.startswith("light, color, clarity")
    assert words.endswith("location, word, things.")


def test_an_unreadable_clip_is_a_failure(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").write_bytes(b"")
    role = role_of(tiny)
    found = role.score([named(tmp_path / "zero.mp4"), clip(tmp_path / "one.mp4", count=1)])
    role.close()
    assert isinstance(found[0], Failure)
    assert found[1].value is not None
