"""Features of frames: those of the plain model, each computed once, whoever asks."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel, ViTModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.vision_models import write_models
from vpo.errors import UserError
from vpo.video import clips, features, frames, models
from vpo.video.features import ClipEncoder, DinoEncoder
from vpo.video.frames import FrameCache, FrameReader
from vpo.video.models import FeatureCache, Lease, Place
from vpo.video.transforms import DINO_OF_VBENCH


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tiny models."""
    return write_models(tmp_path_factory.mktemp("tiny"), "clip_b32", "dino")


def write(path: Path, seed: int, count: int = 6, height: int = 64, width: int = 96) -> str:
    """Blocks of colour."""
    small = np.random.default_rng(seed).integers(0, 256, (count, height // 8, width // 8, 3), dtype=np.uint8)
    clips.write_mp4(np.repeat(np.repeat(small, 8, 1), 8, 2), 8, path)
    return str(path)


class Forwards:
    """Counts the frames that a model is given."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.batches: list[int] = []
        module.register_forward_pre_hook(
            lambda _, args, kwargs: self.batches.append(len(kwargs.get("pixel_values", args[0] if args else ()))),
            with_kwargs=True,
        )


@torch.inference_mode()
def test_clip_features_are_those_of_transformers(tiny: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 0)
    encoder = ClipEncoder(Place(str(tiny / "clip_b32")), "reward.path")
    (found,) = encoder.images([path], FrameReader("middle 4", cache=FrameCache()))
    texts = ["a dog runs", "x" * 300]
    words = encoder.texts(texts)

    model = CLIPModel.from_pretrained(tiny / "clip_b32").eval()
    frames = clips.read_mp4(Path(path))[0][[0, 1, 3, 4]]  # middle 4 of 6: parts 0, 1..2, 3, 4..5
    processor = CLIPImageProcessorPil.from_pretrained(tiny / "clip_b32")
    pixels = processor([Image.fromarray(one) for one in frames], return_tensors="pt")["pixel_values"]
    expected = model.get_image_features(pixel_values=pixels).pooler_output
    assert found.shape == (4, 512)
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999  # rounding of grey levels
    tokenizer = AutoTokenizer.from_pretrained(tiny / "clip_b32")
    for text, vector in zip(texts, words, strict=True):
        ids = tokenizer(text).input_ids
        ids = [*ids[:76], ids[-1]]  # what is longer is cut and still ends as a text does
        alone = model.get_text_features(input_ids=torch.tensor([ids])).pooler_output[0]
        torch.testing.assert_close(vector, alone, rtol=1e-4, atol=1e-4)
    encoder.close()


@torch.inference_mode()
def test_dino_features_keep_the_aspect_ratio(tiny: Path, tmp_path: Path) -> None:
    wide, square = write(tmp_path / "wide.mp4", 0), write(tmp_path / "square.mp4", 1, width=64)
    encoder = DinoEncoder(Place(str(tiny / "dino")), "evaluator.path")
    found = encoder.images([wide, square], FrameReader("all", cache=FrameCache()))
    model = ViTModel.from_pretrained(tiny / "dino", add_pooling_layer=False).eval()
    for path, width, one in ((wide, 42, found[0]), (square, 28, found[1])):
        pixels = DINO_OF_VBENCH.of_size(28)(clips.read_mp4(Path(path))[0])
        assert pixels.shape == (6, 3, 28, width)
        expected = model(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0]
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-4)
    encoder.close()


def test_a_frame_is_seen_once_in_batches_over_clips(tiny: Path, tmp_path: Path) -> None:
    cache = FrameCache()
    paths = [write(tmp_path / f"{number}.mp4", number) for number in range(3)]
    one, other = (ClipEncoder(Place(str(tiny / "clip_b32")), "reward.path", batch_size=10) for _ in range(2))
    few, some, every = (FrameReader(text, cache=cache) for text in ("arange 2", "middle 4", "all"))
    assert one.shared is other.shared
    seen = Forwards(one.shared.model.vision_model)
    first = one.images([*paths, paths[0]], few)  # frames 0 and 3
    second = other.images(paths, some)  # 0, 1, 3 and 4
    third = one.images(paths, every)
    assert seen.batches == [6, 6, 6]  # two new ones of three clips each time
    assert cache.decodes == 3
    assert [len(found) for found in first] == [2, 2, 2, 2]
    for place in range(3):
        assert torch.equal(first[place], third[place][[0, 3]])
        assert torch.equal(second[place], third[place][[0, 1, 3, 4]])
    one.close()
    other.close()


def test_batches_are_cut_at_their_size(tiny: Path, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}.mp4", number) for number in range(3)]
    encoder = ClipEncoder(Place(str(tiny / "clip_b32")), "reward.path", batch_size=4)
    seen = Forwards(encoder.shared.model.vision_model)
    together = encoder.images(paths, FrameReader("all", cache=FrameCache()))
    assert sum(seen.batches) == 18
    assert max(seen.batches) == 4
    encoder.close()
    alone = ClipEncoder(Place(str(tiny / "clip_b32")), "reward.path")
    for path, found in zip(paths, together, strict=True):
        torch.testing.assert_close(
            alone.images([path], FrameReader("all", cache=FrameCache()))[0], found, rtol=1e-4, atol=1e-4
        )
    alone.close()


def test_a_clip_that_is_too_long_to_keep_is_read_in_windows(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features are those of a clip that is kept, and none of its frames stays."""
    monkeypatch.setattr(frames, "WINDOW_BYTES", 4 * 64 * 96 * 3)
    path = write(tmp_path / "a.mp4", 0, count=10)
    found = []
    for limit in (1, 1 << 30):
        cache, encoder = FrameCache(limit), ClipEncoder(Place(str(tiny / "clip_b32")), "reward.path", batch_size=6)
        found.append(encoder.images([path], FrameReader("all", cache=cache))[0])
        assert cache.size == (0 if limit == 1 else 10 * 64 * 96 * 3)
        encoder.close()
    assert found[0].shape == (10, 512)
    torch.testing.assert_close(found[0], found[1])


def test_an_unreadable_clip_spoils_no_other(tiny: Path, tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.mp4", 0), tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    encoder = ClipEncoder(Place(str(tiny / "clip_b32")), "reward.path")
    found = encoder.images(
        [str(bad), good, str(bad), str(tmp_path / "none.mp4")], FrameReader("all", cache=FrameCache())
    )
    assert [isinstance(one, clips.ClipError) for one in found] == [True, False, True, True]
    encoder.close()


def test_a_model_goes_with_its_last_user(tiny: Path) -> None:
    place = Place(str(tiny / "dino"))
    one, other = (Lease(models.load_dino, place, "x.path") for _ in range(2))
    assert one.get() is other.get()
    one.close()
    one.close()
    kept = weakref.ref(other.get())
    assert kept() is not None
    other.close()
    gc.collect()
    assert kept() is None


def test_features_are_kept_within_a_bound() -> None:
    cache = FeatureCache(limit=4 * 16 * 4)
    for clip in ("a", "b"):
        cache.add(clip, {0: torch.zeros(16), 1: torch.zeros(16)})
        cache.add(clip, {0: torch.zeros(16)})  # known already
    assert sorted(cache.get("a")) == [0, 1]  # now more recent than b
    cache.add("c", {0: torch.zeros(16)})
    assert [sorted(cache.get(clip)) for clip in ("a", "b", "c")] == [[0, 1], [], [0]]


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("dino", "cpu", r"reward\.path=.*dino: a model of type vit, and reward\.path takes clip"),
        ("nowhere/at/all", "cpu", r"reward\.path=.*no such folder"),
        ("clip_b32", "cuda", r"there is no GPU; set reward\.device=cpu"),
    ],
)
def test_what_is_no_such_model_is_refused(tiny: Path, name: str, device: str, message: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=message):
        _ = ClipEncoder(Place(str(tiny / name), device=device), "reward.path").shared


def test_missing_weights_are_not_made_up(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in (tiny / "clip_b32").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"weights are missing \(visual_projection\.weight\)"):
        _ = ClipEncoder(Place(str(tmp_path)), "reward.path").shared


def test_the_mean_cosine() -> None:
    images = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    assert features.mean_cosine(images, torch.tensor([5.0, 0.0])) == pytest.approx((1 + 0 + 2**-0.5) / 3)
