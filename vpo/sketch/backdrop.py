"""Reads place, light, camera and style from a clip's pixels, knowing the world's paints but not the prompt."""

from functools import cache
from typing import NamedTuple

import numpy as np

from vpo.sketch import world
from vpo.sketch.pixels import grey_of, squared_distances

SIZE = world.SIZE
_REACH = 12.0  # RGB distance at which a pixel hardly belongs to a paint any more
_FOUND = 0.33  # mean fit below which no known backdrop is in the picture
_STILL_NOISE = 6.0  # RGB levels of pixel noise above which no light was named
_FLAT_LEVELS = (0.76, 0.88, 1.0, 1.12, 1.24)
_EXPLAINED = 0.55  # of what the background differs by over 4 pixels: a misfit above it in any frame is a shaky camera
_CAMERA_FRAMES = (0.2, 0.4, 0.6, 0.8, 1.0)


class Backdrop(NamedTuple):
    """What stands behind the subjects. `paints` are the RGB values (n, 3) in which place and light show on screen."""

    place: str | None
    light: str | None
    washed: bool
    paints: np.ndarray


class _Guess(NamedTuple):
    place: str | None
    light: str | None
    washed: bool


def tone(colours: np.ndarray, light: str | None, washed: bool) -> np.ndarray:
    """How paints (n, 3) look on screen under a light; `washed` where no style was named."""
    gains, offsets = world.TONES[light] if light else world.DARK_TONE
    seen = np.clip(
        np.asarray(colours, np.float32) * np.array(gains, np.float32) + np.array(offsets, np.float32), 0, 255
    )
    return seen * (1 - world.WASH) + seen.mean(-1, keepdims=True) * world.WASH if washed else seen


def read_style(frames: np.ndarray) -> str | None:
    """The style, by the edge that it gives to the picture or by its blocks. frames: float32 (T, 64, 64, 3)."""
    grey = grey_of(frames)
    top, side = grey[:, [0, 1, -1, -2]].mean(), grey[:, 20:44][:, :, [0, -1]].mean()
    if top < 28 and grey[:, 2, 10:-10].mean() < 28 and grey[:, 3, 10:-10].mean() < 28:
        return "cinematic"
    if top < 28 and side < 28:
        return "cartoon"
    ring = np.concatenate([frames[:, 0, ::4], frames[:, -1, ::4], frames[:, ::4, 0], frames[:, ::4, -1]], 1)
    if np.abs(ring - world.PAPER).mean() < 14:
        return "watercolor"
    inside, across = np.abs(grey[:, 0::2] - grey[:, 1::2]).mean(), np.abs(grey[:, 1:-1:2] - grey[:, 2::2]).mean()
    return "pixel art" if across > 0.8 and inside < 0.45 * across else None


