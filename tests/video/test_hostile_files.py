"""Video files that others wrote: read as they are shown, frame by frame, or refused with one line."""

import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vpo.records import Clip
from vpo.video import clips
from vpo.video.checks import problem_of


def numbered(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame t has the grey level 40 + 8 t, and its upper left quarter is red; uint8 (count, height, width, 3)."""
    frames = (
        np.repeat((40 + 8 * np.arange(count)).astype(np.uint8)[:, None, None, None], height, 1)
        .repeat(width, 2)
        .repeat(3, 3)
    )
    frames[:, : height // 2, : width // 2] = (200, 0, 0)
    return frames


def encode(
    frames: np.ndarray, path: Path, *, pix_fmt: str = "yuv420p", times=None, sound: bool = False, rate: int = 8
) -> Path:
    """A video file as others write them. times: of the frames, in units of 1/1000 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        stream.options = {"crf": "10", "bf": "2"}
        speaker = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for at, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[at], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if speaker is not None:
            samples = (np.sin(np.arange(8000) / 10)).astype(np.float32)[None]
            tone = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            tone.sample_rate = 8000
            container.mux(speaker.encode(tone))
            container.mux(speaker.encode())
        container.mux(stream.encode())
    return path


def levels(frames) -> list[int]:
    """Which numbers the frames have: from the grey of the lower right corner."""
    return [round((float(one[-4:, -4:].mean()) - 40) / 8) for one in frames]


def test_all_frames_come_in_the_order_in_which_they_are_shown(tmp_path):
    path = encode(
        numbered(12), tmp_path / "a.mp4"
    )  # with frames that are stored before those that they are shown behind
    assert levels(clips.iter_frames(path)) == list(range(12))
    assert levels(clips.read_mp4(path)[0]) == list(range(12))


def test_wanted_frames_come_each_once_in_the_order_of_the_file(tmp_path):
    path = encode(numbered(12), tmp_path / "a.mp4")
    assert levels(clips.iter_frames(path, [7, 0, 7, 3])) == [0, 3, 7]
    assert list(clips.iter_frames(path, [])) == []
    with pytest.raises(clips.ClipError, match=r"a\.mp4: holds 12 frames, and frame 12 is wanted"):
        list(clips.iter_frames(path, [3, 12]))


def test_one_frame(tmp_path):
    path = encode(numbered(1), tmp_path / "a.mp4")
    assert clips.read_mp4(path)[0].shape == (1, 32, 48, 3)
    info = clips.describe(path)
    assert (info.frames, info.height, info.width, info.fps) == (1, 32, 48, 8.0)
    assert info.duration == pytest.approx(1 / 8)


def test_odd_sizes(tmp_path):
    path = encode(numbered(3, 31, 47), tmp_path / "a.mp4", pix_fmt="yuv444p")
    assert clips.read_mp4(path)[0].shape == (3, 31, 47, 3)
    assert (clips.describe(path).height, clips.describe(path).width) == (31, 47)


def test_a_variable_rate(tmp_path):
    """Frames at 0, 0.1, 0.2, 1.0 and 1.5 s; the last is shown for a while, too, so that about three are shown a second."""
    path = encode(numbered(5), tmp_path / "a.mp4", times=[0, 100, 200, 1000, 1500])
    assert levels(clips.iter_frames(path)) == list(range(5))
    shown = list(clips.shown_frames(path, {1, 4}))
    assert [round(one.time, 3) for one in shown] == [0, 0.1, 0.2, 1.0, 1.5]
    assert [one.place for one in shown if one.picture is not None] == [1, 4]
    info = clips.describe(path)
    assert info.frames == 5
    assert info.duration >= 1.5
    assert info.fps == pytest.approx(info.frames / info.duration, rel=0.01)


def test_with_sound_and_with_nothing_but_sound(tmp_path):
    path = encode(numbered(4), tmp_path / "a.mp4", sound=True)
    assert len(clips.read_mp4(path)[0]) == clips.describe(path).frames == 4
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        speaker = container.add_stream("aac", rate=8000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 8000
        container.mux(speaker.encode(tone))
        container.mux(speaker.encode())
    for read in (clips.read_mp4, clips.describe, lambda one: list(clips.iter_frames(one))):
        with pytest.raises(clips.ClipError, match=r"song\.mp4: no video stream"):
            read(tmp_path / "song.mp4")


# The matrix of a track (ISO/IEC 14496-12, 8.3.2) as phones write it; 16.16 numbers, the last column 2.30.
TURNED = {
    90: (0, 65536, 0, -65536, 0, 0),  # shown a quarter clockwise
    180: (-65536, 0, 0, 0, -65536, 0),
    270: (0, -65536, 0, 65536, 0, 0),
}


@pytest.mark.parametrize("degrees", TURNED)
def test_a_turned_file_is_read_as_it_is_shown(tmp_path, degrees):
    path = encode(numbered(3), tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    unity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 0x40000000)
    at = content.index(unity, content.index(b"tkhd"))
    content[at : at + 24] = struct.pack(">6i", *TURNED[degrees])
    path.write_bytes(content)
    frames = clips.read_mp4(path)[0]
    height, width = (48, 32) if degrees != 180 else (32, 48)
    assert frames.shape == (3, height, width, 3)
    info = clips.describe(path)
    assert (info.height, info.width) == (height, width)
    # By hand: the red quarter at the upper left goes clockwise round the corners.
    corner = {90: (4, -4), 180: (-4, -4), 270: (-4, 4)}[degrees]
    red = frames[0][corner[0], corner[1]]
    assert red[0] > 150 > 60 > red[1]
    assert frames[0].reshape(-1, 3)[:, 0].max() == red[0] or red[0] > 180


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
def test_a_file_that_was_cut_is_refused_though_its_index_is_whole(tmp_path, share):
    rng = np.random.default_rng(0)
    clips.write_mp4(rng.integers(0, 255, (16, 64, 64, 3), dtype=np.uint8), 8, tmp_path / "a.mp4")
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: int(len(content) * share)])
    for read in (clips.read_mp4, clips.describe, lambda one: list(clips.iter_frames(one))):
        with pytest.raises(clips.ClipError, match=r"a\.mp4: (cut short|cannot be read)"):
            read(tmp_path / "a.mp4")


