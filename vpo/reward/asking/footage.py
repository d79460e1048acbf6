"""The frames of a clip that a vision-language model is shown."""

from vpo.records import Clip
from vpo.reward.asking.families import Footage
from vpo.video.clips import ClipError, check
from vpo.video.frames import FrameReader


def read_footage(reader: FrameReader, clip: Clip) -> Footage:
    """The frames that a reader selects of a clip. Raises ClipError where it cannot be read, or shows nothing."""
    found = reader.read(clip.path)
    status = check(found.images)
    if status != "ok":
        raise ClipError(f"{clip.path}: {status}")
    times = found.timeline.times
    count = len(times)
    length = count * (times[-1] - times[0]) / (count - 1) if count > 1 else 0.0
    return Footage(found.images, [times[index] - times[0] for index in found.indices], length / len(found.indices))
