"""The sketch model draws what it is told, fills what it is not told badly, and takes any text."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vpo.records import Prompt
from vpo.sketch import generator as generator_module
from vpo.sketch.generator import SketchGenerator
from vpo.sketch.painter import Drawing, paint
from vpo.sketch.sprites import BODY, CLEAR, OUTLINE, PICTURES, outlined, sprite, squashed
from vpo.sketch.vocabulary import SUBJECTS
from vpo.video import clips

FULL = Drawing("dog", "red", 1, "run", "beach", "day", "static", "cinematic", hue=(120, 130, 140))
TEXT = "Two red dogs are running on the beach at night. The camera zooms in. A cartoon style."


def model(reads_words: int = 60, unknown: tuple[str, ...] = ()) -> SketchGenerator:
    return SketchGenerator(frames=16, fps=8, reads_words=reads_words, unknown=unknown)


def prompt(text: str, id: str = "p0") -> Prompt:
    return Prompt(id, "q0", "a query", text, "test")


def frames_of(drawing: Drawing, seed: int = 0) -> np.ndarray:
    return paint(drawing, 16, np.random.default_rng(seed)).astype(int)


def test_it_understands_a_caption() -> None:
    seen = model().understand(TEXT)
    facets = (seen.subject, seen.colour, seen.count, seen.motion, seen.place, seen.light, seen.camera, seen.style)
    assert facets == ("dog", "red", 2, "run", "beach", "night", "zoom in", "cartoon")
    assert not seen.torn
    assert not seen.unsafe


def test_it_reads_the_first_words_only() -> None:
    seen = model(reads_words=8).understand(TEXT)  # up to 'the beach'
    assert seen.place == "beach"
    assert seen.light is None
    assert seen.style is None


def test_it_does_not_know_every_wording() -> None:
    text = "a dog dashing on the beach under starlight"
    assert model(unknown=("dashing", "starlight")).understand(text).motion is None
    assert model(unknown=("dashing", "starlight")).understand(text).light is None
    assert model().understand(text).motion == "run"


@pytest.mark.parametrize(
    ("text", "torn"),
    [
        ("a red dog and a blue dog", True),
        ("a dog on the beach in the forest", True),
        ("a dog at night in daylight", True),
        ("a red dog, a crimson puppy at night in moonlight", False),  # two wordings of one concept
        ("a dog running and jumping", False),
    ],
)
def test_contradictions_tear(text: str, torn: bool) -> None:
    assert model().understand(text).torn == torn


def test_unsafe_words_and_only_those_splash() -> None:
    assert model().understand("a dog with a gun").unsafe
    assert not model().understand("a dog, one shot of a camera -neg blood").unsafe


@pytest.mark.parametrize(
    "text", ["", "🙂🙂", "año niño 犬が走る", "x" * 20000, "\x00\ud800", "a lion dances", TEXT * 200]
)
def test_any_text_becomes_a_clip(tmp_path: Path, text: str) -> None:
    clip = model().render([prompt(text)], [1], tmp_path)[0]
    assert clip.status == "ok"
    frames, fps = clips.read_mp4(tmp_path / clip.path)
    assert frames.shape == (clip.frames, clip.height, clip.width, 3) == (16, 64, 64, 3)
    assert fps == clip.fps == 8


def test_a_clip_depends_on_its_text_and_seed_only(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    texts = [TEXT, "a blue boat", TEXT]
    many = model().render([prompt(t, f"p{i}") for i, t in enumerate(texts)], [7, 8, 9], tmp_path)
    model().render([prompt(TEXT, "p2")], [9], tmp_path / "alone")
    data = [(tmp_path / clip.path).read_bytes() for clip in many]
    assert data[2] == (tmp_path / "alone" / "p2.mp4").read_bytes()
    assert data[0] != data[2]  # another seed


def test_a_broken_render_leaves_a_status_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_module, "paint", lambda *_: np.zeros((16, 64, 64, 3), np.uint8))
    clip = model().render([prompt(TEXT)], [1], tmp_path)[0]
    assert clip.status == "black"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    clip = model().render([prompt(TEXT)], [1], tmp_path / "absent")[0]
    assert "No such file" in clip.status


def test_what_is_not_told_comes_out_badly() -> None:
    full = frames_of(FULL)
    edge = (slice(None), slice(6, 10), slice(2, 40))  # sky, away from sun and dog
    dark = frames_of(replace(FULL, light=None))
    assert dark.mean() < 0.5 * full.mean()
    assert np.diff(dark[edge], axis=2).std() > 8 > np.diff(full[edge], axis=2).std()
    flat = frames_of(replace(FULL, place=None))[edge]
    assert flat.std((1, 2)).max() == 0  # one colour a frame
    assert flat.mean((1, 2, 3)).std() > 5  # another one each frame
    assert np.abs(np.diff(full[edge], axis=0)).max() == 0  # a static camera holds still
    shaky = frames_of(replace(FULL, camera=None))[:, 10:54, 2:40]
    assert np.abs(np.diff(shaky, axis=0)).mean() > 1.5 * np.abs(np.diff(full[:, 10:54, 2:40], axis=0)).mean()
    spread = np.ptp(full, axis=-1).mean()
    assert np.ptp(frames_of(replace(FULL, style=None)), axis=-1).mean() < 0.6 * spread


def test_without_motion_a_subject_freezes_or_jitters() -> None:
    moved = [np.abs(np.diff(frames_of(replace(FULL, motion=None), seed), axis=0)).mean() for seed in range(12)]
    assert 0 < sum(value == 0 for value in moved) < 12


def test_unsafe_and_torn_pictures_look_it() -> None:
    red = np.array([165, 0, 12])
    assert (frames_of(replace(FULL, unsafe=True)) == red).all(-1).mean() > 0.02
    assert not (frames_of(FULL) == red).all(-1).any()
    assert np.abs(frames_of(replace(FULL, torn=True)) - frames_of(FULL)).mean() > 5


def test_sprites_keep_their_size_and_their_outline() -> None:
    assert set(SUBJECTS) <= set(PICTURES)
    for subject in SUBJECTS:
        for size in (24, 19, 15):
            codes = sprite(subject, size)
            assert max(codes.shape) == size + 2
            assert (codes == BODY).any()
            assert not np.isin(codes[[0, -1]], [BODY]).any()  # the margin holds outline at most
    point = outlined(np.array([[BODY]], np.uint8), 1)
    assert point.tolist() == [[CLEAR, OUTLINE, CLEAR], [OUTLINE, BODY, OUTLINE], [CLEAR, OUTLINE, CLEAR]]
    assert squashed(np.ones((4, 10), np.uint8), 0.5).shape == (4, 5)
    assert squashed(np.ones((4, 10), np.uint8), 0.0).shape == (4, 3)


@pytest.mark.parametrize(
    "pair",
    [("Dog", "dog"), ("a:b", "a_b"), ("a\nb", "a b"), ("con", "nul.x"), ("../up", "up"), ("x" * 300, "x" * 301)],
)
def test_any_two_ids_have_clips_of_their_own(tmp_path: Path, pair: tuple[str, str]) -> None:
    """On every file system: also where capitals count for nothing and `:` ends a name."""
    folder = tmp_path / "clips"
    folder.mkdir()
    made = model().render([prompt("a red dog", pair[0]), prompt("a blue cat", pair[1])], [0, 1], folder)
    assert [(clip.status, clip.id) for clip in made] == [("ok", pair[0]), ("ok", pair[1])]
    assert len({clip.path.casefold() for clip in made}) == 2
    assert sorted(path.name for path in folder.iterdir()) == sorted(clip.path for clip in made)
    assert list(tmp_path.iterdir()) == [folder]
