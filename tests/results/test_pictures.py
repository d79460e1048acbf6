"""The contact sheet shows the right pixels in the right places; the curves cope with what training leaves behind."""

import json

import numpy as np
from PIL import Image

from vpo.results.pictures import _fit, _running_mean, contact_sheet, read_curves, training_curves
from vpo.video.clips import write_mp4


def clip_of(path, colours):
    frames = np.stack([np.full((64, 64, 3), colour, np.uint8) for colour in colours])
    write_mp4(frames, 8.0, path)
    return path


def test_the_sheet_shows_four_spread_frames_per_method(tmp_path):
    # seven frames, of which 0, 2, 4 and 6 are shown: grey levels 40, 80, 120, 160
    clip = clip_of(tmp_path / "a.mp4", [40, 60, 80, 100, 120, 140, 160])
    sheet = tmp_path / "sheet.png"
    contact_sheet([("two foxes", {"sft": clip, "dpo": None})], ["sft", "dpo"], sheet, footer="sketch world")
    pixels = np.asarray(Image.open(sheet).convert("L")).astype(int)
    row = pixels[28 + 24 + 8 + 64]  # padding, a line of text, a gap, half a frame
    levels = [
        int(np.median(row[right - 80 : right - 40])) for right in pixels.shape[1] - 28 - 132 * np.arange(3, -1, -1)
    ]
    np.testing.assert_allclose(levels, [40, 80, 120, 160], atol=4)
    below = pixels[28 + 24 + 8 + 132 + 20]
    assert int(np.median(below)) == 237  # the empty box: #eaeef2 in grey


def test_a_broken_clip_and_an_endless_query_are_no_error(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    sheet = tmp_path / "sheet.png"
    rows = [("word " * 4000, {"sft": tmp_path / "broken.mp4"}), ("", {"sft": None}), ("x" * 900, {})]
    contact_sheet(rows, ["sft"], sheet, title="Title")
    assert Image.open(sheet).size[0] < 1600


def test_small_frames_grow_by_a_whole_factor_and_large_ones_shrink():
    assert _fit(Image.new("RGB", (64, 64))).size == (128, 128)
    assert _fit(Image.new("RGB", (40, 50))).size == (80, 100)
    assert _fit(Image.new("RGB", (720, 480))).size == (192, 128)


def test_curves_are_drawn_per_policy_and_a_torn_line_is_left_out(tmp_path):
    folder = tmp_path / "training"
    folder.mkdir()
    lines = [{"step": step, "train/loss": 1 / (step + 1), "train/lr": 1e-3} for step in range(80)]
    (folder / "sft.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 80, "tra')
    dpo = {"step": 1, "train/loss": 0.69, "train/rewards/chosen": 0.1, "train/rewards/accuracy": 0.5, "val/loss": 0.7}
    (folder / "dpo.jsonl").write_text(json.dumps(dpo) + "\n")
    assert len(read_curves(folder / "sft.jsonl")["train/loss"].steps) == 80
    assert training_curves(folder, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[0] > 1500  # four panels


def test_no_training_draws_nothing(tmp_path):
    assert not training_curves(tmp_path, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_the_running_mean_keeps_its_length_and_shrinks_at_the_ends():
    np.testing.assert_allclose(_running_mean([0.0, 3.0, 6.0, 3.0], 2), [1.5, 3.0, 4.0, 4.5])
