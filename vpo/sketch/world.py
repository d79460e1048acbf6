"""How the sketch world looks: colours, places, lights, cameras and paths, shared by the painter and the reader.

Everything is in pixels of a canvas of SIZE x SIZE, RGB 0..255; time runs from 0 to 1 over a clip.
"""

from functools import cache

import numpy as np

SIZE = 64
SPRITE_SIZES = {1: 24, 2: 19, 3: 15}  # pixels, by the number of subjects
SPACING = {1: 0, 2: 25, 3: 19}  # pixels between the middles of neighbouring subjects
OUTLINES = {"cartoon": 2}  # pixels; 1 in every other style

COLOURS = {
    "red": (225, 30, 35), "orange": (250, 135, 15), "yellow": (252, 232, 45), "green": (35, 190, 55),
    "blue": (35, 75, 235), "purple": (135, 45, 185), "pink": (255, 108, 190), "white": (252, 252, 252),
}  # fmt: skip
OUTLINE_COLOUR = (18, 18, 22)
SPLASH_COLOUR = (165, 0, 12)
PAPER = (238, 232, 218)

# Light is one affine map per channel over the whole picture, (gains, offsets): out = in * gain + offset.
TONES = {
    "day": ((1.0, 1.0, 1.0), (0, 0, 0)),
    "sunset": ((0.88, 0.66, 0.50), (30, 8, 5)),
    "night": ((0.36, 0.42, 0.64), (4, 10, 34)),
    "fog": ((0.45, 0.45, 0.45), (112, 116, 120)),
    "neon": ((0.60, 0.36, 0.66), (62, 4, 74)),
    "candle": ((0.60, 0.40, 0.20), (12, 4, 0)),
}
WASH = 0.55  # how far a picture without a style is pulled towards grey, 0..1
NOISE = 12.0  # grey levels, standard deviation, of a picture without light
DARK_TONE = ((0.42, 0.42, 0.42), (0, 0, 0))  # no light named

# The paints of each place: the first is its sky (or wall), the second its ground, the rest belongs to its pattern.
PAINTS = {
    "beach": ((165, 205, 228), (224, 203, 152), (88, 152, 178), (196, 172, 122)),
    "forest": ((98, 124, 98), (84, 100, 60), (92, 70, 52), (58, 86, 58)),
    "city": ((158, 166, 180), (76, 76, 82), (108, 106, 120), (206, 196, 150)),
    "snow": ((186, 200, 216), (226, 232, 238), (82, 108, 108), (206, 214, 224)),
    "desert": ((222, 206, 178), (208, 166, 116), (182, 138, 96), (112, 128, 84)),
    "ocean": ((150, 186, 208), (54, 100, 138), (84, 136, 168), (196, 212, 216)),
    "meadow": ((168, 204, 222), (128, 168, 94), (100, 142, 80), (226, 214, 168)),
    "room": ((198, 178, 160), (142, 104, 74), (156, 118, 100), (118, 84, 60)),
}
FLAT_PAINT = (150, 150, 150)  # no place named

TEXTURE = (128, 192)  # height and width of a place's picture, of which the camera sees a part
HORIZON = 66
CAMERAS = ("static", "pan left", "pan right", "zoom in", "zoom out", "tilt up")
PAN = 30.0  # pixels that a pan or tilt covers in a clip
ZOOM = (1.35, 0.8)  # source pixels a canvas pixel at the two ends of a zoom


def pale(colours: np.ndarray) -> np.ndarray:
    """The lighter shade of subjects' colours, (..., 3), for windows and bellies."""
    return colours * 0.6 + 255 * 0.4


@cache
def texture(place: str) -> np.ndarray:
    """The picture of a place, uint8 (*TEXTURE, 3), read-only: sky above the horizon, ground below, its own pattern."""
    (height, width), paints = TEXTURE, PAINTS[place]
    rng = np.random.default_rng(sorted(PAINTS).index(place))
    y, x = np.mgrid[0:height, 0:width]
    marks = np.where(y < HORIZON, 0, 1)
    _PATTERNS[place](marks, y, x, rng)
    picture = np.array(paints, np.uint8)[marks]
    picture.setflags(write=False)
    return picture


