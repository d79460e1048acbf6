"""A clip is decoded once for all that read it, and what is kept of it is bounded."""

import gc
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vpo.video import clips, frames
from vpo.video.frames import FrameCache, FrameReader


def write(path: Path, count: int = 12, height: int = 32, width: int = 48) -> Path:
    """A clip whose frame k has the grey level 20 k mod 240."""
    levels = (20 * np.arange(count) % 240).astype(np.uint8)
    clips.write_mp4(np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)), 8, path)
    return path


def levels(found: frames.Frames) -> list[int]:
    """The grey level of each frame in steps of 20."""
    return [round(float(image.mean()) / 20) for image in found.images]


def test_selected_frames_are_those_of_a_whole_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    whole, _ = clips.read_mp4(path)
    found = FrameReader("middle 4", cache=FrameCache()).read(path)
    assert found.indices == (1, 4, 7, 10)
    assert np.array_equal(found.images, whole[[1, 4, 7, 10]])
    assert found.timeline.count == 12
    assert found.timeline.times == tuple(k / 8 for k in range(12))
    assert found.timeline.frame_bytes == 32 * 48 * 3


def test_one_decode_feeds_all_readers(tmp_path: Path) -> None:
    cache, paths = FrameCache(), [write(tmp_path / f"{name}.mp4") for name in "ab"]
    readers = [FrameReader(one, cache=cache) for one in ("middle 4", "arange 4", "seconds 24", "parts 5")]
    for reader in readers:
        for path in paths:
            assert levels(reader.read(path)) == reader.indices(path)
    assert cache.decodes == 2
    assert cache.size == 2 * 10 * 32 * 48 * 3  # frames 1 4 7 10, 0 3 6 9, 0 8, 0 2 4 7 9 of each: 0 1 2 3 4 6 7 8 9 10


def test_a_reader_lets_go_of_what_nobody_else_may_want(tmp_path: Path) -> None:
    cache, path = FrameCache(), write(tmp_path / "a.mp4")
    one, other = FrameReader("all", cache=cache), FrameReader("middle 4", cache=cache)
    one.read(path)
    one.let_go()
    assert len(other.read(path).images) == 4
    assert cache.decodes == 1
    other.close()
    with cache.keeping():
        one.let_go()
        assert cache.size > 0
    one.let_go()
    assert cache.size == 0


def test_a_frame_selected_twice_stands_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 3)
    found = FrameReader("arange 4", cache=FrameCache()).read(path)
    assert found.indices == (0, 0, 1, 2)
    assert levels(found) == [0, 0, 1, 2]


def test_another_file_of_the_same_name_is_decoded_anew(tmp_path: Path) -> None:
    cache, path = FrameCache(), write(tmp_path / "a.mp4", 12)
    reader = FrameReader("all", cache=cache)
    assert len(reader.read(path).images) == 12
    write(path, 5)
    assert len(reader.read(path).images) == 5


def test_the_least_recent_clip_goes_when_the_cache_is_full(tmp_path: Path) -> None:
    one = 12 * 32 * 48 * 3
    cache, paths = FrameCache(2 * one), [write(tmp_path / f"{name}.mp4") for name in "abc"]
    reader = FrameReader("all", cache=cache)
    for path in (paths[0], paths[1], paths[0], paths[2]):  # b is the least recent one when c comes
        reader.read(path)
    assert (cache.decodes, cache.size) == (3, 2 * one)
    reader.read(paths[0])
    assert cache.decodes == 3
    reader.read(paths[1])
    assert cache.decodes == 4


def test_readers_that_are_gone_keep_no_frames(tmp_path: Path) -> None:
    cache, path = FrameCache(), write(tmp_path / "a.mp4")
    reader, other = FrameReader("arange 4", cache=cache), FrameReader("all", cache=cache)
    del other
    gc.collect()
    reader.read(path)
    assert cache.size == 4 * 32 * 48 * 3
    reader.close()
    assert cache.size == 0


