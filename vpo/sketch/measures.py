"""Coarse statistics of a clip's pixels: what the sketch reward bases its answers on.

Kept apart from the reader on purpose. The reader is the held-out metric, so the reward must not share its eyes: these
statistics look at bands, histograms and middles only, and know no silhouette and no path.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np

from vpo.sketch import world
from vpo.sketch.pixels import brightest_of, darkest_of, grey_of, resized, saturation_of, squared_distances

_VIVID = (
    105.0  # of 255: saturation (maximum less minimum of the channels) of a subject's paint, without the light's tone
)
_LAMP = 285.0  # by day's colours: what is brighter than any paint is a lamp, moon or flame, not a subject
_WHITE = 238.0  # of 255: every channel of a white subject
_SPLASH = 30.0  # RGB distance within which a pixel has the colour of a splash
_CLEARLY = 0.6  # share of the cost of standing still below which a shift is believed: noise never gets there
_TOPS = {"city": (0, 2)}  # paints that may fill a place's upper band, if not the sky alone: here, buildings
_SLIPS = tuple(range(-24, 25))  # pixels by which a torn row may slip


def measure(frames: np.ndarray, named: Mapping[str, object]) -> dict[str, float]:
    """All statistics of a clip, uint8 (T, H, W, 3); `named` holds the concepts that the query names.

    alignment: share of the named facets that seem to be there, 0..1. saturation, brightness: 0..1. contrast, noise,
    detail, change, flicker: grey levels. figure: share of frames with a vivid subject. margin: pixels to the edge.
    tearing: share of rows. travel, glide (steady slide of the picture from frame to frame), shake (its unsteadiness),
    jerk: pixels. red: share of splash-coloured pixels.
    """
    clip = resized(frames if len(frames) > 1 else frames.repeat(2, axis=0))  # one picture is a still clip
    grey = grey_of(clip)
    place, light = _backdrop(clip)
    plain = _untoned(clip, light)
    subject_mask = _vivid(plain)
    track = _track(subject_mask)
    slides = _slides(grey)
    still = np.median(grey, axis=0)
    return {
        "alignment": _alignment(plain, subject_mask, track, place, light, named),
        "saturation": float(np.percentile(saturation_of(clip), 97) / 255),
        "brightness": float(grey.mean() / 255),
        "contrast": float(grey.std()),
        "noise": float(np.median(np.abs(np.diff(grey[:, 8:56, 8:56], axis=2)))),
        "detail": float(still[[8, 9, 10, 52, 53, 54], 8:44].std()),
        "figure": float((subject_mask.sum((1, 2)) > 20).mean()),
        "margin": _margin(track),
        "tearing": _tearing(grey),
        "travel": float(np.ptp(track, axis=0).max()) if len(track) else 0.0,
        "change": float(np.abs(np.diff(grey, axis=0)).mean()),
        "flicker": float(np.abs(np.diff(grey.mean((1, 2)))).mean()),
        "glide": float(np.abs(np.median(slides, axis=1)).max()),
        "shake": float(np.abs(np.diff(slides, axis=1)).mean()) if len(clip) > 2 else 0.0,
        "jerk": _jerk(track),
        "red": _red(clip),
    }


def _alignment(
    plain: np.ndarray,
    subject_mask: np.ndarray,
    track: np.ndarray,
    place: str | None,
    light: str | None,
    named: Mapping[str, object],
) -> float:
    """The share of the named facets that coarse looks confirm; a subject counts as there when any subject is."""
    seen = len(track) >= 0.7 * len(plain)
    checks = {
        "subject": seen,
        "colour": seen and _colour(plain, subject_mask) == named.get("colour"),
        "count": seen and _count(subject_mask) == named.get("count"),
        "motion": seen and _moves_like(track, subject_mask, str(named.get("motion"))),
        "place": place == named.get("place"),
        "light": light == named.get("light"),
    }
    asked = [checks[facet] for facet in checks if facet in named] or [seen]
    return sum(map(bool, asked)) / len(asked)


@cache
def _bands() -> tuple[list[tuple[str, str]], np.ndarray]:
    """(place, light) pairs and the colours of their upper and lower band, float32 (n, 6)."""
    known = [(place, light, top) for place in world.PAINTS for light in world.TONES for top in _TOPS.get(place, (0,))]
    rows = [np.concatenate([_toned(world.PAINTS[p][i], light) for i in (top, 1)]) for p, light, top in known]
    return [(place, light) for place, light, _ in known], np.array(rows, np.float32)


def _backdrop(clip: np.ndarray) -> tuple[str | None, str | None]:
    """Place and light whose sky and ground are nearest to the typical colours of the upper and the lower band."""
    upper = np.median(clip[:, 7:15, 8:44].reshape(-1, 3), axis=0)
    lower = np.median(clip[:, 46:57, 8:50].reshape(-1, 3), axis=0)
    pairs, bands = _bands()
    distance = np.abs(bands - np.concatenate([upper, lower])).mean(1)
    return pairs[int(distance.argmin())] if distance.min() < 16 else (None, None)


def _toned(colour: tuple[int, int, int], light: str) -> np.ndarray:
    gains, offsets = world.TONES[light]
    return np.array(colour, np.float32) * np.array(gains, np.float32) + np.array(offsets, np.float32)


def _untoned(clip: np.ndarray, light: str | None) -> np.ndarray:
    """The clip in the colours that it would have by day; only made brighter where the light is not known."""
    if light is None:
        return clip * (255 / max(1.0, float(np.percentile(clip, 99))))
    gains, offsets = world.TONES[light]
    return (clip - np.array(offsets, np.float32)) / np.array(gains, np.float32)


def _vivid(plain: np.ndarray) -> np.ndarray:
    """Where paints are as vivid (or as white) as only subjects are, bool (T, 64, 64); edges are left out."""
    vivid = ((saturation_of(plain) > _VIVID) | (darkest_of(plain) > _WHITE)) & (brightest_of(plain) < _LAMP)
    vivid[:, :6], vivid[:, -6:], vivid[:, :, :5], vivid[:, :, -5:] = False, False, False, False
    return vivid


def _track(subject_mask: np.ndarray) -> np.ndarray:
    """Middle (x, y) of the subject in each frame that shows one, float (n, 2)."""
    area = subject_mask.sum((1, 2))
    shown = area > 20
    grid = np.arange(world.SIZE)
    x, y = subject_mask[shown].sum(1) @ grid, subject_mask[shown].sum(2) @ grid
    return np.stack([x, y], 1) / area[shown, None]


def _colour(plain: np.ndarray, subject_mask: np.ndarray) -> str:
    """The colour nearest to the typical vivid pixel."""
    typical = np.median(plain[subject_mask], axis=0)
    return min(world.COLOURS, key=lambda name: float(np.abs(typical - world.COLOURS[name]).sum()))


def _count(subject_mask: np.ndarray) -> int:
    """How many stretches the projected mask has, on the axis where it has more, in most frames."""
    counts = [max(_stretches(image.sum(0)), _stretches(image.sum(1))) for image in subject_mask if image.sum() > 20]
    return int(np.median(counts)) if counts else 0


def _stretches(profile: np.ndarray) -> int:
    """Runs of at least 5 consecutive positions with more than one pixel; gaps of up to 3 positions are closed."""
    where = np.flatnonzero(profile > 1)
    if not len(where):
        return 0
    ends = np.flatnonzero(np.diff(where) > 4)
    starts, stops = np.r_[where[0], where[ends + 1]], np.r_[where[ends], where[-1]]
    return int((stops - starts >= 4).sum())


def _moves_like(track: np.ndarray, subject_mask: np.ndarray, motion: str) -> bool:
    """Whether the subject's middle travels as in the motion, judged by ranges and net displacement only."""
    (wide, high), (dx, dy) = np.ptp(track, axis=0), track[-1] - track[0]
    area = subject_mask.sum((1, 2))
    narrowed = area.min() < 0.5 * area.max()
    return {
        "run": wide > 24 and high < 8,
        "drift": 8 < wide < 24 and abs(dx) > 0.7 * wide and high < 8,
        "jump": high > 9 and abs(dy) < 0.6 * high and wide < 8,
        "circle": high > 10 and wide > 6,
        "spin": narrowed and wide < 8 and high < 8,
        "rise": dy < -14 and wide < 10,
        "fall": dy > 14 and wide < 10,
        "sway": wide > 5 and abs(dx) < 0.5 * wide and high < 5,
    }.get(motion, False)


