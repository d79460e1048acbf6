"""What all rewards do alike: a clip that cannot be scored is a `Failure`, and never a low score."""

import math
from collections.abc import Callable, Mapping, Sequence

from vpo.records import Clip, Failure, Score
from vpo.video.clips import ClipError

Result = Score | Failure


def scored(clips: Sequence[Clip], score: Callable[[list[Clip]], Sequence[Result]]) -> list[Result]:
    """One result a clip: `score`'s for those that are usable, and a Failure for those whose generator says that they are not."""
    usable = [place for place, clip in enumerate(clips) if clip.status == "ok"]
    found = dict(zip(usable, score([clips[place] for place in usable]) if usable else (), strict=True))
    return [
        found[place] if place in found else Failure("unusable", f"the clip is {clip.status}")
        for place, clip in enumerate(clips)
    ]


def scored_each(clips: Sequence[Clip], score: Callable[[Clip], Result]) -> list[Result]:
    """`scored`, one clip after the other; a clip whose file cannot be read is a Failure."""

    def result(clip: Clip) -> Result:
        try:
            return score(clip)
        except ClipError as error:
            return unreadable(error)

    return scored(clips, lambda usable: [result(clip) for clip in usable])


def result_of(clip: Clip, value: float, dimensions: Mapping[str, float] | None = None) -> Result:
    """The score of a clip; a Failure where a number is not finite, which a broken model gives."""
    parts = dict(dimensions or {})
    wrong = [name for name, one in {"value": value, **parts}.items() if not math.isfinite(one)]
    if wrong:
        return Failure("not_finite", f"the model's {wrong[0]} is {({'value': value} | parts)[wrong[0]]}")
    return Score(clip.id, clip.prompt_id, clip.query_id, float(value), parts)


def unreadable(error: Exception) -> Failure:
    """A clip whose file cannot be read."""
    return Failure("unreadable", str(error))
