"""The two pictures of a run: the same queries under every method, and the training curves."""

import json
import logging
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpo.charts import GREY, INK, LIGHT, new_figure, style_axis

if TYPE_CHECKING:
    from PIL import Image, ImageFont

log = logging.getLogger(__name__)

FRAMES = 4  # shown of each clip, evenly spread
_HEIGHT = 128  # pixels of a shown frame
_GAP, _PAD, _LINE = 4, 28, 24  # pixels between frames, around blocks, and from line to line
_EMPTY = "#eaeef2"

ContactRow = tuple[str, Mapping[str, str | Path | None]]  # a query's text, and the clip of each method


def contact_sheet(
    rows: Sequence[ContactRow],
    methods: Sequence[str],
    path: Path,
    *,
    title: str = "",
    footer: str = "",
    labels: Mapping[str, str] | None = None,
) -> None:
    """Draw each query as a block: its text, and below it one strip of four frames per method, time to the right.

    Args:
        rows: queries with their clips; a clip that is None or cannot be read is drawn as an empty box.
        methods: the strips of each block, from top to bottom.
        path: the PNG to write.
        title: a line above everything.
        footer: a line below, which should say what drew the clips.
        labels: how methods are called in print; by default by their names.
    """
    from PIL import Image, ImageDraw

    names = [(labels or {}).get(method, method) for method in methods]
    strips = [[_strip(clips.get(method)) for method in methods] for _, clips in rows]
    style = _Style.load()
    wide = max((strip.width for block in strips for strip in block), default=0)
    side = int(max((style.small.getlength(name) for name in names), default=0)) + 14
    block_width = side + wide
    blocks = [
        _Block(_wrapped(f"“{query}”", style.bold, block_width, lines=2), list(zip(names, shown, strict=True)), side)
        for (query, _), shown in zip(rows, strips, strict=True)
    ]
    across = 1 if len(rows) < 2 else 2
    # The lines of text above the strips, by row of the grid.
    heads = [max(len(one.lines) for one in blocks[at : at + across]) for at in range(0, len(rows), across)]
    tops = [62 if title else _PAD]
    for head in heads:
        tops.append(tops[-1] + head * _LINE + 10 + len(methods) * (_HEIGHT + _GAP) + _PAD)
    size = (_PAD + across * (block_width + _PAD), tops[-1] + (22 if footer else 0))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_PAD, 18), title, fill=INK, font=style.title)
    for number, block in enumerate(blocks):
        x = _PAD + number % across * (block_width + _PAD)
        y = tops[number // across] + heads[number // across] * _LINE
        _draw_block(sheet, (x, y), block, style)
    draw.text((_PAD, size[1] - 34), footer, fill=GREY, font=style.small)
    sheet.save(path)


@dataclass(frozen=True)
class _Style:
    """The fonts of the sheet: DejaVu, which comes with matplotlib and knows many scripts."""

    title: "ImageFont.FreeTypeFont"
    bold: "ImageFont.FreeTypeFont"
    small: "ImageFont.FreeTypeFont"

    @classmethod
    def load(cls) -> "_Style":
        import matplotlib
        from PIL import ImageFont

        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        bold, plain = folder / "DejaVuSans-Bold.ttf", folder / "DejaVuSans.ttf"
        return cls(ImageFont.truetype(bold, 22), ImageFont.truetype(bold, 17), ImageFont.truetype(plain, 16))


@dataclass(frozen=True)
class _Block:
    """One query on the sheet.

    Attributes:
        lines: its text.
        strips: below it, from top to bottom: a method's name and its frames.
        indent: pixels at the left of the strips, for the names.
    """

    lines: Sequence[str]
    strips: Sequence[tuple[str, "Image.Image"]]
    indent: int


def _draw_block(sheet: "Image.Image", corner: tuple[int, int], block: _Block, style: _Style) -> None:
    """Draw a block so that its text ends above the corner and its strips begin below it."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(sheet)
    x, y = corner
    for number, line in enumerate(block.lines):
        draw.text((x, y + _LINE * (number - len(block.lines))), line, fill=INK, font=style.bold)
    y += 8
    for name, strip in block.strips:
        draw.text((x, y + _HEIGHT // 2), name, fill=GREY, font=style.small, anchor="lm")
        sheet.paste(strip, (x + block.indent, y))
        y += _HEIGHT + _GAP


def _strip(clip: str | Path | None) -> "Image.Image":
    """Four frames beside one another, or an empty box where there is no clip."""
    from PIL import Image, ImageDraw

    frames = _frames(clip)
    if frames is None:
        strip = Image.new("RGB", (FRAMES * (_HEIGHT + _GAP) - _GAP, _HEIGHT), _EMPTY)
        ImageDraw.Draw(strip).text(
            (strip.width // 2, _HEIGHT // 2), "no clip", fill=GREY, font=_Style.load().small, anchor="mm"
        )
        return strip
    shown = [_fit(Image.fromarray(frame)) for frame in frames]
    strip = Image.new("RGB", (sum(frame.width + _GAP for frame in shown) - _GAP, _HEIGHT), "white")
    for number, frame in enumerate(shown):
        strip.paste(frame, (number * (frame.width + _GAP), (_HEIGHT - frame.height) // 2))
    return strip


def _frames(clip: str | Path | None) -> np.ndarray | None:
    """Four evenly spread frames, uint8 (4, H, W, 3)."""
    if clip is None:
        return None
    from vpo.video.clips import ClipError, describe, iter_frames

    try:
        places = np.linspace(0, describe(Path(clip)).frames - 1, FRAMES).round().astype(int).tolist()
        frames = dict(zip(sorted(set(places)), iter_frames(Path(clip), places), strict=True))
    except ClipError as error:
        log.warning("contact sheet: %s", error)
        return None
    return np.stack([frames[place] for place in places])


def _fit(frame: "Image.Image") -> "Image.Image":
    """The frame at the sheet's height: small ones enlarged by a whole factor, pixels kept sharp; large ones reduced."""
    from PIL import Image

    if frame.height <= _HEIGHT:
        factor = _HEIGHT // frame.height
        return frame.resize((frame.width * factor, frame.height * factor), Image.Resampling.NEAREST)
    return frame.resize((round(frame.width * _HEIGHT / frame.height), _HEIGHT), Image.Resampling.LANCZOS)


def _wrapped(text: str, font: "ImageFont.FreeTypeFont", width: int, lines: int) -> list[str]:
    """The text in at most so many lines of this width in pixels; what does not fit ends in '…'."""
    text = " ".join(text[:400].split())
    columns = max(8, int(width / (font.getlength(text) / max(1, len(text)))) - 1)
    return textwrap.wrap(text, columns, max_lines=lines, placeholder=" …”", break_long_words=True)


# Panels from left to right, those that every policy has first: a title, and the words that recognise a metric's name.
_PANELS = {
    "loss": ("loss",),
    "learning rate": ("lr",),
    "implicit reward": ("rewards/", "margin"),
    "accuracy": ("accuracy",),
    "tokens per second": ("/tokens_per_second",),
    "reward": ("reward/",),
    "KL to the start": ("/kl",),
}
_COLOURS = {"train": "#0969da", "val": "#bc4c00", "chosen": "#1a7f37", "rejected": "#cf222e", "margins": "#8250df"}
_COLOURS |= {"text": "#8250df", "video": "#1a7f37"}
_SMOOTH = 60  # points from which a curve gets a running mean over its noise


@dataclass
class _Curve:
    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def training_curves(folder: Path, path: Path) -> bool:
    """Draw the metrics of every policy's training: one row a policy, one panel a group of metrics.

    Args:
        folder: holds `<policy>.jsonl` with lines {"step": s, "train/loss": x, ...}.
        path: the PNG to write.

    Returns:
        False, and writes nothing, where no policy was trained.
    """
    policies = {file.stem: read_curves(file) for file in sorted(folder.glob("*.jsonl"), key=_age)}
    policies = {policy: _by_panel(curves) for policy, curves in policies.items() if curves}
    panels = [panel for panel in _PANELS if any(panel in panels_of for panels_of in policies.values())]
    if not panels:
        return False
    figure = new_figure(3.7 * len(panels), 2.5 * len(policies), dpi=130)
    axes = figure.subplots(len(policies), len(panels), squeeze=False)
    for row, (policy, panels_of) in zip(axes, policies.items(), strict=True):
        for axis, panel in zip(row, panels, strict=True):
            if panel in panels_of:
                _panel(axis, panels_of[panel], f"{policy}: {panel}")
            else:
                axis.set_axis_off()
    figure.savefig(path)
    return True


def read_curves(file: Path) -> dict[str, _Curve]:
    """{name: curve} of a policy's file; a last line that a kill cut short is left out."""
    curves: dict[str, _Curve] = {}
    for line in filter(None, file.read_text(encoding="utf-8").split("\n")):
        try:
            metrics = json.loads(line)
        except ValueError:
            continue
        step = metrics.pop("step")
        for name, value in metrics.items():
            curve = curves.setdefault(name, _Curve())
            curve.steps.append(step)
            curve.values.append(math.nan if value is None else value)  # null: it was not finite, a gap
    return curves


def _age(file: Path) -> tuple[bool, str]:
    """SFT first: every other policy starts from it."""
    return file.stem != "sft", file.stem


def _by_panel(curves: Mapping[str, _Curve]) -> dict[str, dict[str, _Curve]]:
    """The curves by panel. The accuracy of rewards counts as an accuracy; a metric that fits no panel is not drawn."""
    panels_of: dict[str, dict[str, _Curve]] = {}
    for name, curve in curves.items():
        fits = [panel for panel, words in _PANELS.items() if any(word in name for word in words)]
        if fits:
            panels_of.setdefault("accuracy" if "accuracy" in fits else fits[0], {})[name] = curve
    return panels_of


def _panel(axis: Any, curves: Mapping[str, _Curve], title: str) -> None:
    for name, curve in curves.items():
        split, _, rest = name.partition("/")
        label = rest.rpartition("/")[2] if "reward" in name else split
        colour = _COLOURS.get(label, _COLOURS.get(split, GREY))
        dashed = "--" if split == "val" and label != "val" else "-"
        marker = "." if len(curve.values) < 3 else ""  # a line of one point shows nothing
        noisy = len(curve.values) >= _SMOOTH and split == "train" and "lr" not in name
        axis.plot(
            curve.steps,
            curve.values,
            dashed,
            color=colour,
            lw=0.8 if noisy else 1.6,
            alpha=0.3 if noisy else 1,
            marker=marker,
        )
        axis.plot([], [], dashed, color=colour, lw=1.6, label=label if dashed == "-" else f"{label} (val)")
        if noisy:
            axis.plot(curve.steps, _running_mean(curve.values, len(curve.values) // 20), dashed, color=colour, lw=1.6)
    style_axis(axis, title)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.set_major_formatter("{x:g}")  # 5e-07 for a small learning rate, 0.69 for a loss
    axis.grid(color=LIGHT, lw=0.5)
    axis.set_xlabel("optimizer step", fontsize=8, color=GREY)
    if len(curves) > 1:
        axis.legend(fontsize=8, frameon=False, labelcolor=INK)


def _running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """The mean over a centred window, which shrinks at both ends and leaves gaps out; as long as `values`."""
    ones, known = np.ones(2 * (window // 2) + 1), np.isfinite(values)
    with np.errstate(invalid="ignore"):  # 0 / 0 where the whole window is a gap
        return np.convolve(np.where(known, values, 0), ones, "same") / np.convolve(known, ones, "same")
