"""ViCLIP against transformers' CLIP, whose towers it is made of: the same weights under other names give the same numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.vision_models import write_models
from vpo.errors import UserError
from vpo.video.models import Place
from vpo.video.viclip import Viclip, load_viclip

WIDTH, OUT, LAYERS = 64, 32, 2
LINEAR = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"), "viclip", "clip_l14")


@pytest.fixture(scope="module")
def state(folder: Path) -> Mapping[str, torch.Tensor]:
    found: dict[str, Mapping[str, torch.Tensor]] = torch.load(folder / "viclip/viclip.pth", weights_only=True)
    return found["model"]


def blocks(state: Mapping[str, torch.Tensor], tower: str, to: str) -> dict[str, torch.Tensor]:
    """The blocks of a tower by the names of transformers' CLIP."""
    found = {}
    for layer in range(LAYERS):
        old, new = f"{tower}.transformer.resblocks.{layer}", f"{to}.encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            found |= {f"{new}.{mine}.{kind}": state[f"{old}.{theirs}.{kind}"] for mine, theirs in LINEAR.items()}
            parts = state[f"{old}.attn.in_proj_{kind}"].chunk(3)
            found |= {f"{new}.self_attn.{q}_proj.{kind}": part for q, part in zip("qkv", parts, strict=True)}
    return found


def of_clip(state: Mapping[str, torch.Tensor]) -> CLIPVisionModelWithProjection:
    """An image tower with these weights, which sees one frame."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=WIDTH // 64, image_size=28,
        patch_size=14, projection_dim=OUT, hidden_act="quick_gelu",
    )  # fmt: skip
    model = CLIPVisionModelWithProjection(config).eval()
    own = "vision_encoder"
    names = {
        "vision_model.embeddings.class_embedding": state[f"{own}.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state[f"{own}.conv1.weight"].squeeze(2),
        "vision_model.embeddings.position_embedding.weight": state[f"{own}.positional_embedding"],
        "visual_projection.weight": state[f"{own}.proj"].T,
    }
    for kind in ("weight", "bias"):
        names[f"vision_model.pre_layrnorm.{kind}"] = state[f"{own}.ln_pre.{kind}"]
        names[f"vision_model.post_layernorm.{kind}"] = state[f"{own}.ln_post.{kind}"]
    report = model.load_state_dict(names | blocks(state, own, "vision_model"), strict=False)
    assert not report.unexpected_keys
    assert all("position_ids" in name for name in report.missing_keys)
    return model


@torch.no_grad()
def test_one_frame_is_clips_image(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Without positions in time, and shown one frame, it is CLIP's image tower."""
    model = load_viclip(str(folder / "viclip/viclip.pth"), "key").vision_encoder
    model.temporal_positional_embedding = torch.nn.Parameter(torch.zeros(1, 1, WIDTH))
    pixels = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = of_clip(state)(pixel_values=pixels).image_embeds
    assert torch.allclose(model(pixels.unsqueeze(2)), expected, atol=1e-4)


@torch.no_grad()
def test_frames_stand_in_one_sequence_with_their_times(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """All patches behind one class token: CLIP's own blocks on a sequence that is put together here, by frame and by patch."""
    pixels = torch.randn(1, 3, 8, 28, 28, generator=torch.Generator().manual_seed(1))
    clip = of_clip(state).vision_model
    places, times = (
        state["vision_encoder.positional_embedding"],
        state["vision_encoder.temporal_positional_embedding"][0],
    )
    tokens = [clip.embeddings.class_embedding + places[0]]
    for t in range(8):
        patches = clip.embeddings.patch_embedding(pixels[:, :, t]).flatten(2)[0].T
        tokens += [patch + places[1 + n] + times[t] for n, patch in enumerate(patches)]
    hidden = clip.encoder(inputs_embeds=clip.pre_layrnorm(torch.stack(tokens).unsqueeze(0))).last_hidden_state
    expected = clip.post_layernorm(hidden[:, 0]) @ state["vision_encoder.proj"]
    model = load_viclip(str(folder / "viclip/viclip.pth"), "key")
    assert model.frames == 8
    found = model.vision_encoder(pixels)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(model.vision_encoder(pixels.flip(2)), found, atol=1e-2), "time changes nothing here"


@torch.no_grad()
def test_texts_are_clips(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    model = Viclip(str(folder / "viclip/viclip.pth"), Place(str(folder / "clip_l14")), "cpu", "key", "other")
    own = "text_encoder"
    config = CLIPTextConfig(
        vocab_size=512, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=WIDTH // 64,
        max_position_embeddings=32, projection_dim=OUT, hidden_act="quick_gelu", eos_token_id=model.tokenizer.eos_token_id,
    )  # fmt: skip
    clip = CLIPTextModelWithProjection(config).eval()
    names = {
        "text_model.embeddings.token_embedding.weight": state[f"{own}.token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state[f"{own}.positional_embedding"],
        "text_projection.weight": state[f"{own}.text_projection"].T,
    }
    for kind in ("weight", "bias"):
        names[f"text_model.final_layer_norm.{kind}"] = state[f"{own}.ln_final.{kind}"]
    report = clip.load_state_dict(names | blocks(state, own, "text_model"), strict=False)
    assert not report.unexpected_keys
    assert all("position_ids" in name for name in report.missing_keys)
    texts = ["a fox", "a fox runs over a field of snow, and jumps over a wide stream"]  # longer than 32 bytes
    found = model.texts(texts)
    for text, one in zip(texts, found, strict=True):
        ids = model.tokenizer(text).input_ids
        ids = ids if len(ids) <= 32 else [*ids[:31], model.tokenizer.eos_token_id]
        expected = clip(input_ids=torch.tensor([ids])).text_embeds[0]
        assert torch.allclose(one, expected / expected.norm(), atol=1e-4)
    assert len(model.tokenizer(texts[1]).input_ids) > 32
    model.close()


def test_clips_are_of_length_one_and_differ(folder: Path) -> None:
    model = Viclip(str(folder / "viclip/viclip.pth"), Place(str(folder / "clip_l14")), "cpu", "key", "other")
    random = np.random.default_rng(0)
    clips = [random.integers(0, 256, (8, high, wide, 3), dtype=np.uint8) for high, wide in [(48, 70), (64, 40)]]
    found = torch.stack([model.embedding(one) for one in clips])
    assert found.norm(dim=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert float(found[0] @ found[1]) < 0.9999


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"model": {name: one for name, one in state.items() if "conv1" not in name}}, "is no ViCLIP"),
        (lambda state: {"model": {name: one for name, one in state.items() if "ln_final" not in name}}, "is no ViCLIP"),
        (lambda state: [1, 2], "cannot be read safely"),
    ],
)
def test_what_is_no_viclip_is_refused(folder: Path, tmp_path: Path, state, change, message: str) -> None:
    torch.save(change(dict(state)), tmp_path / "other.pth")
    with pytest.raises(UserError, match=message):
        load_viclip(str(tmp_path / "other.pth"), "key")
    for file in (None, str(tmp_path / "none.pth")):
        with pytest.raises(UserError, match="hf download OpenGVLab/VBench_Used_Models"):
            load_viclip(file, "key")
