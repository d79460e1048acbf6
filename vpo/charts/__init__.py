"""What all charts have in common: the figure, which needs no display, and the look of an axis."""

from typing import Any

INK, GREY, LIGHT = "#1f2328", "#59636e", "#d1d9e0"  # titles; labels and ticks; lines of the frame and of the grid


def new_figure(width: float, height: float, dpi: int) -> Any:
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axis(axis: Any, title: str) -> None:
    """A title on the left, and a frame of which the left and the lower side are drawn."""
    axis.set_title(title, fontsize=10, loc="left", color=INK, fontweight="bold")
    axis.tick_params(labelsize=8, colors=GREY)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(LIGHT)