def read_backdrop(frames: np.ndarray) -> Backdrop:
    """The place and the light whose paints fit the picture best. frames: float32 (T, 64, 64, 3)."""
    pixels = frames[:: max(1, len(frames) // 4), 7:57:4, 6:58:4].reshape(-1, 3)
    guesses, paints, owners = _candidates()
    distance = squared_distances(pixels, paints)
    best = np.minimum.reduceat(distance, owners, axis=0)  # (n_guesses, n_pixels)
    noise = pixel_noise(frames)
    fit = np.exp(-best / (2 * (_REACH + noise) ** 2)).mean(1)
    winner = int(fit.argmax())
    guess = guesses[winner]
    stop = owners[winner + 1] if winner + 1 < len(owners) else len(paints)
    if fit[winner] < _FOUND:
        return Backdrop(None, None, guess.washed, paints[owners[winner] : stop])
    light = guess.light if noise < _STILL_NOISE else None
    return Backdrop(guess.place, light, guess.washed, paints[owners[winner] : stop])


def pixel_noise(frames: np.ndarray) -> float:
    """Noise in RGB levels: the median absolute difference of neighbouring pixels, which plain areas keep near zero."""
    inner = grey_of(frames[:, 8:56, 8:56])
    return float(np.median(np.abs(np.diff(inner, axis=2))))


def read_camera(frames: np.ndarray, behind: np.ndarray, light: str | None) -> str | None:
    """The camera whose move explains best how the background travels between the first frame and later ones.

    frames: float32 (T, 64, 64, 3); behind: bool (T, 64, 64), True where no subject stands. The mark of the light does
    not travel with the camera and is left out. None: no move explains what is seen.
    """
    grey = grey_of(frames)
    behind = behind & ~_around_marks(light)
    last = len(frames) - 1
    grain = _grain(grey[0], behind[0])
    if grain < 0.5 or last < 1:
        return None  # a flat background shows no camera
    when = sorted({round(fraction * last) for fraction in _CAMERA_FRAMES} - {0})
    misfits = {camera: [_misfit(grey, behind, camera, i, last) for i in when] for camera in world.CAMERAS}
    best = min(misfits, key=lambda camera: sum(misfits[camera]))
    tolerance = (
        _EXPLAINED * grain * (2 if best.startswith("zoom") else 1)
    )  # scaling by nearest pixels leaves differences
    return best if max(misfits[best]) < tolerance else None


def _grain(grey: np.ndarray, behind: np.ndarray) -> float:
    """How much the background (64, 64) differs from itself 4 pixels further on, in grey levels."""
    steps = []
    for picture, free in ((grey, behind), (grey.T, behind.T)):
        free = free[4:] & free[:-4]
        steps.append(float(np.abs(picture[4:] - picture[:-4])[free].mean()) if free.any() else 0.0)
    return sum(steps) / 2


def _misfit(grey: np.ndarray, behind: np.ndarray, camera: str, i: int, last: int) -> float:
    """Mean |difference| in grey levels between frame i and what frame 0 says it should be, were this the camera."""
    (x0, y0, s0), (x1, y1, s1) = world.view(camera, 0.0), world.view(camera, i / last)
    grid = np.arange(6, SIZE - 6) - SIZE / 2 + 0.5
    columns = np.rint((grid * s1 + x1 - x0) / s0 + SIZE / 2 - 0.5).astype(int)
    rows = np.rint((grid * s1 + y1 - y0) / s0 + SIZE / 2 - 0.5).astype(int)
    ok_columns, ok_rows = (columns > 5) & (columns < SIZE - 6), (rows > 6) & (rows < SIZE - 7)
    source = np.ix_(rows[ok_rows], columns[ok_columns])
    target = np.ix_((np.arange(6, SIZE - 6))[ok_rows], (np.arange(6, SIZE - 6))[ok_columns])
    seen = behind[0][source] & behind[i][target]
    if seen.sum() < 100:
        return 255.0
    return float(np.abs(grey[0][source] - grey[i][target])[seen].mean())


@cache
def _around_marks(light: str | None) -> np.ndarray:
    """Where the mark of a light and its soft edge are, bool (64, 64)."""
    mark = np.zeros((SIZE + 2, SIZE + 2), bool)
    for shape, _ in world.light_marks(light) if light else ():
        mark[1:-1, 1:-1] |= shape
    return mark[1:-1, 1:-1] | mark[:-2, 1:-1] | mark[2:, 1:-1] | mark[1:-1, :-2] | mark[1:-1, 2:]


@cache
def _candidates() -> tuple[list[_Guess], np.ndarray, np.ndarray]:
    """Every backdrop, the paints of all of them (n, 3), and where each one's paints start."""
    flat = [tuple(np.array(world.FLAT_PAINT) * level) for level in _FLAT_LEVELS]
    guesses, paints, owners = [], [], []
    for place, own in [*world.PAINTS.items(), (None, flat)]:
        for light in (*world.TONES, None):
            for washed in (False, True):
                owners.append(sum(map(len, paints)))
                guesses.append(_Guess(place, light, washed))
                paints.append(tone(np.array(own), light, washed))
    return guesses, np.concatenate(paints), np.array(owners)
