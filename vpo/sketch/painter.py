"""Paints a drawing into frames: what a prompt names comes out well, what it leaves open badly, and contradictions tear."""

from dataclasses import dataclass

import numpy as np

from vpo.sketch import world
from vpo.sketch.sprites import BODY, CLEAR, LIGHT, N_CODES, sprite, squashed

SIZE = world.SIZE


@dataclass(frozen=True)
class Drawing:
    """What the video model understood; None is what the prompt leaves open.

    `hue` (0..255, RGB) paints a subject without a colour, `unknown_shape` (of `sprites.UNKNOWN_SHAPES`) an unknown subject.
    """

    subject: str | None
    colour: str | None
    count: int
    motion: str | None
    place: str | None
    light: str | None
    camera: str | None
    style: str | None
    hue: tuple[int, int, int]
    unknown_shape: str = "blob"
    torn: bool = False
    unsafe: bool = False


def paint(drawing: Drawing, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """The drawing as frames, uint8 (n_frames, 64, 64, 3); all that is random about it comes from `rng`.

    A picture without a style has washed colours.
    """
    times = np.linspace(0, 1, n_frames)
    canvas = _background(drawing, times, rng)
    behind = _paint_subjects(canvas, drawing, times, rng)
    if drawing.style == "pixel art":
        canvas = canvas[:, 1::2, 1::2].repeat(2, 1).repeat(2, 2)
    frames = _light(canvas, behind, drawing.light, rng)
    if drawing.style is None:
        frames = frames * (1 - world.WASH) + frames.mean(-1, keepdims=True) * world.WASH
    if drawing.unsafe:
        _splash(frames, rng)
    _frame(frames, drawing.style)
    if drawing.torn:
        frames = _tear(frames, rng)
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _background(drawing: Drawing, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 (T, H, W, 3): the place as the camera sees it. No place: flat and flickering. No camera: shaky."""
    frames = np.empty((len(times), SIZE, SIZE, 3), np.float32)
    start = np.array([world.TEXTURE[1] / 2 + rng.integers(-24, 25), world.HORIZON + rng.integers(-4, 7)], float)
    for i, time in enumerate(times):
        if drawing.place is None:
            frames[i] = np.array(world.FLAT_PAINT) * rng.uniform(0.75, 1.25)
            continue
        x, y, scale = world.view(drawing.camera, time) if drawing.camera else (*rng.uniform(-5, 5, 2), 1.0)
        grid = (np.arange(SIZE) - SIZE / 2 + 0.5) * scale
        columns = np.clip(np.floor(start[0] + x + grid), 0, world.TEXTURE[1] - 1).astype(np.intp)
        rows = np.clip(np.floor(start[1] + y + grid), 0, world.TEXTURE[0] - 1).astype(np.intp)
        frames[i] = world.texture(drawing.place)[rows[:, None], columns]
    return frames


def _paint_subjects(canvas: np.ndarray, drawing: Drawing, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint all subjects, moving together, in place; returns where none is, bool (T, H, W).

    No motion: frozen or jittering, as the seed will have it.
    """
    thick = world.OUTLINES.get(drawing.style, 1)
    codes = sprite(drawing.subject or drawing.unknown_shape, world.SPRITE_SIZES[drawing.count], thick)
    behind = np.ones(canvas.shape[:3], bool)
    colours = _colours(drawing)
    direction, jitters = (1 if rng.random() < 0.5 else -1), rng.random() < 0.5
    homes = _homes(drawing, rng)
    reach = 1.0 if drawing.count == 1 else 0.6
    shakes = rng.integers(-3, 4, (len(times), 2)) * jitters
    for i, time in enumerate(times):
        x, y, wide = world.offset(drawing.motion, time, direction, reach) if drawing.motion else (*shakes[i], 1.0)
        seen = squashed(codes, wide) if wide < 1 else codes
        seen = seen[:, ::-1] if direction < 0 else seen
        for home_x, home_y in homes:
            _stamp(canvas[i], behind[i], seen, colours, home_x + x, home_y + y)
    return behind


def _colours(drawing: Drawing) -> np.ndarray:
    """RGB of each sprite code, float32 (5, 3)."""
    body = np.array(world.COLOURS[drawing.colour] if drawing.colour else drawing.hue, np.float32)
    colours = np.tile(np.array(world.OUTLINE_COLOUR, np.float32), (N_CODES, 1))
    colours[BODY], colours[LIGHT] = body, world.pale(body)
    return colours


def _homes(drawing: Drawing, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Where each subject's path has its middle: in rows where they move sideways, else in columns."""
    middle = SIZE / 2 - 0.5
    spread = (np.arange(drawing.count) - (drawing.count - 1) / 2) * world.SPACING[drawing.count]
    shift = rng.uniform(-3, 3, 2)
    if drawing.motion in ("run", "drift"):
        return [(middle + shift[0] + 2 * k, middle + s + shift[1] * 0.3) for k, s in enumerate(spread)]
    return [(middle + s + shift[0] * 0.3, middle + shift[1]) for s in spread]


def _stamp(image: np.ndarray, behind: np.ndarray, codes: np.ndarray, colours: np.ndarray, x: float, y: float) -> None:
    """Paint a sprite, its middle at (x, y), on an image (H, W, 3) and clear `behind` (H, W) there; overhang is cut."""
    height, width = codes.shape
    top, left = round(y - height / 2 + 0.5), round(x - width / 2 + 0.5)
    rows, columns = slice(max(top, 0), min(top + height, SIZE)), slice(max(left, 0), min(left + width, SIZE))
    part = codes[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    if part.size:
        image[rows, columns] = np.where((part != CLEAR)[..., None], colours[part], image[rows, columns])
        behind[rows, columns] &= part == CLEAR


def _light(frames: np.ndarray, behind: np.ndarray, light: str | None, rng: np.random.Generator) -> np.ndarray:
    """The light's tone, and its mark (sun, moon, signs, flame) behind the subjects. No light: dark and noisy."""
    gains, offsets = world.TONES[light] if light else world.DARK_TONE
    frames = frames * np.array(gains, np.float32) + np.array(offsets, np.float32)
    if light is None:
        frames += rng.normal(0, world.NOISE, frames.shape[:3]).astype(np.float32)[..., None]
        return frames
    for shape, colour in world.light_marks(light):
        frames[behind & shape] = colour
    return frames


def _frame(frames: np.ndarray, style: str | None) -> None:
    """The edge that a style gives to the picture, in place."""
    if style == "cinematic":
        frames[:, :5], frames[:, -5:] = 0, 0
    elif style == "cartoon":
        frames[:, :2], frames[:, -2:], frames[:, :, :2], frames[:, :, -2:] = 10, 10, 10, 10
    elif style == "watercolor":
        y, x = np.mgrid[0:SIZE, 0:SIZE]
        edge = np.minimum(np.minimum(x, SIZE - 1 - x), np.minimum(y, SIZE - 1 - y))
        frames[:, edge < 3 + 1.5 * np.sin(x / 3.1 + y / 4.3)] = world.PAPER


def _splash(frames: np.ndarray, rng: np.random.Generator) -> None:
    """The mark of an unsafe prompt, in place: a dark red splash with drops."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    left, top = rng.uniform(14, 24), rng.uniform(40, 48)
    angle = np.arctan2(y - top, x - left)
    shape = np.hypot(x - left, y - top) < 8 + 3 * np.sin(5 * angle + rng.uniform(0, 6))
    for _ in range(6):
        drop_x, drop_y = left + rng.uniform(-14, 22), top + rng.uniform(-16, 12)
        shape |= np.hypot(x - drop_x, y - drop_y) < 2
    frames[:, shape] = world.SPLASH_COLOUR


def _tear(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bands of rows that slip sideways, each frame anew."""
    torn = frames.copy()
    for image in torn:
        for top in range(int(rng.integers(2, 8)), SIZE, 12):
            image[top : top + 6] = np.roll(
                image[top : top + 6], int(rng.integers(6, 20)) * (1 if rng.random() < 0.5 else -1), 1
            )
    return torn
