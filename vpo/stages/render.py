"""Stage `render`: prompts to clips, by the video model."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vpo.interfaces import Generator
from vpo.records import Clip, Prompt
from vpo.seeding import seed_of
from vpo.stages.bench import Bench, Node
from vpo.store import Entry


def render(
    bench: Bench,
    generator: Node,
    prompts: Entry,
    seed: int,
    *,
    label: str,
    select: Callable[[list[Prompt]], list[Prompt]] | None = None,
    judged: dict[str, Entry] | None = None,
    rules: Node | None = None,
) -> Entry:
    """Write `clips/<name>.mp4`, whose name is made from the prompt's id, and `clips.jsonl`.

    `select` keeps some prompts, by the `judged` entries it reads and the `rules` that it follows.
    """

    def work(folder: Path) -> dict[str, int]:
        (folder / "clips").mkdir(exist_ok=True)
        items = prompts.rows("prompts.jsonl", Prompt)
        draw = partial(_draw, generator=bench.build(generator), folder=folder / "clips", seed=seed)
        items = select(items) if select else items
        clips = bench.complete(items, draw, folder / "clips.jsonl", kind=Clip, label=f"clips of {label}")
        return {"clips": len(clips), "broken": sum(clip.status != "ok" for clip in clips)}

    node = {"generator": generator, "seed": seed, "selected": select is not None, **(rules or {})}
    return bench.stage("render", node, {"prompts": prompts, **(judged or {})}, work, label)


def _draw(prompts: Sequence[Prompt], *, generator: Generator, folder: Path, seed: int) -> list[Clip]:
    """One clip a prompt. The seed is the query's and k's, so that methods are compared on equal noise."""
    seeds = [seed_of("clip", seed, prompt.query_id, prompt.index) for prompt in prompts]
    return generator.render(prompts, seeds, folder)
