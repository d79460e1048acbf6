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
from vpo.storage.store import Entry


def shares_frames(node: Mapping[str, Any]) -> bool:
    """Whether an evaluator, or a reward with its parts, takes part: its class says so, and those of its parts."""
    inner = [*(node.get("parts") or {}).values(), *([node["reward"]] if node.get("reward") else [])]
    return bool(setting_of(node, "shares_frames", False)) and all(map(shares_frames, inner))


def can_read_together(context: Context) -> bool:
    """Whether this process does all work itself, from the start to the end of a run."""
    plain = not (context.store.dry or context.store.recompute or context.retry_failed or context.stop_after)
    return plain and context.store.shard is None and isinstance(context.executor, LocalExecutor)


def read_together(context: Context, clips: Entry, stages: Sequence[Stage]) -> None:
    """Do what the stages do with these clips as far as it is not done yet; `Context.make` then finds all items done.

    Args:
        context: one that can (`can_read_together`).
        clips: of a method; the stages' items are the clips, or samples of their queries.
        stages: those that share frames.
    """
    from vpo.video import frames

    if len(stages) < 2 or not isinstance(context.executor, LocalExecutor):
        return
    by_query: dict[str, int] = {}
    for one in clips.rows("clips.jsonl", Clip):
        by_query[one.query_id] = by_query.get(one.query_id, 0) + one.frames * one.height * one.width * 3
    queries = list(by_query)
    with context.executor.kept(), frames.CACHE.keeping():
        for places in frames.groups(list(by_query.values()), frames.CACHE.limit):
            group = {queries[place] for place in places}
            for stage in stages:
                context.make_part(stage, lambda item, group=group: _query_of(item) in group)
        for stage in stages:  # queries without a clip: an item that is left would have its whole batch done again
            context.make_part(stage, lambda item: _query_of(item) not in by_query)


def _query_of(item: Any) -> str:
    """The id of the query that a clip or a sample is of."""
    found: str = item.query_id if isinstance(item, Clip) else item.query.id
    return found