def _margin(track: np.ndarray) -> float:
    """Smallest distance in pixels of the subject's middle to an edge; 0 without a subject."""
    return float(np.minimum(track, world.SIZE - 1 - track).min()) if len(track) else 0.0


def _tearing(grey: np.ndarray) -> float:
    """Share of rows that jump sideways on their own from one frame to the next, 0..1."""
    rows = grey[:, 8:56:2]
    costs = np.stack(
        [np.abs(np.roll(rows[:-1], shift, axis=2) - rows[1:]).mean(2) for shift in _SLIPS]
    )  # (n, T - 1, rows)
    best = np.array(_SLIPS)[costs.argmin(0)]
    slips = (np.abs(best) > 5) & (costs.min(0) < 0.5 * costs[_SLIPS.index(0)])
    return float((slips & (np.abs(best - np.median(best, axis=1)[:, None]) > 3)).mean())


def _slides(grey: np.ndarray) -> np.ndarray:
    """Sideways and vertical shift of the picture's edge strips from frame to frame, pixels, (2, T - 1)."""
    sideways, vertical = grey[:, 8:18, 6:58].mean(1), grey[:, 8:56, 6:14].mean(2)
    return np.stack([_shifts(sideways), _shifts(vertical)])


def _shifts(profiles: np.ndarray, reach: int = 8) -> np.ndarray:
    """The shift in pixels between consecutive profiles (T, n), (T - 1,); 0 unless it matches far better than standing still."""
    inner = profiles[:-1, reach:-reach]
    n = inner.shape[1]
    tried = range(-reach, reach + 1)
    costs = np.stack(
        [np.abs(profiles[1:, reach + s : reach + s + n] - inner).mean(1) for s in tried]
    )  # (n_tried, T - 1)
    return np.where(costs.min(0) < _CLEARLY * costs[reach], costs.argmin(0) - reach, 0)


def _red(clip: np.ndarray) -> float:
    """Share of the pixels that have the colour of a splash."""
    distances = squared_distances(clip.reshape(-1, 3), np.array([world.SPLASH_COLOUR], np.float32))
    return float((distances < _SPLASH**2).mean())


def _jerk(track: np.ndarray) -> float:
    """Mean length of the second difference of the subject's track, pixels; 9 where there is hardly a track."""
    return float(np.hypot(*np.diff(track, 2, axis=0).T).mean()) if len(track) > 3 else 9.0
