"""The data card of preference pairs: Markdown and a picture beside `pairs.jsonl`.

It says what the pairs teach besides what is meant: whether the chosen side is merely longer, how far the sides lie apart, and which
flaws and dimensions the preferences are about.
"""

import html
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.charts import GREY, INK, new_figure, style_axis
from vpo.errors import UserError
from vpo.feedback.describe import (
    Feedback,
    count_reasons,
    extra_words,
    lexical_distance,
    mean_of,
    reasons_of,
    share_of,
    without_pair,
)
from vpo.records import Pair
from vpo.storage.jsonio import dumps
from vpo.storage.redact import redact_text

log = logging.getLogger(__name__)

ENCODER = "asset:all-minilm-l6-v2"
EMBEDDED = "1 - cosine of all-MiniLM-L6-v2's embeddings"
LEXICAL = "1 - Jaccard index of the words"
MOST = 1000  # pairs whose distance is measured
EXAMPLES = 2  # of each source
SHOWN = 400  # characters of a text in an example
COLOURS = {"text": "#8250df", "sampled": "#0969da", "video": "#1a7f37", "given": "#9a6700"}


@dataclass(frozen=True)
class Distances:
    """How far the sides of pairs lie apart.

    Attributes:
        measure: what was measured, in words.
        of: the pairs that were measured.
        values: one a pair.
    """

    measure: str
    of: Sequence[Pair]
    values: Sequence[float]


def write_card(folder: Path, pairs: Sequence[Pair], feedback: Feedback) -> None:
    """Write `card.md` and `card.png`."""
    distances = measure_distances(pairs)
    (folder / "card.md").write_text(redact_text(card_text(pairs, feedback, distances)), encoding="utf-8")
    draw(folder / "card.png", pairs, distances)


