"""Why measurements of a run failed, in a few lines for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vpo.storage.redact import redact_text

MOST = 5  # lines
LONGEST = 180  # characters of a reason
# What a stage makes. Whatever is not named here is a measurement.
_MADE = {"optimize": "prompt", "render": "clip", "critique": "verdict", "critique queries": "verdict", "score": "score"}


def reason_lines(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The most frequent reasons, as in `vbench: 2 measurements failed: clip_too_long: <the first one's detail>`.

    Args:
        items: one a (query, method), with "failures" by stage as in items.jsonl.
    """
    counts: Counter[tuple[str, str]] = Counter()
    details: dict[tuple[str, str], str] = {}
    for item in items:
        for place, failure in item.get("failures", {}).items():
            stage = place.partition(" #")[0]  # of a further clip it is "render #1"
            reason = stage, failure["kind"]
            counts[reason] += 1
            details.setdefault(reason, " ".join(redact_text(failure["detail"]).split()))
    return [_line(stage, kind, count, details[stage, kind]) for (stage, kind), count in counts.most_common(MOST)]


def _line(stage: str, kind: str, count: int, detail: str) -> str:
    what = _MADE.get(stage, "measurement") + ("" if count == 1 else "s")
    short = detail if len(detail) <= LONGEST else f"{detail[: LONGEST - 4].rstrip()} ..."
    said = f": {short}" if short else ""
    return f"{stage.removeprefix('evaluate ')}: {count} {what} failed: {kind}{said}"
