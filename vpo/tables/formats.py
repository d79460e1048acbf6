"""A table as data, and the same table as Markdown, LaTeX, CSV, PNG and plain text.

People read `Cell.text`; programs read `Cell.fields`, which only the CSV prints, unrounded and unscaled.
"""

import csv
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MISSING = "-"
ENDS = "[ends]: where they lie unevenly, as those of a share near 0 or 100 % do."  # a note that a terminal does without
# What follows a mean, up to a mark: half of its interval or both ends. The interval of a gain, before "4/5", is what its table is for.
_SPREAD = re.compile(r" ±.*?(?= ≈|$)| \[[^\]]*\](?! \d+/\d+).*?(?= ≈|$)")

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": "$-$", "×": r"$\times$", "≈": r"$\approx$",
    "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "≥": r"$\geq$",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One printed number; `fields` holds what it was made from: {"mean": 0.947, "ci95": 0.012, "n": 200}."""

    text: str = MISSING
    fields: Mapping[str, float | int | None] = field(default_factory=dict)
    bold: bool = False

    @property
    def missing(self) -> bool:
        """True where nothing was measured, even if the paper's number is printed beside the '-'."""
        return self.text.partition(" ")[0] == MISSING


@dataclass(frozen=True)
class TableRow:
    """A label and one cell per column."""

    label: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """Rows and columns ready to be printed.

    Attributes:
        title: what the table shows.
        corner: the heading of the label column.
        headings: one per column, as printed.
        keys: one per column, as a program names it (CSV).
        rows: the rows, in order.
        notes: lines below the table, for readers.
        sources: lines that say which files the numbers came from.
        suffix: tells apart several tables that are written under one name.
    """

    title: str
    corner: str
    headings: Sequence[str]
    keys: Sequence[str]
    rows: Sequence[TableRow]
    notes: Sequence[str] = ()
    sources: Sequence[str] = ()
    suffix: str = ""

    @property
    def complete(self) -> bool:
        """True where no cell is missing."""
        return not any(cell.missing for row in self.rows for cell in row.cells)

    def lines(self) -> list[list[str]]:
        """Heading and rows as plain text, label column first."""
        return [[self.corner, *self.headings]] + [[row.label, *(cell.text for cell in row.cells)] for row in self.rows]


def to_markdown(table: Table) -> str:
    """The table in Markdown, padded so that it also reads well in a terminal."""
    lines = [[_markdown(text) for text in table.lines()[0]]]
    for row in table.rows:
        cells = [f"**{_markdown(cell.text)}**" if cell.bold else _markdown(cell.text) for cell in row.cells]
        lines.append([_markdown(row.label), *cells])
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    padded = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |" for line in lines
    ]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    below = [f"{note}  " for note in table.notes]  # two spaces: Markdown's line break
    sources = ["", f"<sub>From {', '.join(table.sources)}.</sub>"] if table.sources else []
    return "\n".join([f"**{table.title}**", "", padded[0], rule, *padded[1:], "", *below, *sources]).rstrip() + "\n"


def to_text(table: Table) -> str:
    """The table for a terminal: the means alone, under headings of two lines, as Markdown would be too wide there."""
    heads = [_two_lines(text) for text in table.lines()[0]]
    head = [names for names in ([pair[line] for pair in heads] for line in (0, 1)) if any(map(str.strip, names))]
    lines = list(head)
    for row in table.rows:
        means = [_SPREAD.sub("", cell.text) + ("*" if cell.bold else " ") for cell in row.cells]
        lines.append([row.label, *means])
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    padded = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    below = [re.sub(r" ± [^;.]*", "", note).replace("bold:", "*:") for note in table.notes if note != ENDS]
    return "\n".join([table.title, rule, *padded[: len(head)], rule, *padded[len(head) :], rule, *below, ""])


