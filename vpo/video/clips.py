"""Reading and writing clips, and the frame rules: what every stage that touches pixels shares.

A clip is an array of frames, uint8, (T, H, W, 3), RGB. Files are H.264 in mp4, yuv420p, encoded by one thread, so that
equal frames give equal bytes on one machine.
"""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

CRF = 10  # H.264's constant rate factor: visually lossless, so that what is measured is the model and not the codec
_BLACK = 4.0  # a frame whose mean is below this (of 255) shows nothing


# x264's look-ahead is not repeatable here: equal frames gave up to five different files in forty tries.
_REPEATABLE = "threads=1:sync-lookahead=0:rc-lookahead=0:mbtree=0"


class ClipError(ValueError):
    """A clip's file that cannot be read, or frames that cannot be written; the message names the file."""


def write_mp4(frames: np.ndarray, fps: float, path: Path) -> None:
    """Write frames, uint8 (T, H, W, 3) RGB, to `path`; the file appears whole or not at all.

    H.264 in yuv420p halves the chroma, so H and W must be even. Raises ClipError where the frames are not such an
    array.
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


def read_mp4(path: Path) -> tuple[np.ndarray, float]:
    """All frames, uint8 (T, H, W, 3) RGB, and the frames per second. Raises ClipError on a broken or empty file."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ClipError(f"{path}: no video stream")
            stream = container.streams.video[0]
            stream.thread_count = 1
            reformatter = VideoReformatter()  # one for all frames: a new one each costs more than the decoding
            frames = [reformatter.reformat(f, format="rgb24").to_ndarray() for f in container.decode(stream)]
            rate = stream.average_rate or stream.guessed_rate
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ClipError(f"{path}: cannot be read as a video: {error}") from error
    if not frames:
        raise ClipError(f"{path}: holds no frame")
    return np.stack(frames), float(rate) if rate else 0.0


def check(frames: np.ndarray) -> str:
    """'ok', or what is wrong with the frames, (T, H, W, 3) of any number type in 0..255: empty, non-finite or black."""
    if frames.ndim != 4 or frames.size == 0:
        return "empty"
    if not np.issubdtype(frames.dtype, np.integer) and not np.isfinite(frames).all():
        return "non-finite"
    if float(frames.mean()) < _BLACK:
        return "black"
    return "ok"


def _encode(frames: np.ndarray, rate: Fraction, path: Path) -> None:
    """One H.264 stream, one thread, the index at the front of the file (faststart)."""
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": str(CRF), "preset": "veryfast", "threads": "1", "x264-params": _REPEATABLE}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
