"""Reads the subjects from a clip's pixels: where they stand, their colour, number, path and kind."""

from functools import cache
from itertools import pairwise

import numpy as np

from vpo.sketch import world
from vpo.sketch.backdrop import Backdrop, tone
from vpo.sketch.pixels import extent, grey_of, squared_distances
from vpo.sketch.sprites import BODY, CLEAR, LIGHT, PICTURES, UNKNOWN_SHAPES, sprite

SIZE = world.SIZE
_MIXES = (0.25, 0.5, 0.75)  # H.264 mixes neighbouring paints; such mixtures are background, too
_STRANGE = 22.0  # RGB distance from all scenery at which a pixel may belong to a subject of unknown colour
_BOX = 30  # pixels: silhouettes are compared inside a box of this side
_SAME = 0.5  # overlap (intersection over union) below which a silhouette is none of the known subjects


def find_subjects(frames: np.ndarray, backdrop: Backdrop, style: str | None) -> tuple[np.ndarray, str | None]:
    """Where subjects are, bool (T, 64, 64), and their colour, None if it is not vivid."""
    names, subject_paints = list(world.COLOURS), np.array(list(world.COLOURS.values()), np.float32)
    body = tone(subject_paints, backdrop.light, backdrop.washed)
    pale = tone(world.pale(subject_paints), backdrop.light, backdrop.washed)
    outline = tone(np.array([world.OUTLINE_COLOUR]), backdrop.light, backdrop.washed)
    scenery = _mixtures(backdrop.paints)
    if backdrop.light:
        marks = [colour for _, colour in world.light_marks(backdrop.light)]
        scenery = np.concatenate([scenery, np.array(marks, np.float32).reshape(-1, 3)])
    if style == "watercolor":
        scenery = np.concatenate([scenery, np.array([world.PAPER], np.float32)])
    inner = frames[:, 5:59, 4:60]
    pixels = inner.reshape(-1, 3)
    to_scenery = _nearest(pixels, scenery)
    to_body = squared_distances(pixels, body)
    owner = to_body.argmin(0)
    vivid = to_body.min(0) < 0.5 * to_scenery
    votes = np.bincount(owner[vivid], minlength=len(names))
    mask = np.zeros(frames.shape[:3], bool)
    if votes.max() < 12 * len(frames):  # no known colour: whatever does not belong to the scenery
        mask[:, 5:59, 4:60] = (to_scenery > _STRANGE**2).reshape(inner.shape[:3])
        return _smooth(_filled(mask)), None
    colour = int(votes.argmax())
    own = np.concatenate([body[colour : colour + 1], pale[colour : colour + 1], outline])
    mask[:, 5:59, 4:60] = (_nearest(pixels, own) < to_scenery).reshape(inner.shape[:3])
    return _smooth(mask), names[colour]


