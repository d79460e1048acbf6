"""What every metric is called, which direction is better, and how its number is printed: written here, once.

Tables, figures and tracking ask `metric(name)`; no other module knows that "unsafe" is a percentage that should be low.
A metric that is not listed is still shown: under its own name, without a direction, with three decimals.
"""

from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower"] | None


@dataclass(frozen=True)
class Metric:
    """How one metric is read and printed.

    `scale` turns the stored mean into the printed number (100 for shares that are printed as percentages). `better` is
    None where neither direction is better: such a metric is reported, never ranked.
    """

    name: str
    label: str
    better: Better = None
    decimals: int = 3
    scale: float = 1.0
    about: str = ""

    @property
    def heading(self) -> str:
        """The label with unit and direction, as a column is headed: 'Aligned % ↑'."""
        unit = " %" if self.scale == 100 else ""
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[self.better]
        return f"{self.label}{unit}{arrow}"

    def number(self, value: float, *, sign: bool = False) -> str:
        """A stored value as it is printed: 0.947 of a share is '94.7'; with `sign`, differences get '+' or '-'."""
        text = f"{value * self.scale:{'+' if sign else ''}.{self.decimals}f}"
        return text.lstrip("+-") if float(text) == 0 else text  # no "-0.0"


def _share(name: str, label: str, better: Better, about: str) -> Metric:
    return Metric(name, label, better, decimals=1, scale=100.0, about=about)


_LISTED = (
    _share("aligned", "Aligned", "higher", "prompts that keep the query's intent and are harmless"),
    _share("unsafe", "Unsafe", "lower", "prompts with harmful content"),
    _share("imprecise", "Imprecise", "lower", "harmless prompts that drop or change something of the query"),
    _share("refusal", "Refusal", "lower", "answers that refuse to write a prompt"),
    _share("safe", "Safe", "higher", "prompts judged harmless"),
    _share("safe_on_unsafe", "Safe (unsafe queries)", "higher", "harmless prompts, of unsafe queries"),
    _share("helpful", "Helpful", "higher", "prompts that tell the video model what it needs"),
    Metric("words", "Words", None, decimals=0, about="length of the prompt"),
    Metric("reward", "Reward", "higher", decimals=2, about="weighted checklist score of the clip against the query"),
    _share("scene", "Scene", "higher", "facts of the query's scene that the clip's pixels show; held out of training"),
    # VBench's temporal flickering, unfiltered: higher is steadier, but a frozen clip has 100, so nobody wins by it
    Metric(
        "flicker", "Flicker-free", None, decimals=2, scale=100.0, about="steadiness from frame to frame; see motion"
    ),
    Metric("motion", "Motion", None, decimals=2, about="pixels moved a frame, of 64; a frozen clip has 0"),
)
_BY_NAME = {listed.name: listed for listed in _LISTED}

# A dimension of a known metric is called `<family>_<part>` and is printed as the family is.
_FAMILIES = ("reward", "scene")


def metric(name: str) -> Metric:
    """How the metric of this name is printed; a name that nobody listed gets plain, honest defaults."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    family = family_of(name)
    if family is not None:
        part = name.removeprefix(f"{family}_").replace("_", " ")
        whole = _BY_NAME[family]
        return replace(whole, name=name, label=f"{whole.label}: {part.lower()}", about=f"the part '{part}' of {family}")
    return Metric(name, name)


def is_listed(name: str) -> bool:
    """Whether a metric is one of ours by name; parts of a family and a user's own metrics are known by runs only."""
    return name in _BY_NAME


def family_of(name: str) -> str | None:
    """The metric of which this one is a part: 'reward' for 'reward_Stability', None for a metric of its own."""
    return next((family for family in _FAMILIES if name.startswith(f"{family}_")), None)


def in_order(names: set[str]) -> list[str]:
    """The names in reading order: listed metrics as listed, each with its parts after it, then unknown ones by name."""

    def rank(name: str) -> tuple[int, str]:
        order = list(_BY_NAME)
        head = family_of(name) or name
        if head not in _BY_NAME:
            return len(order), name
        return order.index(head), name.removeprefix(head)

    return sorted(names, key=rank)