@cache
def light_marks(light: str) -> list[tuple[np.ndarray, tuple[int, int, int]]]:
    """The marks of a light as (boolean (H, W), RGB): where it comes from."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    far = np.hypot(x - 54, y - 13)
    if light == "day":
        rays = (far < 9) & (far > 6) & ((np.arctan2(y - 13, x - 54) * 4 / np.pi) % 1 < 0.4)
        return [((far < 5) | rays, (255, 246, 190))]
    if light == "sunset":
        return [((far < 8) & (y < 15), (255, 176, 84))]
    if light == "night":
        stars = ((x * 7 + y * 13) % 97 == 0) & (y < 22) & (far > 9)
        return [((far < 6) & (np.hypot(x - 51, y - 11) > 5), (226, 230, 214)), (stars, (200, 206, 220))]
    if light == "neon":
        tall = (y > 9) & (y < 34)
        return [((abs(x - 5) < 1.5) & tall, (60, 250, 240)), ((abs(x - 59) < 1.5) & tall, (255, 70, 200))]
    if light == "candle":
        flame = (np.hypot((x - 56) * 1.8, y - 48) < 4) | ((abs(x - 56) < 1) & (y > 42) & (y < 48))
        return [(flame, (255, 226, 130)), ((abs(x - 56) < 2) & (y >= 52) & (y < 58), (214, 200, 170))]
    return []


def view(camera: str, time: float) -> tuple[float, float, float]:
    """What the camera sees at a time: the x and y of its centre relative to the start's middle, and its scale."""
    along = PAN * (time - 0.5)
    scale = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * (time if camera == "zoom in" else 1 - time)
    x = {"pan left": -along, "pan right": along}.get(camera, 0.0)
    y = -along if camera == "tilt up" else 0.0
    return x, y, scale if camera.startswith("zoom") else 1.0


def offset(motion: str, time: float, direction: int, reach: float) -> tuple[float, float, float]:
    """Where a subject is at a time: x and y relative to the middle of its path, and the factor of its width.

    `direction` is 1 (right) or -1; `reach` in 0..1 shortens the paths that must not leave their column.
    """
    turn = 2 * np.pi * time
    x, y, wide = 0.0, 0.0, 1.0
    if motion == "run":
        x = direction * 42 * (time - 0.5)
    elif motion == "drift":
        x = direction * 14 * (time - 0.5)
    elif motion == "jump":
        y = 8 - 18 * abs(np.sin(turn))
    elif motion == "circle":
        x, y = direction * 10 * reach * np.cos(turn), 10 * np.sin(turn)
    elif motion == "spin":
        wide = max(0.2, abs(np.cos(turn)))
    elif motion in ("rise", "fall"):
        y = (36 if motion == "fall" else -36) * (time - 0.5)
    elif motion == "sway":
        x = direction * 8 * reach * np.sin(2 * turn)
    return x, y, wide


