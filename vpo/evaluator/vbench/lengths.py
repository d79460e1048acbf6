"""Which clips VBench measures and which VBench-Long does: their numbers differ, and are never mixed."""

from collections.abc import Callable, Mapping
from typing import Any

from vpo.errors import UserError
from vpo.records import Clip, Failure
from vpo.video.frames import FrameReader

CURE = "which measures it all the same, as the leaderboard does with CogVideoX's of 6.1 s"


def check_limit(seconds: float | None, key: str) -> None:
    """Raise UserError where a limit of the config is no length."""
    if seconds is not None and not seconds > 0:
        raise UserError(f"{key}={seconds} must be above 0, or null")


def seconds_of(clip: Clip, reader: FrameReader) -> float:
    """How long a clip is. Raises ClipError where neither its record nor its file says it."""
    return clip.frames / (clip.fps or reader.rate(clip.path))


def too_long(seconds: float, below: float | None, key: str) -> Failure | None:
    """A Failure of a clip that is not below the limit of VBench; None for a shorter one, or without a limit.

    Args:
        seconds: of the clip.
        below: `below_seconds` of the evaluator.
        key: of the evaluator in the config.
    """
    if below is None or seconds < below:
        return None
    return Failure(
        "clip_too_long",
        f"{seconds:.3g} s, and VBench is for clips below {below:g} s; evaluator=vbench_long is for longer ones, or set "
        f"{key}.below_seconds=null, {CURE}",
    )


def too_short(seconds: float, least: float | None, key: str) -> Failure | None:
    """A Failure of a clip that is shorter than VBench-Long's; see `too_long`."""
    if least is None or seconds >= least:
        return None
    return Failure(
        "clip_too_short",
        f"{seconds:.3g} s, and VBench-Long is for clips from {least:g} s; evaluator=vbench is for shorter ones, and "
        f"{key}.from_seconds=null measures it all the same",
    )


def seconds_made(config: Mapping[str, Any]) -> float | None:
    """How long the clips of a run are; None where only the video model knows, or a class of the user's own."""
    generator = config["generator"]
    frames, fps = generator.get("frames"), generator.get("fps")
    ours = str(generator["_target_"]).startswith("vpo.")
    return frames / fps if ours and isinstance(frames, int) and isinstance(fps, int | float) and fps > 0 else None


def check_made(config: Mapping[str, Any], problem_of: Callable[[float], Failure | None], key: str) -> None:
    """Raise UserError where all clips of a run have a length that is a problem.

    Args:
        config: of the run.
        problem_of: from seconds to what is wrong with such a clip.
        key: of the evaluator in the config.
    """
    seconds = seconds_made(config)
    problem = None if seconds is None else problem_of(seconds)
    if problem is not None:
        raise UserError(
            f"config: {key} could measure no clip of this generator (generator.frames, fps): {problem.detail}"
        )
