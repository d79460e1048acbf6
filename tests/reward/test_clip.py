"""CLIP similarity and the aesthetic score: the plain model's own numbers, and what becomes of clips that have none."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPModel

from tests.reward.clips import clip, named, reward
from vpo.errors import UserError
from vpo.records import Failure, Score
from vpo.reward.aesthetic import read_head
from vpo.video.clips import read_mp4
from vpo.video.transforms import CLIP, CLIP_OF_VBENCH, Transform

SHARED = Path(__file__).resolve().parents[3] / "shared/data/laion_aesthetic"


@torch.inference_mode()
def embeddings(folder: Path, path: str, frames: list[int], transform: Transform = CLIP) -> np.ndarray:
    """Of frames by plain transformers, scaled to length 1."""
    model = CLIPModel.from_pretrained(folder).eval()
    pixels = transform.of_size(28)(read_mp4(Path(path))[0][frames])
    vectors = model.get_image_features(pixel_values=pixels).pooler_output.numpy().astype(float)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@torch.inference_mode()
def test_clip_is_the_mean_cosine_of_frames_and_query(tiny: Path, tmp_path: Path) -> None:
    clips = [clip(tmp_path / "a.mp4", "a red dog runs", 0), clip(tmp_path / "b.mp4", "snow", 1, count=3)]
    role = reward("clip", f"reward.path={tiny / 'clip_b32'}", "reward.revision=null", "reward.frames='middle 3'")
    scores = role.score(clips)
    role.close()
    model = CLIPModel.from_pretrained(tiny / "clip_b32").eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny / "clip_b32")
    for one, score, frames in zip(clips, scores, ([0, 2, 4], [0, 1, 2]), strict=True):  # 6 in 3: 0..1, 2..3, 4..5
        ids = torch.tensor([tokenizer(one.query).input_ids])
        text = model.get_text_features(input_ids=ids).pooler_output[0].numpy().astype(float)
        cosines = embeddings(tiny / "clip_b32", one.path, frames) @ (text / np.linalg.norm(text))
        assert score.value == pytest.approx(cosines.mean(), abs=1e-5)
        assert (score.clip_id, score.prompt_id, score.query_id) == (one.id, one.prompt_id, one.query_id)


def test_the_query_counts_and_the_prompt_does_not(tiny: Path, tmp_path: Path) -> None:
    import dataclasses

    one = clip(tmp_path / "a.mp4")
    role = reward("clip", f"reward.path={tiny / 'clip_b32'}", "reward.revision=null")
    other_prompt, other_query = dataclasses.replace(one, prompt="x"), dataclasses.replace(one, query="x")
    first, second, third = (score.value for score in role.score([one, other_prompt, other_query]))
    role.close()
    assert first == second
    assert abs(first - third) > 1e-4


def test_the_aesthetic_score_is_linear_in_the_unit_embedding(tiny: Path, tmp_path: Path) -> None:
    one = clip(tmp_path / "a.mp4", count=8, size=(64, 96))
    where = f"reward.path={tiny / 'clip_l14'}"
    head = tiny / "aesthetic_head/head.json"
    weight, bias = read_head(str(head))
    for transform, expected in (("clip", CLIP), ("vbench", CLIP_OF_VBENCH)):
        role = reward(
            "aesthetic", where, f"reward.head={head}", "reward.revision=null", f"reward.transform={transform}"
        )
        (score,) = role.score([one])
        role.close()
        vectors = embeddings(tiny / "clip_l14", one.path, [0, 2, 4, 6], expected)
        assert score.value == pytest.approx((vectors @ weight.numpy() + bias).mean(), abs=1e-4)


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/laion_aesthetic is not there")
def test_the_head_is_laions() -> None:
    weight, bias = read_head(str(SHARED / "sa_0_4_vit_l_14_linear.json"))
    assert len(weight) == 768
    assert bias == pytest.approx(3.5294, abs=1e-4)  # as LAION's own has it


def test_layers_of_version_2_are_one_linear_function(tmp_path: Path) -> None:
    """The released MLP: 768-1024-128-64-16-1 with dropout after the first three layers and no activations."""
    torch.manual_seed(0)
    sizes = [768, 1024, 128, 64, 16, 1]
    layers = [torch.nn.Linear(*pair) for pair in pairwise(sizes)]
    drops = [torch.nn.Dropout(p) for p in (0.2, 0.2, 0.1)]
    net = torch.nn.Module()
    net.layers = torch.nn.Sequential(
        layers[0], drops[0], layers[1], drops[1], layers[2], drops[2], layers[3], layers[4]
    )
    net.eval()
    torch.save(net.state_dict(), tmp_path / "v2.pth")
    weight, bias = read_head(str(tmp_path / "v2.pth"))
    inputs = torch.randn(5, 768)
    expected = net.layers(inputs)[:, 0]
    torch.testing.assert_close((inputs.double() @ weight + bias).float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("head.json", b'{"weight": [1, 2]}', "is no aesthetic head"),
        ("head.json", b"no json", "is no aesthetic head"),
        ("none.json", None, "no such file"),
        ("head.pth", b"no state dict", "cannot be read safely"),
        ("none.pth", None, "no such file"),
    ],
)
def test_what_is_no_head_is_refused(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"reward\.head=.*{name}: {reason}.*give LAION's"):
        read_head(str(tmp_path / name))


def test_a_pickled_head_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"0.weight": Evil()}, tmp_path / "head.pth")
    with pytest.raises(UserError, match="cannot be read safely"):
        read_head(str(tmp_path / "head.pth"))
    assert not (tmp_path / "ran").exists()


def test_a_head_of_another_clip_is_refused(tiny: Path, tmp_path: Path) -> None:
    role = reward("aesthetic", f"reward.path={tiny / 'clip_b32'}", "reward.revision=null")
    with pytest.raises(UserError, match=r"it reads embeddings of 768 numbers, and reward\.path=.* makes 512"):
        role.score([clip(tmp_path / "a.mp4")])
    role.close()


def test_what_cannot_be_scored_is_a_failure_and_spoils_no_other(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").write_bytes(b"")
    good = clip(tmp_path / "good.mp4")
    whole = (tmp_path / "good.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    clips = [
        named(tmp_path / "zero.mp4"), good, named(tmp_path / "missing.mp4"),
        named(tmp_path / "good.mp4", status="black"), named(tmp_path / "cut.mp4"),
    ]  # fmt: skip
    for name, model in (("clip", "clip_b32"), ("aesthetic", "clip_l14")):
        role = reward(name, f"reward.path={tiny / model}", "reward.revision=null")
        found = role.score(clips)
        kinds = [one.kind if isinstance(one, Failure) else "score" for one in found]
        assert kinds[:4] == ["unreadable", "score", "unreadable", "unusable"]
        assert kinds[4] in ("unreadable", "score")  # by what is left of it
        assert "zero.mp4" in found[0].detail
        assert found[1].value == pytest.approx(role.score([good])[0].value, abs=1e-4)
        role.close()


def test_one_frame_and_odd_sizes_are_scored(tiny: Path, tmp_path: Path) -> None:
    import av

    path = tmp_path / "odd.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=8)
        stream.width, stream.height, stream.pix_fmt = 45, 37, "rgb24"
        image = np.random.default_rng(0).integers(0, 256, (37, 45, 3), dtype=np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    clips = [clip(tmp_path / "one.mp4", count=1), named(path, count=1, size=(37, 45))]
    role = reward("clip", f"reward.path={tiny / 'clip_b32'}", "reward.revision=null")
    assert all(isinstance(one, Score) and one.value is not None for one in role.score(clips))
    role.close()


def test_a_model_that_gives_no_number_gives_failures(tiny: Path, tmp_path: Path) -> None:
    role = reward("clip", f"reward.path={tiny / 'clip_b32'}", "reward.revision=null")
    with torch.no_grad():
        role.encoder.shared.model.visual_projection.weight[0, 0] = float("nan")
    (found,) = role.score([clip(tmp_path / "a.mp4")])
    role.close()
    assert found == Failure("not_finite", "the model's value is nan")


@pytest.mark.parametrize("name", ["clip", "aesthetic", "videoscore", "mps", "imagereward", "prompt_a_video"])
def test_cards_say_what_a_number_depends_on_before_any_weights_are_there(name: str) -> None:
    card = reward(name).card()
    assert {"name", "score", "scale", "better", "text", "cannot_see"} <= card.keys()
    for part in card.get("parts", {"": card}).values():
        assert {"model", "frames", "licence", "source"} <= part.keys()
    json.dumps(card)
