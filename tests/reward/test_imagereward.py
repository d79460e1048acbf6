"""ImageReward: transformers' BLIP under the released names, against its layers written out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv2d, gelu, layer_norm, linear
from transformers import AutoTokenizer

from tests.reward.clips import clip, named, reward
from vpo.errors import UserError
from vpo.records import Failure
from vpo.video.clips import read_mp4
from vpo.video.transforms import CLIP


def role_of(tiny: Path, checkpoint: Path | None = None):
    file = checkpoint or tiny / "imagereward/imagereward.safetensors"
    return reward(
        "imagereward", f"reward.path={tiny / 'imagereward'}", "reward.revision=null", f"reward.checkpoint={file}",
        "reward.frames='middle 3'",
    )  # fmt: skip


class Layers:
    """The released weights, and the layers of ViT and BERT by their names. One head of attention: 64 numbers."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = {name: value.double() for name, value in state.items()}

    def dense(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps)

    def picture(self, image: torch.Tensor) -> torch.Tensor:
        """(3, 28, 28) to (5, 64)."""
        at = "blip.visual_encoder."
        weight, bias = (self.state[f"{at}patch_embed.proj.{one}"] for one in ("weight", "bias"))
        patches = conv2d(image[None], weight, bias, stride=14)[0].flatten(1).T
        x = torch.cat([self.state[at + "cls_token"][0], patches]) + self.state[at + "pos_embed"][0]
        for layer in range(2):
            block = f"{at}blocks.{layer}."
            query, key, value = self.dense(block + "attn.qkv", self.norm(block + "norm1", x, 1e-6)).split(64, -1)
            x = x + self.dense(block + "attn.proj", (query @ key.T / 8).softmax(-1) @ value)
            x = x + self.dense(
                block + "mlp.fc2", gelu(self.dense(block + "mlp.fc1", self.norm(block + "norm2", x, 1e-6)))
            )
        return self.norm(at + "norm", x, 1e-6)

    def attend(self, name: str, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            self.dense(f"{name}.self.{one}", from_)
            for one, from_ in (("query", x), ("key", context), ("value", context))
        )
        mixed = (query @ key.T / 8).softmax(-1) @ value
        return self.norm(f"{name}.output.LayerNorm", x + self.dense(f"{name}.output.dense", mixed), 1e-12)

    def score(self, image: torch.Tensor, ids: list[int]) -> float:
        seen, at = self.picture(image), "blip.text_encoder."
        x = self.state[f"{at}embeddings.word_embeddings.weight"][ids]
        x = x + self.state[f"{at}embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(f"{at}embeddings.LayerNorm", x, 1e-12)
        for layer in range(2):
            name = f"{at}encoder.layer.{layer}."
            x = self.attend(f"{name}attention", x, x)
            x = self.attend(f"{name}crossattention", x, seen)
            wide = gelu(self.dense(f"{name}intermediate.dense", x))
            x = self.norm(f"{name}output.LayerNorm", x + self.dense(f"{name}output.dense", wide), 1e-12)
        x = x[0]
        for place in (0, 2, 4, 6, 7):
            x = self.dense(f"mlp.layers.{place}", x)
        return (float(x) - 0.16717362830052426) / 1.0333394966054072


def test_the_score_is_that_of_the_layers(tiny: Path, tmp_path: Path) -> None:
    clips = [clip(tmp_path / "a.mp4", "a dog"), clip(tmp_path / "b.mp4", "x" * 100, 1)]
    role = role_of(tiny)
    scores = role.score(clips)
    role.close()
    layers = Layers(load_file(tiny / "imagereward/imagereward.safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(tiny / "imagereward")
    for one, score in zip(clips, scores, strict=True):
        ids = tokenizer(one.query).input_ids
        ids = ids if len(ids) <= 35 else [*ids[:34], ids[-1]]  # padding is not read
        pixels = CLIP.of_size(28)(read_mp4(Path(one.path))[0][[0, 2, 4]]).double()
        numbers = [layers.score(image, ids) for image in pixels]
        assert score.value == pytest.approx(sum(numbers) / 3, abs=1e-4)
        assert max(numbers) - min(numbers) > 1e-3
    assert scores[0].value != scores[1].value


@pytest.mark.parametrize("left_out", ["blip.visual_encoder.blocks.1.norm1.weight", "mlp.layers.4.weight",
                                      "blip.text_encoder.encoder.layer.0.crossattention.self.key.bias"])  # fmt: skip
def test_an_incomplete_checkpoint_is_refused(tiny: Path, tmp_path: Path, left_out: str) -> None:
    state = load_file(tiny / "imagereward/imagereward.safetensors")
    state.pop(left_out)
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"part\.safetensors: is no state dict of ImageReward .*give ImageReward\.pt"):
        role_of(tiny, tmp_path / "part.safetensors").score([clip(tmp_path / "a.mp4")])


def test_without_a_checkpoint_it_says_where_to_get_one(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reward\.checkpoint: .*give ImageReward\.pt of zai-org/ImageReward"):
        reward("imagereward", f"reward.path={tiny / 'clip_b32'}").score([clip(tmp_path / "a.mp4")])


def test_an_unreadable_clip_is_a_failure(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").write_bytes(b"")
    role = role_of(tiny)
    found = role.score([named(tmp_path / "zero.mp4"), clip(tmp_path / "one.mp4", count=1)])
    role.close()
    assert isinstance(found[0], Failure)
    assert found[1].value is not None
