"""Reading and writing clips, and the frame rules: what every stage that touches pixels shares.

A clip is an array of frames, uint8, (T, H, W, 3), RGB. Files are H.264 in mp4, yuv420p, encoded by one thread, so that
equal frames give equal bytes on one machine.

Files that others wrote may be anything: cut short, with sound, turned, of odd size, of variable rate, hours long. They are
read frame by frame, so that no file fills the memory, and what cannot be read is a `ClipError` that says why.
"""

import os
from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

CRF = 10  # H.264's constant rate factor: visually lossless, so that what is measured is the model and not the codec
BROKEN = "broken"  # the folder, beside clips, of those that cannot be used: for people to look at
MOST_BYTES = 2**31  # of the frames that `read_mp4` holds at once: 6,000 frames of 480 x 240, 2,000 of 480 x 720
BLACK = 4.0  # a frame whose mean is below this (of 255) shows nothing


# x264's look-ahead is not repeatable here: equal frames gave up to five different files in forty tries.
_REPEATABLE = "threads=1:sync-lookahead=0:rc-lookahead=0:mbtree=0"


class ClipError(ValueError):
    """A clip's file that cannot be read, or frames that cannot be written; the message names the file."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        frames: that are in the file, counted and not believed.
        fps: frames per second on average; 0.0 where the file does not say.
        height, width: of a frame as it is shown, in pixels (a file that is turned by 90 degrees is stored the other way round).
        duration: seconds.
    """

    frames: int
    fps: float
    height: int
    width: int
    duration: float


def write_mp4(frames: np.ndarray, fps: float, path: Path) -> None:
    """Write frames, uint8 (T, H, W, 3) RGB, to `path`; the file appears whole or not at all.

    H.264 in yuv420p halves the chroma, so H and W must be even. Raises ClipError where the frames are not such an
    array, and OSError where the disk takes no more.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ClipError(f"{path}: frames must be uint8 (T, H, W, 3) with T > 0, not {frames.dtype} {frames.shape}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ClipError(f"{path}: height and width must be even for H.264, not {frames.shape[1]}x{frames.shape[2]}")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _encode(np.ascontiguousarray(frames), Fraction(fps).limit_denominator(1001), part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_mp4(path: Path, most_bytes: int = MOST_BYTES) -> tuple[np.ndarray, float]:
    """All frames, uint8 (T, H, W, 3) RGB, and the frames per second.

    Raises:
        ClipError: The file is broken or empty, or its frames take more than `most_bytes`; `iter_frames` reads such a one.
    """
    frames: list[np.ndarray] = []
    held, reformatter = 0, VideoReformatter()  # one for all frames: a new one each costs more than the decoding
    with _opened(path) as (container, stream):
        for _, frame in _decoded(path, container, stream):
            held += frame.width * frame.height * 3
            if held > most_bytes:
                raise ClipError(
                    f"{path}: its frames take more than {most_bytes / 2**30:.3g} GiB; it is too long to be read at once"
                )
            frames.append(_rgb(frame, reformatter))
        rate = stream.average_rate or stream.guessed_rate
    if not frames:
        raise ClipError(f"{path}: holds no frame")
    return np.stack(frames), float(rate) if rate else 0.0


def iter_frames(path: Path, wanted: Collection[int] | None = None) -> Iterator[np.ndarray]:
    """Frames one after the other, each uint8 (H, W, 3) RGB as it is shown; only one is held at a time.

    Args:
        path: of a video file.
        wanted: the places of the frames that are wanted, the first is 0; in the order of the file and each once. None for all.
            What comes behind the last of them is not decoded.

    Raises:
        ClipError: The file is broken or empty, or has no frame at a place that is wanted.
    """
    missing = None if wanted is None else set(wanted)
    if missing is not None and not missing:
        return
    count = 0
    for shown in shown_frames(path, missing):
        count = shown.place + 1
        if shown.picture is not None:
            yield shown.picture
            if missing is not None:
                missing.discard(shown.place)
                if not missing:
                    return
    if missing:
        raise ClipError(f"{path}: holds {count} frames, and frame {min(missing)} is wanted")


@dataclass(frozen=True)
class ShownFrame:
    """A frame of a file.

    Attributes:
        place: the first is 0.
        time: seconds from the beginning of the file at which it is shown.
        picture: uint8 (H, W, 3) RGB as it is shown; None where it is not needed.
    """

    place: int
    time: float
    picture: np.ndarray | None


def shown_frames(path: Path, needed: Container[int] | None = None) -> Iterator[ShownFrame]:
    """All frames in the order in which they are shown, of which only the needed ones (None: all) have a picture.

    One frame is held at a time. Raises ClipError where the file is broken, cut or empty, or changes its size.
    """
    found, reformatter = False, VideoReformatter()  # one for all frames: a new one each costs more than the decoding
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 1)
        for place, frame in _decoded(path, container, stream):
            found = True
            picture = _rgb(frame, reformatter) if needed is None or place in needed else None
            yield ShownFrame(place, place / rate if frame.time is None else frame.time, picture)
    if not found:
        raise ClipError(f"{path}: holds no frame")


def describe(path: Path) -> VideoInfo:
    """What a file holds; its first frame is decoded and the others are counted. Raises ClipError on a broken or empty file."""
    first, count, begin, end = None, 0, None, 0
    with _opened(path) as (container, stream):
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(packet.decode()), None)
            if packet.size > 0 and not packet.is_corrupt:
                count += 1
                if packet.pts is not None:
                    begin = packet.pts if begin is None else min(begin, packet.pts)
                    end = max(end, packet.pts + (packet.duration or 0))
        _check_whole(path, count, stream)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = float((end - begin) * stream.time_base) if begin is not None and stream.time_base else 0.0
    if first is None:
        raise ClipError(f"{path}: holds no frame")
    # Of a variable rate the header may say anything: then the frames' own times count.
    fps = rate if not seconds or abs(rate * seconds - count) <= max(0.5, 0.01 * count) else count / seconds
    height, width = (first.width, first.height) if _quarters(first) % 2 else (first.height, first.width)
    return VideoInfo(count, fps, height, width, seconds or (count / fps if fps else 0.0))


def set_aside(file: Path) -> None:
    """Move a clip that cannot be used to where nobody takes it for one. Where there is none nothing is done."""
    if file.exists():
        (file.parent / BROKEN).mkdir(exist_ok=True)
        file.replace(file.parent / BROKEN / file.name)


def check(frames: np.ndarray) -> str:
    """'ok', or what is wrong with the frames, (T, H, W, 3) of any number type in 0..255: empty, non-finite or black."""
    if frames.ndim != 4 or frames.size == 0:
        return "empty"
    if not np.issubdtype(frames.dtype, np.integer) and not np.isfinite(frames).all():
        return "non-finite"
    if float(frames.mean()) < BLACK:
        return "black"
    return "ok"


@contextmanager
def _opened(path: Path) -> "Iterator[tuple[av.container.InputContainer, av.VideoStream]]":
    """The file and its first stream of pictures; what goes wrong with it meanwhile is a ClipError."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ClipError(f"{path}: no video stream")
            stream = container.streams.video[0]
            stream.thread_count = 1
            # By itself the decoder paints over what is damaged, and says nothing.
            stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
    except ClipError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ClipError(f"{path}: cannot be read as a video: {error}") from error


