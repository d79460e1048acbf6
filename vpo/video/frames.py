"""The one way by which rewards and evaluators get frames: a clip is decoded once, and only the frames that somebody needs are kept.

Which frames of a clip a model reads is a `Selection`, written in a config as text: "all", "middle 8". A `FrameReader` announces its
selection to the cache of the process when it is made. When a clip is decoded for one reader, the frames of all readers that are
alive are kept, so that an ensemble of rewards decodes each clip once. What is kept is bounded in bytes, whatever the clips' length.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from vpo.video.clips import ClipError, shown_frames
from vpo.video.selection import Selection, Timeline, selection_of

CACHE_BYTES = 1 << 30  # of frames, in one process
WINDOW_BYTES = 1 << 24  # of frames that are handed on at once
_TIMELINES = 4096  # clips whose timelines are remembered

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Frames:
    """Selected frames of a clip.

    Attributes:
        images: uint8 (n, H, W, 3), RGB, in the order of the selection; an index that is selected twice stands twice.
        indices: of the frames in the clip, from 0.
        timeline: of the whole clip.
    """

    images: np.ndarray
    indices: tuple[int, ...]
    timeline: Timeline


@dataclass
class _Held:
    """What the cache has of a clip."""

    timeline: Timeline
    images: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(image.nbytes for image in self.images.values())


class FrameCache:
    """Decoded frames by clip, the least recently used clip dropped first.

    Args:
        limit: bytes of frames that are kept.

    Attributes:
        decodes: how often a file has been decoded.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit, self.decodes = limit, 0
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._timelines: OrderedDict[Key, Timeline] = OrderedDict()
        self._readers: weakref.WeakSet[FrameReader] = weakref.WeakSet()
        self._keeps = False  # for readers that are still to come
        self._lock = threading.RLock()

    @property
    def size(self) -> int:
        """Bytes of the frames that are kept."""
        return sum(held.size for held in self._held.values())

    def announce(self, reader: "FrameReader") -> None:
        """Keep this reader's frames, too, of every clip that is decoded while it is alive."""
        self._readers.add(reader)

    def withdraw(self, reader: "FrameReader") -> None:
        """The reader needs no more frames; with the last one all frames go."""
        with self._lock:
            self._readers.discard(reader)
            if not self._readers:
                self._held.clear()

    def let_go(self, reader: "FrameReader") -> None:
        """The reader is done with the clips that it has read: their frames go, unless others may want them."""
        with self._lock:
            if not self._keeps and set(self._readers) <= {reader}:
                self._held.clear()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Within it, no reader lets frames go: others come that read the same clips."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False

    def timeline(self, path: Path) -> Timeline:
        """When each frame is shown: as it was decoded, else by the file's index. Raises ClipError where it cannot be read."""
        key = key_of(path)
        with self._lock:
            return self._timelines.get(key) or self._remember(key, scan(path))

    def windows(self, path: Path, selection: Selection, only: Collection[int] | None = None) -> Iterator[Frames]:
        """The selected frames, some at a time, in order; of a clip that does not fit into the cache none are kept.

        Args:
            path: of the clip.
            selection: which frames.
            only: these of the selected indices; None for all of them.

        Raises:
            ClipError: The file cannot be read.
        """
        key = key_of(path)
        with self._lock:
            held, timeline = self._held.get(key), self.timeline(path)
            chosen = _chosen(selection, timeline, only)
            if held is None or not held.images.keys() >= set(chosen):
                readers = [selection, *(reader.selection for reader in self._readers)]
                needed = {index for one in readers for index in one(timeline)}
                if len(needed) * timeline.frame_bytes <= self.limit:
                    held = self._decode(path, key, readers, timeline, needed)
                    chosen = _chosen(selection, held.timeline, only)
                else:
                    held = None
            if held is not None:
                self._held.move_to_end(key)
        if held is None:
            yield from self._streamed(path, timeline, chosen)
            return
        for start, stop in _cuts(len(chosen), held.timeline.frame_bytes):
            part = chosen[start:stop]
            yield Frames(np.stack([held.images[index] for index in part]), tuple(part), held.timeline)

    def read(self, path: Path, selection: Selection) -> Frames:
        """The selected frames at once. Raises ClipError where the file cannot be read, or they do not fit into the cache."""
        parts = []
        for part in self.windows(path, selection):
            parts.append(part)
            if sum(one.images.nbytes for one in parts) > self.limit:
                raise ClipError(f"{path}: the frames that are read of it take more than {self.limit / 1e9:.1f} GB")
        if len(parts) == 1:
            return parts[0]
        indices = tuple(index for part in parts for index in part.indices)
        return Frames(np.concatenate([part.images for part in parts]), indices, parts[0].timeline)

    def clear(self) -> None:
        """Drop all frames."""
        with self._lock:
            self._held.clear()

    def _decode(
        self, path: Path, key: Key, readers: Sequence[Selection], timeline: Timeline, needed: set[int]
    ) -> _Held:
        """Decode a clip and keep the needed frames; once more where its index names another number of frames than there are."""
        self.decodes += 1
        images, shown = decode(path, needed)
        timeline = Timeline(shown, timeline.frame_bytes)
        needed = {index for one in readers for index in one(timeline)}
        if not needed <= images.keys():
            self.decodes += 1
            images, _ = decode(path, needed)
        held = _Held(self._remember(key, timeline), {index: images[index] for index in needed})
        self._held.pop(key, None)
        while self._held and self.size + held.size > self.limit:
            self._held.popitem(last=False)
        self._held[key] = held
        return held

    def _remember(self, key: Key, timeline: Timeline) -> Timeline:
        self._timelines[key] = timeline
        self._timelines.move_to_end(key)
        if len(self._timelines) > _TIMELINES:
            self._timelines.popitem(last=False)
        return timeline

    def _streamed(self, path: Path, timeline: Timeline, chosen: Sequence[int]) -> Iterator[Frames]:
        """Windows of a clip that is too large to keep. Raises ClipError where its index names another number of frames."""
        self.decodes += 1
        most = max(1, WINDOW_BYTES // timeline.frame_bytes)
        window: dict[int, np.ndarray] = {}
        count = 0
        for shown in shown_frames(path, set(chosen)):
            if shown.picture is not None:
                window[shown.place] = shown.picture
            count = shown.place + 1
            if len(window) == most:
                yield Frames(np.stack(list(window.values())), tuple(window), timeline)
                window = {}
        if window:
            yield Frames(np.stack(list(window.values())), tuple(window), timeline)
        if count != timeline.count:  # then other frames are selected than were meant
            raise ClipError(f"{path}: holds {count} frames, and its index names {timeline.count}")


CACHE = FrameCache()


class FrameReader:
    """Reads one selection of clips' frames through the cache of the process.

    Args:
        selection: as in a config, or a function of a clip's timeline; see `vpo.video.selection`.
        key: the config key that names it, for messages.
        cache: None for that of the process.

    Raises:
        UserError: There is no such selection.
    """

    def __init__(self, selection: str | Selection, key: str = "frames", cache: FrameCache | None = None) -> None:
        self.selection = selection_of(selection, key) if isinstance(selection, str) else selection
        self.cache = CACHE if cache is None else cache
        self.cache.announce(self)

    def read(self, path: Path | str) -> Frames:
        """The frames of a clip. Raises ClipError where it cannot be read."""
        return self.cache.read(Path(path), self.selection)

    def windows(self, path: Path | str, only: Collection[int] | None = None) -> Iterator[Frames]:
        """The frames of a clip, some at a time. Raises ClipError where it cannot be read."""
        return self.cache.windows(Path(path), self.selection, only)

    def indices(self, path: Path | str) -> list[int]:
        """Which frames of a clip are selected. Raises ClipError where it cannot be read."""
        return self.selection(self.cache.timeline(Path(path)))

    def count(self, path: Path | str) -> int:
        """How many frames a clip has. Raises ClipError where it cannot be read."""
        return self.cache.timeline(Path(path)).count

    def rate(self, path: Path | str) -> float:
        """Frames a second, on average. Raises ClipError where it cannot be read, or is a single picture."""
        times = self.cache.timeline(Path(path)).times
        if times[-1] <= times[0]:
            raise ClipError(f"{path}: its file does not say how long a frame is shown")
        return (len(times) - 1) / (times[-1] - times[0])

    def let_go(self) -> None:
        """Of the clips that it has read it needs no more frames."""
        self.cache.let_go(self)

    def close(self) -> None:
        """No more frames are needed for it."""
        self.cache.withdraw(self)


def key_of(path: Path) -> Key:
    """What names a clip's content: its path, time of change and size. Raises ClipError where there is no such file."""
    try:
        found = path.stat()
    except OSError as error:
        raise ClipError(f"{path}: cannot be read: {error.strerror}") from error
    return str(path.resolve()), found.st_mtime_ns, found.st_size


def groups(sizes: Sequence[int], limit: int) -> list[range]:
    """Consecutive places whose sizes sum to at most `limit`; what is larger alone has a group of its own."""
    found, start, total = [], 0, 0
    for place, size in enumerate(sizes):
        if place > start and total + size > limit:
            found.append(range(start, place))
            start, total = place, 0
        total += size
    return [*found, range(start, len(sizes))] if sizes else []


def scan(path: Path) -> Timeline:
    """When each frame is shown, by the file's index: nothing is decoded. Raises ClipError where it cannot be read."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ClipError(f"{path}: no video stream")
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            base, rate = stream.time_base, stream.average_rate or stream.guessed_rate
            size = stream.codec_context.width * stream.codec_context.height * 3
    except ClipError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ClipError(f"{path}: cannot be read as a video: {error}") from error
    if not packets or not size:
        raise ClipError(f"{path}: holds no frame")
    stamps = [packet.pts for packet in packets]
    if base is None or any(stamp is None for stamp in stamps):
        times = [place / float(rate or 1) for place in range(len(stamps))]
    else:
        times = sorted(float(stamp * base) for stamp in stamps if stamp is not None)
    return Timeline(tuple(times), size)


def decode(path: Path, needed: set[int]) -> tuple[dict[int, np.ndarray], tuple[float, ...]]:
    """The needed frames, uint8 (H, W, 3) RGB by index, and when each frame of the clip is shown, in seconds.

    Raises ClipError where the file cannot be read, or changes its size.
    """
    images, times = {}, []
    for shown in shown_frames(path, needed):
        times.append(shown.time)
        if shown.picture is not None:
            images[shown.place] = shown.picture
    return images, tuple(times)


def _chosen(selection: Selection, timeline: Timeline, only: Collection[int] | None) -> list[int]:
    return [index for index in selection(timeline) if only is None or index in only]


def _cuts(count: int, frame_bytes: int) -> Iterator[tuple[int, int]]:
    most = max(1, WINDOW_BYTES // frame_bytes)
    for start in range(0, count, most):
        yield start, min(start + most, count)