def test_a_long_clip_does_not_fill_memory(tmp_path: Path) -> None:
    """10,000 frames would be 46 MB; 24 of them are kept, and all of them come in windows of which none is kept."""
    path = tmp_path / "long.mp4"
    write(path, 10_000)
    cache = FrameCache(1 << 20)
    few = FrameReader("seconds 24", cache=cache)
    found = few.read(path)
    assert found.indices == tuple(range(0, 192, 8))
    assert levels(found) == [k % 12 for k in found.indices]
    assert cache.size == 24 * 32 * 48 * 3
    few.close()
    every = FrameReader("all", cache=cache)
    windows = every.windows(path)
    first = next(windows)
    assert len(first.images) == min(10_000, frames.WINDOW_BYTES // (32 * 48 * 3))
    assert first.indices[:3] == (0, 1, 2)
    assert cache.size == 0
    with pytest.raises(clips.ClipError, match=r"long\.mp4: the frames that are read of it take more than 0\.0 GB"):
        every.read(path)


def test_windows_of_a_large_clip_are_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "WINDOW_BYTES", 5 * 32 * 48 * 3)
    path = write(tmp_path / "a.mp4")
    for limit in (1, 1 << 30):  # streamed, and from the cache
        found = list(FrameReader("all", cache=FrameCache(limit)).windows(path))
        assert [len(one.images) for one in found] == [5, 5, 2]
        assert [level for one in found for level in levels(one)] == [*range(12)]
    (only,) = FrameReader("arange 4", cache=FrameCache()).windows(path, {3, 9})
    assert only.indices == (3, 9)


def test_a_variable_rate_is_read_by_its_times(tmp_path: Path) -> None:
    """Frames at 0, 1, 2, 20, 30 tenths of a second."""
    path = tmp_path / "variable.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for place, tenth in enumerate((0, 1, 2, 20, 30)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 20 * place, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tenth, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = FrameReader("seconds 24", cache=FrameCache()).read(path)
    assert found.timeline.times == pytest.approx((0, 0.1, 0.2, 2, 3))
    assert found.indices == (0, 2, 3, 4)  # second 1 is nearer to 0.2 than to 2


@pytest.mark.parametrize("content", [None, b"", b"not a video at all", b"\x00" * 4096])
def test_broken_files_raise_clip_errors(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    reader = FrameReader("all", cache=FrameCache())
    for read in (reader.read, reader.indices, lambda path: list(reader.windows(path))):
        with pytest.raises(clips.ClipError, match=r"broken\.mp4"):
            read(path)


def test_a_file_cut_short_is_read_by_what_is_left_or_refused(tmp_path: Path) -> None:
    """Where frames are missing at the end, those of the frames that there are are selected."""
    data = write(tmp_path / "a.mp4", 40).read_bytes()
    cut = tmp_path / "cut.mp4"
    for share in (0.5, 0.7, 0.9):
        cut.write_bytes(data[: int(len(data) * share)])
        reader = FrameReader("middle 4", cache=FrameCache())
        with suppress(clips.ClipError):
            found = reader.read(cut)
            assert found.indices == tuple(reader.selection(found.timeline))
            assert max(found.indices) < found.timeline.count <= 40


def test_frames_that_do_not_come_out_are_not_selected(tmp_path: Path) -> None:
    """A file without its first key frame: the index names 19 frames, and the four that refer to it are not decoded."""
    whole, path = tmp_path / "whole.mp4", tmp_path / "headless.mp4"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.options = {"x264-params": "keyint=5:min-keyint=5:bframes=0:scenecut=0"}
        for k in range(20):
            image = np.full((32, 48, 3), 20 * k % 240, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(source.streams.video[0]))[1:]:
            if packet.size:
                packet.stream = copied
                target.mux(packet)
    assert frames.scan(path).count == 19
    cache = FrameCache()
    reader = FrameReader("middle 4", cache=cache)
    found = reader.read(path)
    # Frames 5 .. 19 of the whole file; T = 15, edges 0 3 7 11 15, middles 1 4 8 12.
    assert found.timeline.count == 15
    assert found.indices == tuple(reader.indices(path)) == (1, 4, 8, 12)
    assert levels(found) == [(5 + k) % 12 for k in found.indices]
    assert cache.decodes == 2  # once for the index's number of frames, once for the real one
    with pytest.raises(clips.ClipError, match="holds 15 frames, and its index names 19"):
        list(FrameReader("all", cache=FrameCache(1)).windows(path))


def test_groups_fit() -> None:
    assert frames.groups([4, 4, 4, 9, 1, 12, 1], 10) == [
        range(0, 2),
        range(2, 3),
        range(3, 5),
        range(5, 6),
        range(6, 7),
    ]
    assert frames.groups([], 10) == []
