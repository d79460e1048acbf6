"""The silhouettes of the sketch world's subjects, as pictures made of characters.

'#' is the subject's colour, '+' the same lighter, 'o' a dark detail, '.' nothing. All face right. Three plain shapes
stand for whatever the vocabulary does not know.
"""

from functools import cache

import numpy as np

N_CODES = 5
CLEAR, BODY, LIGHT, DARK, OUTLINE = range(N_CODES)  # the codes of a sprite's pixels
_CODES = {".": CLEAR, "#": BODY, "+": LIGHT, "o": DARK}

PICTURES = {
    "dog": """
............###.
#..........#####
#..........#o###
##.........#####
.##......#####..
.##############.
..############..
..############..
..############..
..###......###..
..###......###..
..##........##..
..##........##..""",
    "cat": """
..#.......#.....
..##.....##.....
..#########.....
..#o####o##...##
..#########...##
...###o###.....#
....######.....#
...########...##
..##########..#.
..##########.##.
..#############.
..############..
..###.###.###...""",
    "bird": """
...##...........
...####.........
....#####.......
....######......
.....######.###.
......########o#
##....##########
####.########oo.
.##########.....
..#######.......
....###.........""",
    "fish": """
........####....
##....########..
###..##########.
####.########o##
.###############
..##############
.####++#########
####.#++#######.
###..##########.
##....########..
........####....""",
    "rabbit": """
....##.##...
....##.##...
....##.##...
....##.##...
....#####...
...#######..
...#o###o#..
...#######..
....##o##...
...#######..
..#########.
.###########
.###++++####
.###########
..####.####.""",
    "turtle": """
.....#####......
...####o####....
..##o#####o##...
..#####o#####.##
.###o#####o#####
.############o##
################
.#############..
.###......###...
.###......###...""",
    "butterfly": """
###..........###
#####.o..o.#####
######.oo.######
#++####oo####++#
#+#####oo#####+#
.######oo######.
...####oo####...
....###oo###....
..#####oo#####..
.#++###oo###++#.
.#####.oo.#####.
..###......###..""",
    "car": """
....#######.....
...#+++#+++#....
..#++++#++++#...
.##############.
################
################
###ooo####ooo###
..ooooo..ooooo..
...ooo....ooo...""",
    "boat": """
.......o........
.......o#.......
.....#.o##......
....##.o###.....
...###.o####....
..####.o#####...
.#####.o######..
.......o........
################
.##############.
..############..
...##########...""",
    "balloon": """
....######....
..##########..
.####++######.
.###++#######.
##############
##############
##############
.############.
.############.
..##########..
....######....
....o....o....
.....o..o.....
.....oooo.....
.....oooo.....""",
    "robot": """
.....oo.....
.....oo.....
..########..
..#oo##oo#..
..########..
..##oooo##..
....####....
############
#.########.#
#.##++++##.#
#.########.#
o.########.o
..###..###..
..###..###..
..###..###..""",
    "rocket": """
.....##.....
....####....
...######...
...##++##...
...#++++#...
...##++##...
...######...
...######...
..########..
.##########.
###.####.###
##..####..##
#...oooo...#
.....oo.....""",
    "kite": """
......#......
.....###.....
....##+##....
...###+###...
..####+####..
.#####+#####.
++++++++++++.
.#####+#####.
..####+####..
...###+###...
....##+##....
.....###.....
......#......
.......o.....
......o......
.......o.....""",
    "umbrella": """
.......o.......
.....#####.....
...###+++###...
..####+++####..
.#####+++#####.
.#####+++#####.
#######+#######
##.###.#.###.##
.......o.......
.......o.......
.......o.......
.......o.......
....o..o.......
.....oo........""",
    "blob": """
...######...
.##########.
.##########.
############
############
############
############
.##########.
.##########.
...######...""",
    "block": """
########
########
########
########
########
########
########
########
########
########
########
########
########
########""",
    "drop": """
.....##.....
....####....
....####....
...######...
..########..
.##########.
############
############
.##########.
...######...""",
}
UNKNOWN_SHAPES = ("blob", "block", "drop")  # for subjects that the vocabulary does not know


@cache
def sprite(subject: str, size: int, outline: int = 1) -> np.ndarray:
    """The subject's pixel codes, uint8 (h, w), its longer side `size` + 2 pixels, of which the outline takes
    `outline` on every side."""
    rows = PICTURES[subject].strip("\n").split("\n")
    art = np.array([[_CODES[mark] for mark in row] for row in rows], np.uint8)
    scale = max(art.shape) / (size + 2 - 2 * outline)
    height, width = (max(3, round(side / scale)) for side in art.shape)
    picked = art[_steps(height, art.shape[0])][:, _steps(width, art.shape[1])]
    return outlined(picked, outline)


def squashed(codes: np.ndarray, factor: float) -> np.ndarray:
    """A sprite made narrower by `factor` in 0..1, as if it turned about its vertical axis; at least 3 pixels stay."""
    return codes[:, _steps(max(3, round(codes.shape[1] * factor)), codes.shape[1])]


def outlined(codes: np.ndarray, thickness: int) -> np.ndarray:
    """The codes with a margin of `thickness` pixels, in which clear pixels that touch the sprite become outline."""
    padded = np.pad(codes, thickness)
    for _ in range(thickness):
        solid = np.pad(padded != CLEAR, 1)
        near = solid[:-2, 1:-1] | solid[2:, 1:-1] | solid[1:-1, :-2] | solid[1:-1, 2:]
        padded = np.where((padded == CLEAR) & near, np.uint8(OUTLINE), padded)
    return padded


def _steps(n: int, source: int) -> np.ndarray:
    """`n` indices spread evenly over `source` rows."""
    return ((np.arange(n) + 0.5) * source / n).astype(np.intp)