def _decoded(
    path: Path, container: "av.container.InputContainer", stream: "av.VideoStream"
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(place, frame), in the order in which they are shown. Raises ClipError where the file was cut, or a frame has another size."""
    packets, place, size = 0, 0, None
    for packet in container.demux(stream):
        packets += packet.size > 0 and not packet.is_corrupt  # as one is of which the end is missing
        for frame in packet.decode():
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise ClipError(
                    f"{path}: frame {place} is {frame.width}x{frame.height}, those before are {size[0]}x{size[1]}"
                )
            yield place, frame
            place += 1
    _check_whole(path, packets, stream)


def _check_whole(path: Path, packets: int, stream: "av.VideoStream") -> None:
    """An mp4's index, which stands in front, lists frames that were cut off at its end."""
    if packets < stream.frames:
        raise ClipError(f"{path}: cut short: {packets} of its {stream.frames} frames are there")


def _rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """The frame as it is shown, uint8 (H, W, 3)."""
    image = reformatter.reformat(frame, format="rgb24").to_ndarray()
    quarters = _quarters(frame)
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def _quarters(frame: av.VideoFrame) -> int:
    """By how many quarters, against the clock, a frame is turned for showing: phones film upright with the sensor lying."""
    return round((frame.rotation or 0) / 90) % 4


def _encode(frames: np.ndarray, rate: Fraction, path: Path) -> None:
    """One H.264 stream, one thread, the index at the front of the file (faststart)."""
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    # The file is ours to close: where a full disk fails the last write, PyAV leaves one of its own open, which then takes room
    # though it is deleted. Without a buffer, as the index is moved to the front by way of the file's name.
    with path.open("w+b", buffering=0) as file, av.open(file, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": str(CRF), "preset": "veryfast", "threads": "1", "x264-params": _REPEATABLE}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