def test_damaged_pictures_are_not_painted_over(tmp_path):
    """The decoder conceals damage by itself and says nothing. Of 40 files with 600 wrong bytes all but a few are found out."""
    clips.write_mp4(numbered(16, 64, 96) + np.arange(96, dtype=np.uint8)[:, None], 8, tmp_path / "a.mp4")
    content = (tmp_path / "a.mp4").read_bytes()
    found = 0
    for seed in range(40):
        rng, damaged = np.random.default_rng(seed), bytearray(content)
        at = int(rng.integers(content.index(b"mdat") + 8, len(content) - 600))
        damaged[at : at + 600] = rng.bytes(600)
        (tmp_path / "b.mp4").write_bytes(damaged)
        try:
            clips.read_mp4(tmp_path / "b.mp4")
        except clips.ClipError:
            found += 1
    assert found >= 36


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x00" * 4096, b"\x00\x00\x00\x20ftypisom" + b"\xff" * 900])
def test_what_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    for read in (clips.describe, lambda one: list(clips.iter_frames(one))):
        with pytest.raises(clips.ClipError, match=r"a\.mp4"):
            read(tmp_path / "a.mp4")
    clip = Clip("p", "p", "q", "query", "text", "a.mp4", 0, 8, 8.0, 32, 48)
    assert problem_of(clip, tmp_path).startswith("unreadable: ")


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.mp4"):
        with pytest.raises(clips.ClipError):
            clips.describe(path)


def test_ten_thousand_frames_are_read_one_at_a_time(tmp_path):
    """46 MB of frames: reading some holds some, and reading all at once is refused before they fill the memory."""
    path = tmp_path / "long.mp4"
    short = encode(numbered(20), tmp_path / "short.mp4")
    with (
        av.open(str(short)) as source,
        av.open(str(path), "w") as container,
    ):  # the same second 500 times: encoding so many takes long
        given = source.streams.video[0]
        stream = container.add_stream_from_template(given)
        packets = [packet for packet in source.demux(given) if packet.size]
        content = [(bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe) for packet in packets]
        span = sum(packet.duration for packet in packets)
        for turn in range(500):
            for data, pts, dts, duration, key in content:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = pts + turn * span, dts + turn * span, duration
                packet.time_base, packet.stream, packet.is_keyframe = given.time_base, stream, key
                container.mux(packet)
    assert clips.describe(path).frames == 10_000
    tracemalloc.start()
    assert sum(1 for _ in clips.iter_frames(path, [0, 5_000, 9_999])) == 3
    with pytest.raises(clips.ClipError, match=r"more than 0\.00391 GiB; it is too long to be read at once"):
        clips.read_mp4(path, most_bytes=2**22)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**22 + 2**20
    clip = Clip("p", "p", "q", "query", "text", "long.mp4", 0, 49, 25.0, 32, 48)
    assert problem_of(clip, tmp_path) == "it has 10000 frames, not 49"


@pytest.mark.parametrize("crf", [10, 23])
def test_a_still_picture_is_frozen_and_a_small_thing_that_moves_is_not(tmp_path, crf):
    rng = np.random.default_rng(0)
    picture = (np.full((120, 160, 3), 110.0) + rng.normal(0, 12, (120, 160, 3))).clip(0, 255).astype(np.uint8)
    still = np.stack([picture] * 24)
    moving = still.copy()
    for t in range(24):
        moving[t, 50:56, 20 + 4 * t : 26 + 4 * t] = (220, 30, 30)
    clip = Clip("p", "p", "q", "query", "text", "a.mp4", 0, 24, 8.0, 120, 160)
    for frames, expected in ((still, "frozen"), (moving, "ok")):
        with av.open(str(tmp_path / "a.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
            stream.options = {"crf": str(crf), "g": "12"}
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        assert problem_of(clip, tmp_path) == expected
    assert problem_of(clip, tmp_path, still_is_fine=True) == "ok"