def measure_distances(pairs: Sequence[Pair]) -> Distances:
    """Distances by sentence embeddings where the model is at hand, else by words; of at most `MOST` pairs, evenly spread."""
    from vpo.language.embedding import SentenceEncoder  # brings torch, which who only plans stages does without

    step = max(1, -(-len(pairs) // MOST))
    chosen = pairs[::step]
    try:
        encoder = SentenceEncoder(ENCODER, None, 256, "cpu", 32, "data card")
    except UserError as error:
        log.debug("data card: %s", error)
        return Distances(LEXICAL, chosen, [lexical_distance(one.chosen, one.rejected) for one in chosen])
    try:
        cosines = encoder.cosines([(one.chosen, one.rejected) for one in chosen])
    finally:
        encoder.close()
    return Distances(EMBEDDED, chosen, [1 - cosine for cosine in cosines])


def card_text(pairs: Sequence[Pair], feedback: Feedback, distances: Distances) -> str:
    """The Markdown."""
    queries = {one.query_id for one in pairs}
    sources = [name for name in COLOURS if any(one.source == name for one in pairs)]
    sections = [
        "# Preference pairs",
        f"{len(pairs):,} pairs of {len(queries):,} queries; {_asked(feedback)}. Each pair says in `pairs.jsonl`, under `provenance`, "
        "by which rule, verdicts and scores it was made.",
        "## By source and reason",
        _reasons_table(pairs, sources),
        _without_pair_table(feedback, queries),
        "## Is the chosen prompt merely longer?",
        _lengths_table(pairs, sources),
        _length_sentence(pairs),
        "## How far the sides lie apart",
        _distance_table(distances, sources),
        "![The pairs by source and reason, by length and by distance](card.png)",
        "## Examples",
        "Texts of users and of models, as they came: rejected ones may be harmful.",
        *(_example(one) for name in sources for one in _spread([p for p in pairs if p.source == name], EXAMPLES)),
        "## Made by",
        _made_by(pairs),
    ]
    return "\n\n".join(one for one in sections if one) + "\n"


def _asked(feedback: Feedback) -> str:
    """Of how many queries the pairs could have been, and what they were to be made of."""
    if feedback.given:
        return f"{len(feedback.queries):,} queries were given, with their pairs or without"
    with_some = len({one.query_id for one in feedback.prompts})
    failed = f"; {len(feedback.failed):,} more candidates failed" if feedback.failed else ""
    return (
        f"{with_some:,} of {len(feedback.queries):,} queries had candidates ({len(feedback.prompts):,} in all){failed}"
    )


def _reasons_table(pairs: Sequence[Pair], sources: Sequence[str]) -> str:
    counts = count_reasons(pairs)
    rows = ["| source | reason | pairs |", "|---|---|---:|"]
    for name in sources:
        rows.append(f"| **{name}** | all | **{sum(one.source == name for one in pairs):,}** |")
        rows += [f"| {name} | {_quoted(reason)} | {n:,} |" for reason, n in counts[name].most_common()]
    return "\n".join(rows) + (
        "\n\nA pair may have several reasons: the flaws of its rejected side, or the dimensions in which its chosen clip is better."
    )


def _without_pair_table(feedback: Feedback, queries: set[str]) -> str:
    why = without_pair(feedback, queries)
    if not why:
        return ""
    rows = ["| queries without a pair | |", "|---|---:|", *(f"| {reason} | {n:,} |" for reason, n in why.most_common())]
    return "\n".join(rows)


def _lengths_table(pairs: Sequence[Pair], sources: Sequence[str]) -> str:
    rows = [
        "| source | pairs | words of chosen | of rejected | difference (95 %) | chosen is longer |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in ("all", *sources) if len(sources) > 1 else sources:
        own = [one for one in pairs if name in ("all", one.source)]
        chosen, rejected = (mean_of([len(text.split()) for text in texts]) for texts in (
            [one.chosen for one in own], [one.rejected for one in own],
        ))  # fmt: skip
        share, low, high = share_of([extra_words(one) > 0 for one in own])
        rows.append(
            f"| {name} | {len(own):,} | {chosen.value:.1f} | {rejected.value:.1f} | {mean_of([extra_words(one) for one in own])} | "
            f"{share:.0%} ({low:.0%} to {high:.0%}) |"
        )
    return "\n".join(rows)


def _length_sentence(pairs: Sequence[Pair]) -> str:
    """What the lengths mean for a training on these pairs."""
    unequal = [one for one in pairs if extra_words(one)]
    if not unequal:
        return "Both sides have the same number of words in every pair."
    share, low, high = share_of([extra_words(one) > 0 for one in unequal])
    of = (
        f"of the {len(unequal):,} pairs whose sides differ in length, the chosen one is the longer in {share:.0%} (95 %: {low:.0%} to "
        f"{high:.0%})"
    )
    if low > 0.5:
        return f"It mostly is: {of}. A policy may learn length from them; compare lengths after training."
    if high < 0.5:
        return f"No, it is rather the shorter one: {of}. A policy may learn to be brief from them."
    if high - low > 0.5:
        return f"Too few pairs to tell: {of}."
    return f"No: {of}, which is no clear preference for length."


def _distance_table(distances: Distances, sources: Sequence[str]) -> str:
    rows = ["| source | pairs | mean (95 %) | least | most |", "|---|---:|---:|---:|---:|"]
    for name in sources:
        own = [value for one, value in zip(distances.of, distances.values, strict=True) if one.source == name]
        if own:
            rows.append(f"| {name} | {len(own):,} | {mean_of(own)} | {min(own):.2f} | {max(own):.2f} |")
    return f"Distance: {distances.measure}; 0 for equal sides.\n\n" + "\n".join(rows)


def _example(pair: Pair) -> str:
    scores = [f", score {one:.2f}" if one is not None else "" for one in (pair.chosen_score, pair.rejected_score)]
    return "\n".join(
        [
            f"**{pair.source}** ({_quoted('; '.join(reasons_of(pair)))})",
            "",
            f"- query: {_quoted(pair.query)}",
            f"- chosen{scores[0]}: {_quoted(pair.chosen)}",
            f"- rejected{scores[1]}: {_quoted(pair.rejected)}",
        ]
    )


def _made_by(pairs: Sequence[Pair]) -> str:
    """The versions, and of how many pairs they are where given pairs were made by several."""
    made = Counter(dumps(one.provenance.get("versions") or {}) for one in pairs)
    tables = []
    for versions, count in made.most_common():
        rows = [
            f"| {_quoted(role)} | {_quoted(facts if isinstance(facts, str) else _flat(facts))} |"
            for role, facts in json.loads(versions).items()
        ]
        table = "\n".join(["| | |", "|---|---|", *rows]) if rows else "Nothing is known of what made them."
        tables.append(f"Of {count:,} pairs:\n\n{table}" if len(made) > 1 else table)
    return "\n\n".join(tables)


def _flat(facts: Any) -> str:
    return ", ".join(f"{key} {_flat(value) if isinstance(value, dict) else value}" for key, value in facts.items())


def _quoted(text: str) -> str:
    """A text on one line that Markdown shows as it is."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    line = line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
    return re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", html.escape(line, quote=False))


def _spread(items: Sequence[Pair], n: int) -> list[Pair]:
    """At most n of the items, evenly spread."""
    return [items[round(place * (len(items) - 1) / max(1, n - 1))] for place in range(min(n, len(items)))]


def draw(path: Path, pairs: Sequence[Pair], distances: Distances) -> None:
    """The picture: pairs by source and reason, extra words of the chosen side, distance between the sides."""
    counts = count_reasons(pairs)
    sources = [name for name in COLOURS if name in counts]
    bars = [(name, reason, n) for name in sources for reason, n in counts[name].most_common(8)]
    figure = new_figure(15, max(4.2, 0.3 * len(bars) + 1.6), dpi=110)
    reasons, lengths, apart = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    places = range(len(bars))
    reasons.barh(places, [n for *_, n in bars], color=[COLOURS[name] for name, *_ in bars], height=0.7)
    reasons.set_yticks(places, [_shortened(reason) for _, reason, _ in bars])
    reasons.invert_yaxis()
    for place, (*_, n) in zip(places, bars, strict=True):
        reasons.text(n, place, f" {n}", va="center", fontsize=8, color=GREY)
    reasons.margins(x=0.12)
    reasons.xaxis.get_major_locator().set_params(integer=True)
    _style(reasons, "pairs by reason (a pair may have several)", "pairs")
    by_source = [[extra_words(one) for one in pairs if one.source == name] for name in sources]
    _histogram(lengths, by_source, sources)
    lengths.axvline(0, color=INK, lw=1)
    _style(lengths, "is chosen longer? words of chosen minus rejected", "words")
    measured = list(zip(distances.of, distances.values, strict=True))
    _histogram(apart, [[value for one, value in measured if one.source == name] for name in sources], sources)
    apart.set_xlim(left=0)
    _style(apart, "distance between the sides", distances.measure)
    labels = [f"{name} ({sum(one.source == name for one in pairs)})" for name in sources]
    handles = [
        apart.plot([], [], "s", color=COLOURS[name], label=label)[0]
        for name, label in zip(sources, labels, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(sources), frameon=False, fontsize=9)
    figure.suptitle(f"{len(pairs)} preference pairs", x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    figure.savefig(path)


def _histogram(axis: Any, values: Sequence[Sequence[float]], sources: Sequence[str]) -> None:
    bins = min(24, max(6, math.isqrt(sum(map(len, values))) * 2))
    axis.hist(values, bins=bins, stacked=True, color=[COLOURS[name] for name in sources])
    axis.set_ylabel("pairs", fontsize=8, color=GREY)
    axis.yaxis.get_major_locator().set_params(integer=True)


def _shortened(text: str) -> str:
    text = text.replace("$", r"\$")  # which would begin a formula
    return text if len(text) <= 34 else f"{text[:33]}…"


def _style(axis: Any, title: str, label: str) -> None:
    style_axis(axis, title)
    axis.set_xlabel(label, fontsize=8, color=GREY)