def read_count(mask: np.ndarray, frames_used: np.ndarray) -> tuple[int | None, int]:
    """How many subjects, and the axis along which they stand (0: rows, 1: columns). mask: bool (T, 64, 64)."""
    counts, axes = [], []
    for image in mask[frames_used]:
        lengths = [extent(image.sum(1 - axis)) for axis in (0, 1)]
        axis = int(np.argmax([stop - start for start, stop in lengths]))
        start, stop = lengths[axis]
        if stop - start < 4:
            continue
        profile = image.sum(1 - axis)[start:stop]
        middle = profile[len(profile) // 2 - 1 : len(profile) // 2 + 2]
        counts.append(1 if stop - start <= 29 else (2 if middle.min() <= 1 else 3))
        axes.append(axis)
    if not counts:
        return None, 1
    count = int(np.bincount(counts).argmax())
    return count, int(np.bincount([a for a, c in zip(axes, counts, strict=True) if c == count]).argmax())


def read_motion(mask: np.ndarray) -> str | None:
    """The path of the subjects' common middle, matched with the known paths. mask: bool (T, 64, 64)."""
    area = mask.sum((1, 2)).astype(float)
    if (area < 12).any() or len(mask) < 4:
        return None
    grid = np.arange(SIZE)
    x, y = (mask.sum(1) @ grid) / area, (mask.sum(2) @ grid) / area
    path = np.stack([x - x.mean(), y - y.mean()], 1)
    narrow = float(np.sort(area)[: max(1, len(area) // 8)].mean() / np.sort(area)[-len(area) // 4 :].mean())
    if narrow < 0.55 and np.abs(path).max() < 7:
        return "spin"
    if np.abs(path).max() < 1.5:
        return None
    misfit = {motion: _misfit(path, motion) for motion in ("run", "drift", "jump", "circle", "rise", "fall", "sway")}
    best = min(misfit, key=lambda motion: misfit[motion])
    return best if misfit[best] < 0.5 * float(np.sqrt((path**2).sum(1).mean())) else None


def read_subject(frames: np.ndarray, mask: np.ndarray, count: int, axis: int, style: str | None) -> str | None:
    """The known silhouette that covers the subjects best, over the frames where they are seen best."""
    area = mask.sum((1, 2))
    chosen = np.argsort(-area, kind="stable")[: max(3, len(mask) // 3)]
    boxes = [box for i in chosen for box in _boxes(mask[i], frames[i], count, axis)]
    if not boxes:
        return None
    seen = np.stack(boxes).reshape(len(boxes), -1)  # (n, 2 * BOX * BOX)
    names, templates = _templates(count, world.OUTLINES.get(style, 1))
    shared = seen @ templates.T
    union = seen.sum(1)[:, None] + templates.sum(1)[None] - shared
    overlap = (shared / np.maximum(union, 1)).reshape(len(boxes), len(names), -1).max(2).mean(0)
    best = names[int(overlap.argmax())]
    return best if overlap.max() > _SAME and best not in UNKNOWN_SHAPES else None


def _misfit(path: np.ndarray, motion: str) -> float:
    """Root mean squared distance (pixels) of a centred path (T, 2) to a motion's path, the better way round."""
    times = np.linspace(0, 1, len(path))
    best = np.inf
    for direction in (1, -1):
        for reach in (1.0, 0.6):
            known = np.array([world.offset(motion, t, direction, reach)[:2] for t in times])
            best = min(best, float(np.sqrt(((path - known + known.mean(0)) ** 2).sum(1).mean())))
    return best


def _boxes(mask: np.ndarray, image: np.ndarray, count: int, axis: int) -> list[np.ndarray]:
    """Each subject's silhouette and its bright part, float32 (2, BOX, BOX). mask: bool (H, W); image: (H, W, 3)."""
    start, stop = extent(mask.sum(1 - axis))
    edges = np.linspace(start, stop, count + 1).round().astype(int)
    boxes = []
    grey = grey_of(image)
    dark = grey < 0.5 * grey[mask].max() if mask.any() else mask
    for low, high in pairwise(edges):
        part = np.zeros_like(mask)
        window = (slice(low, high), slice(None)) if axis == 0 else (slice(None), slice(low, high))
        part[window] = mask[window]
        (top, bottom), (left, right) = extent(part.sum(1), 0), extent(part.sum(0), 0)
        if not (3 < bottom - top <= _BOX and 3 < right - left <= _BOX):
            continue
        subject_mask = part[top:bottom, left:right]
        boxes.append(np.stack([_centred(subject_mask), _centred(subject_mask & ~dark[top:bottom, left:right])]))
    return boxes


@cache
def _templates(count: int, outline: int) -> tuple[list[str], np.ndarray]:
    """All silhouettes at the size for a count: names, and float32 (names * 18 variants, 2 * BOX * BOX)."""
    names = list(PICTURES)
    rows = []
    for name in names:
        codes = sprite(name, world.SPRITE_SIZES[count], outline)
        for turned in (codes, codes[:, ::-1]):
            pair = np.stack([_centred(turned != CLEAR), _centred((turned == BODY) | (turned == LIGHT))])
            rows += [np.roll(pair, (dy, dx), (1, 2)).ravel() for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return names, np.stack(rows)


def _centred(mask: np.ndarray) -> np.ndarray:
    """A boolean mask (h, w) in the middle of a float32 box (BOX, BOX)."""
    box = np.zeros((_BOX, _BOX), np.float32)
    top, left = (_BOX - mask.shape[0]) // 2, (_BOX - mask.shape[1]) // 2
    box[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return box


def _smooth(mask: np.ndarray) -> np.ndarray:
    """Each pixel of the mask (T, H, W) as most of the 9 pixels around it: specks go, and gaps inside a subject close."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return (around > 4) | (mask & (around > 3))


def _filled(mask: np.ndarray) -> np.ndarray:
    """The mask (T, H, W) and what it encloses from all four sides, for subjects of which only the outline is found."""
    sides = [
        np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis) if flip else np.maximum.accumulate(mask, axis)
        for axis in (1, 2)
        for flip in (False, True)
    ]
    return np.logical_and.reduce(sides)


def _mixtures(paints: np.ndarray) -> np.ndarray:
    """The paints (n, 3) and their pairwise mixtures."""
    first, second = np.triu_indices(len(paints), 1)
    return np.concatenate([paints, *(paints[first] * (1 - m) + paints[second] * m for m in _MIXES)])


def _nearest(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Squared RGB distance of each pixel (n, 3) to the nearest of the colours: (n,)."""
    return squared_distances(pixels, colours).min(0)