def to_latex(table: Table) -> str:
    """The table in LaTeX (booktabs), with the notes in the caption and the sources as comments."""
    lines = [[_latex(text) for text in table.lines()[0]]]
    for row in table.rows:
        cells = [rf"\textbf{{{_latex(cell.text)}}}" if cell.bold else _latex(cell.text) for cell in row.cells]
        lines.append([_latex(row.label), *cells])
    body = [" & ".join(line) + r" \\" for line in lines]
    caption = " ".join([table.title.rstrip(".") + ".", *table.notes])
    return "\n".join(
        [
            *(f"% {source}" for source in table.sources),
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{_latex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(table.headings)}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_csv(table: Table) -> str:
    """One line per row; each column gives one CSV column per field: `aligned_mean`, `aligned_ci95`, `aligned_n`."""
    names = [
        list(dict.fromkeys(name for row in table.rows for name in row.cells[column].fields))
        for column in range(len(table.keys))
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = (f"{key}_{name}" for key, fields in zip(table.keys, names, strict=True) for name in fields)
    writer.writerow([table.corner.lower(), *heads])
    for row in table.rows:
        cells = zip(row.cells, names, strict=True)
        writer.writerow([row.label, *(cell.fields.get(name) for cell, fields in cells for name in fields)])
    return out.getvalue()


def write(tables: Table | Sequence[Table], folder: Path, stem: str) -> list[Path]:
    """Write the tables as `<stem>.md`, `.tex`, `.csv` and `.png` and return the files.

    All tables share one Markdown and one LaTeX file. A CSV or PNG holds one table; a suffix gives `<stem>_<suffix>`.
    """
    tables = [tables] if isinstance(tables, Table) else list(tables)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{stem}.md", folder / f"{stem}.tex"]
    written[0].write_text("\n".join(map(to_markdown, tables)), encoding="utf-8")
    written[1].write_text("\n".join(map(to_latex, tables)), encoding="utf-8")
    for table in tables:
        name = f"{stem}_{table.suffix}" if table.suffix else stem
        written += [folder / f"{name}.csv", folder / f"{name}.png"]
        written[-2].write_text(to_csv(table), encoding="utf-8")
        to_png(table, written[-1])
    return written


INK, GREY, STRIPE = "#1f2328", "#59636e", "#f6f8fa"
_DPI, _SIZE, _PAD, _GAP = 200, 10.0, 40, 46  # dots per inch, points, pixels around, pixels between columns
_LINE = 54  # pixels from row to row


def to_png(table: Table, path: Path) -> None:
    """Draw the table: ruled like a printed one, best values bold, notes below in grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=_DPI, facecolor="white")
    measure = _ruler(FigureCanvasAgg(figure).get_renderer())
    lines = table.lines()
    bold = [[True] * len(lines[0])] + [[False, *(cell.bold for cell in row.cells)] for row in table.rows]
    sizes = [list(map(measure, line, weights)) for line, weights in zip(lines, bold, strict=True)]
    widths = [max(size[column] for size in sizes) for column in range(len(lines[0]))]
    inner = max(sum(widths) + _GAP * (len(widths) - 1), measure(table.title, True) * (_SIZE + 1) / _SIZE)
    notes = [part for note in table.notes for part in textwrap.wrap(note, int(inner / measure("n", False) / 0.72))]
    width, height = inner + 2 * _PAD, _PAD * 2 + _LINE * (len(lines) + 1) + 38 * len(notes)
    figure.set_size_inches(width / _DPI, height / _DPI)

    def text(x: float, y: float, shown: str, **style: Any) -> None:
        style = {"size": _SIZE, "color": INK, "va": "center", "parse_math": False} | style
        figure.text(x / width, 1 - y / height, shown, **style)

    def rule(y: float, thick: float) -> None:
        figure.add_artist(_line([_PAD / width, 1 - _PAD / width], [1 - y / height] * 2, thick))

    y = _PAD + 16.0
    text(_PAD, y, table.title, weight="bold", size=_SIZE + 1)
    y += _LINE
    rule(y - _LINE / 2, 1.4)
    for number, (line, weights) in enumerate(zip(lines, bold, strict=True)):
        right = float(_PAD)
        for column, (shown, heavy) in enumerate(zip(line, weights, strict=True)):
            right += widths[column] + (_GAP if column else 0)
            at, side = (right, "right") if column else (_PAD, "left")
            text(at, y, shown, ha=side, weight="bold" if heavy else "normal", color=GREY if number == 0 else INK)
        y += _LINE
        if number in (0, len(lines) - 1):
            rule(y - _LINE / 2, 0.7 if number == 0 else 1.4)
    for note in notes:
        text(_PAD, y + 8, note, size=_SIZE - 2, color=GREY)
        y += 38
    figure.savefig(path, dpi=_DPI)


def _ruler(renderer: Any) -> Any:
    """A function (text, bold) -> width in pixels."""
    from matplotlib.font_manager import FontProperties

    def measure(shown: str, heavy: bool) -> float:
        font = FontProperties(size=_SIZE, weight="bold" if heavy else "normal")
        return renderer.get_text_width_height_descent(shown, font, ismath=False)[0]

    return measure


def _line(x: Sequence[float], y: Sequence[float], thick: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(x, y, color=INK, linewidth=thick)


def _two_lines(heading: str) -> tuple[str, str]:
    """'Aligned % ↑' as ('Aligned ', '% ↑ '): name above, unit and direction below, a blank over the cells' mark."""
    words = heading.split(" ")
    marks = [word for word in words if word in ("%", "↑", "↓", "‡")]
    return " ".join(word for word in words if word not in marks) + " ", " ".join(marks) + " "


def _markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text.replace("\n", " "))
