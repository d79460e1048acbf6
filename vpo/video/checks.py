"""Whether a clip that was just written can be used: read back from its file, whichever video model made it."""

from pathlib import Path

import numpy as np

from vpo.records import Clip
from vpo.video import clips

BLOCK = 8  # pixels a side of a block
# Grey levels by which a block of pixels must change for something to move. Measured on a still, noisy picture: a codec alone
# changes its blocks by up to 0.8 at CRF 10 (ours) and 3.4 at 23 (x264's own); an object of 6 x 6 pixels that moves, by 45.
MOVES = 4.0


def problem_of(clip: Clip, folder: Path, *, still_is_fine: bool = False) -> str:
    """'ok', or what is wrong with a clip's file in `folder`: it is decoded whole, one frame at a time.

    Args:
        clip: says how many frames of what size there should be.
        folder: that `clip.path` is relative to.
        still_is_fine: whether a clip in which nothing moves is no fault; a clip of one frame never is one.
    """
    if clip.status != "ok":
        return clip.status
    # All frames are decoded; pictures are made of them until they cannot change the verdict any more: of most clips, of two.
    unsure = set(range(clip.frames))
    first: np.ndarray | None = None
    count, light, moves = 0, 0.0, still_is_fine or clip.frames == 1
    try:
        for shown in clips.shown_frames(folder / clip.path, unsure):
            count += 1
            if count > clip.frames:
                return f"it has {clips.describe(folder / clip.path).frames} frames, not {clip.frames}"
            frame = shown.picture
            if frame is None:
                continue
            if frame.shape[:2] != (clip.height, clip.width):
                return f"its frames are {frame.shape[1]}x{frame.shape[0]}, not {clip.width}x{clip.height}"
            light += float(frame.mean())
            first = frame if first is None else first
            moves = moves or _differ(first, frame)
            if moves and light >= clips.BLACK * clip.frames:
                unsure.clear()
    except clips.ClipError as error:
        return f"unreadable: {str(error).removeprefix(str(folder / clip.path)).lstrip(': ')}"
    if count != clip.frames:
        return f"it has {count} frames, not {clip.frames}"
    if light < clips.BLACK * count:
        return "black"
    return "ok" if moves else "frozen"


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two frames (H, W, 3) differ by more than a codec's noise, be it in one block of pixels."""
    steps = np.abs(one.astype(np.int16) - other).mean(-1)
    height, width = (side // BLOCK * BLOCK for side in steps.shape)
    if not height or not width:
        return bool(steps.mean() > MOVES)
    blocks = steps[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3))
    return bool(blocks.max() > MOVES)
