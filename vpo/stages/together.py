"""Several stages that read the frames of the same clips, one group of clips after the other: a clip is decoded once for all of them.

Each stage's result stays its own, under its own key. A group is as many clips as the cache of frames holds (`vpo.video.frames`), so
that what one reader has decoded is still there for the next. The readers' models are in memory at the same time, which is why only
those take part that say `shares_frames`: an evaluator or a reward whose models are small beside what decoding costs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.build import setting_of
from vpo.executor.local import LocalExecutor
from vpo.records import Clip
from vpo.stages.context import Context
from vpo.stages.stage import Stage
from vpo.storage.items import Reading, Work
from vpo.storage.store import Entry, stage_key


def shares_frames(node: Mapping[str, Any]) -> bool:
    """Whether an evaluator, or a reward with its parts, takes part: its class says so, and those of its parts."""
    inner = [*(node.get("parts") or {}).values(), *([node["reward"]] if node.get("reward") else [])]
    return bool(setting_of(node, "shares_frames", False)) and all(map(shares_frames, inner))


def can_read_together(context: Context) -> bool:
    """Whether this process does all work itself, from the start to the end of a run."""
    plain = not (context.store.dry or context.store.recompute or context.retry_failed or context.stop_after)
    return plain and context.store.shard is None and isinstance(context.executor, LocalExecutor)


def read_together(context: Context, clips: Entry, stages: Sequence[Stage]) -> None:
    """Make the stages, as far as they are not made yet.

    Args:
        context: one that can (`can_read_together`).
        clips: of a method; the stages' items are the clips, or samples of their queries.
        stages: those that share frames. They are opened one within the other, in the order of their names and keys, so that of
            two processes that need some of the same ones each waits for the other's first, and never both.
    """
    from vpo.video import frames

    if len(stages) < 2 or not isinstance(context.executor, LocalExecutor):
        return
    sizes: dict[str, int] = {}
    for one in clips.rows("clips.jsonl", Clip):
        sizes[one.query_id] = sizes.get(one.query_id, 0) + one.frames * one.height * one.width * 3
    queries = list(sizes)
    groups = [
        [queries[place] for place in places] for places in frames.groups(list(sizes.values()), frames.CACHE.limit)
    ]
    ordered = sorted(
        stages, key=lambda one: (one.name, stage_key(one.name, one.node(), one.inputs(), one.exempt_paths()))
    )
    with context.executor.kept(), frames.CACHE.keeping():
        _open(context, ordered, [], groups)


def _open(
    context: Context, stages: Sequence[Stage], readings: list[Reading[Any]], groups: Sequence[Sequence[str]]
) -> None:
    """Open the stages, each within the one before, then read the clips for all of them."""
    if not stages:
        _read(context, readings, groups)
        return
    opened = False

    def begun(items: Sequence[Any], work: Work[Any]) -> Reading[Any]:
        nonlocal opened
        opened = True
        reading = Reading(items, work)
        _open(context, stages[1:], [*readings, reading], groups)
        return reading

    context.make_within(stages[0], begun)
    if not opened:  # it is made already
        _open(context, stages[1:], readings, groups)


def _read(context: Context, readings: Sequence[Reading[Any]], groups: Sequence[Sequence[str]]) -> None:
    """Group by group, what every reader does with its clips; then the queries without a clip."""
    with_clips = {query for group in groups for query in group}
    places = []
    for reading in readings:
        found: dict[str, list[int]] = {}
        for place, item in enumerate(reading.items):
            query = _query_of(item)
            found.setdefault(query if query in with_clips else "", []).append(place)
        places.append(found)
    for group in [*groups, [""]]:  # an item that is left would have its whole batch done again
        for reading, found in zip(readings, places, strict=True):
            reading.do(sorted(place for query in group for place in found.get(query, ())), context.executor)


def _query_of(item: Any) -> str:
    """The id of the query that a clip or a sample is of."""
    found: str = item.query_id if isinstance(item, Clip) else item.query.id
    return found