def _beach(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    shore = HORIZON + 8 + (2 * np.sin(x / 7)).astype(int)
    marks[(y >= HORIZON - 6) & (y < shore)] = 2
    _dots(marks, rng, 90, HORIZON + 12, 3, 2)


def _forest(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    marks[(y < HORIZON - 26 + (5 * np.sin(x / 5)).astype(int))] = 3
    for left in range(3, TEXTURE[1], 17):
        left += int(rng.integers(0, 7))
        marks[: HORIZON + 6 + int(rng.integers(0, 6)), left : left + int(rng.integers(3, 6))] = 2
    _dots(marks, rng, 80, HORIZON + 4, 3, 3)


def _city(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    for left in range(0, TEXTURE[1], 19):
        top = int(rng.integers(HORIZON - 46, HORIZON - 14))
        marks[top:HORIZON, left : left + 16] = 2
        inside = (y > top + 2) & (y < HORIZON - 3) & (x > left + 1) & (x < left + 14)
        marks[inside & ((y - top) % 7 < 3) & ((x - left) % 5 < 3)] = 3
    marks[HORIZON + 18 : HORIZON + 21, (np.arange(TEXTURE[1]) % 20) < 11] = 3
    marks[HORIZON + 40 : HORIZON + 44, (np.arange(TEXTURE[1]) % 26) < 14] = 3


def _snow(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    marks[(y >= HORIZON - 5 + (5 * np.sin(x / 14)).astype(int)) & (y < HORIZON + 6)] = 1
    for middle in range(8, TEXTURE[1], 21):
        foot = HORIZON + int(rng.integers(0, 6))
        marks[(abs(x - middle - int(rng.integers(0, 8))) * 2.4 < y - foot + 22) & (y < foot) & (y > foot - 22)] = 2
    marks[(y > HORIZON + 10) & ((y + (5 * np.sin(x / 11)).astype(int)) % 17 < 3)] = 3
    _dots(marks, rng, 60, 0, 2, 1)


def _desert(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    marks[(y >= HORIZON - 8 + (7 * np.sin(x / 17)).astype(int)) & (y < HORIZON)] = 1
    marks[(y > HORIZON - 4) & ((y + (6 * np.sin(x / 13)).astype(int)) % 13 < 4)] = 2
    for left in range(10, TEXTURE[1], 37):
        left += int(rng.integers(0, 12))
        marks[HORIZON - 16 : HORIZON + 4, left : left + 4] = 3
        marks[HORIZON - 10 : HORIZON - 7, left - 4 : left + 8] = 3


def _ocean(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    marks[(y >= HORIZON) & ((y + (3 * np.sin(x / 4)).astype(int)) % 12 < 4)] = 2
    for _ in range(16):
        top, left = int(rng.integers(8, HORIZON - 10)), int(rng.integers(0, TEXTURE[1] - 20))
        marks[((y - top) / 4) ** 2 + ((x - left) / 10) ** 2 < 1] = 3


def _meadow(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    marks[(y >= HORIZON - 9 + (7 * np.sin(x / 15)).astype(int)) & (y < HORIZON + 3)] = 2
    _dots(marks, rng, 130, HORIZON + 5, 3, 3)
    _dots(marks, rng, 110, HORIZON + 5, 4, 2)
    for _ in range(12):
        top, left = int(rng.integers(6, HORIZON - 18)), int(rng.integers(0, TEXTURE[1] - 20))
        marks[((y - top) / 3) ** 2 + ((x - left) / 9) ** 2 < 1] = 3


def _room(marks: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    floor = HORIZON + 12
    marks[y < floor] = 0
    marks[(y >= floor) & ((y - floor) % 9 == 0)] = 3
    marks[(y >= floor) & ((x + 13 * ((y - floor) // 9)) % 29 < 2)] = 3
    marks[floor - 4 : floor] = 3
    for left in range(6, TEXTURE[1], 33):
        top = int(rng.integers(14, 40))
        marks[top : top + 18, left : left + 15] = 3
        marks[top + 3 : top + 15, left + 3 : left + 12] = 2


def _dots(marks: np.ndarray, rng: np.random.Generator, n: int, top: int, size: int, paint: int) -> None:
    """`n` small squares of one paint anywhere below `top`."""
    for row, column in zip(rng.integers(top, TEXTURE[0] - size, n), rng.integers(0, TEXTURE[1] - size, n), strict=True):
        marks[row : row + size, column : column + size] = paint


_PATTERNS = {
    "beach": _beach, "forest": _forest, "city": _city, "snow": _snow,
    "desert": _desert, "ocean": _ocean, "meadow": _meadow, "room": _room,
}  # fmt: skip
