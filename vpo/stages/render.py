"""Stage `render`: prompts to clips, by the video model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import batch_size_of
from vpo.feedback.pairing import video_candidates
from vpo.interfaces import Generator
from vpo.records import Clip, Failure, Prompt, Refinement, Verdict
from vpo.seeding import seed_of
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.copies import copy_of, never_given, number_of
from vpo.stages.rendering import CheckedGenerator, checked_generator
from vpo.stages.stage import Node, Stage
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class Render(Stage):
    """The video model renders prompts.

    Writes `clips/<file name of the prompt's id>.mp4`, each with its description `.json` beside it, and `clips.jsonl`. Clips that
    cannot be used lie in `clips/broken/`. With `judged` (the candidates' verdicts and refinements)
    only those candidates are rendered that can still make a video pair, by the rules of the text pairs (`text_pairs`,
    `prepended`): of those that the judge finds fine, or of `among` "all"; with `beside`, whether or not their queries have text
    pairs. With `copies` each prompt is rendered so often, each
    time with another seed: the ids of the second clip and of later ones end in `#1`, `#2` ... (`copy_id`).
    """

    name: ClassVar[str] = "render"

    generator: Node
    prompts: Entry
    seed: int
    judged: Mapping[str, Entry] | None = None
    text_pairs: str | None = None
    prepended: bool | None = None
    beside: bool | None = None
    among: str | None = None
    copies: int | None = None

    def node(self) -> dict[str, Any]:
        """The node with hashes of what a local video model's folder holds."""
        return super().node() | {"generator": with_contents(self.generator)}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        (folder / "clips").mkdir(exist_ok=True)
        done = context.complete(
            self._prompts(), folder / "clips.jsonl", kind=Clip, make=self._checked(context),
            call=partial(render_prompts, folder=folder / "clips", seed=self.seed), item_id=attrgetter("id"),
            batch_size=batch_size_of(self.generator), label=f"clips of {self.label}",
        )  # fmt: skip
        for pattern in (".*.part", "*.json.*.partial"):  # what a killed start was writing
            for left in (folder / "clips").glob(pattern):
                left.unlink(missing_ok=True)
        never = sum(never_given(one, number_of(name)) for name, one in done.failures.items())
        return {
            "clips": len(done.records), "broken": sum(clip.status != "ok" for clip in done.records),
            "retried": sum(bool(clip.faults) for clip in done.records), "failed": len(done.failures) - never,
        }  # fmt: skip

    def _checked(self, context: Context) -> "partial[CheckedGenerator]":
        """How the generator is built, with what surrounds it."""
        return checked_generator(self.generator, context.store.root, reuse=self.name not in context.store.recompute)

    def _prompts(self) -> list[Prompt]:
        prompts = self.prompts.rows("prompts.jsonl", Prompt)
        if self.judged is None:
            return [copy_of(one, number) for one in prompts for number in range(self.copies or 1)]
        verdicts = self.judged["verdicts"].rows("verdicts.jsonl", Verdict)
        refinements = self.judged["refinements"].rows("refinements.jsonl", Refinement)
        return video_candidates(
            prompts, verdicts, refinements, kind=self.text_pairs, prepended=self.prepended, beside=bool(self.beside),
            among=self.among or "fine",
        )  # fmt: skip


def render_prompts(generator: Generator, prompts: Sequence[Prompt], *, folder: Path, seed: int) -> list[Clip | Failure]:
    """One clip a prompt. The seed is the query's and k's, so that methods are compared on equal noise."""
    seeds = [seed_of("clip", seed, prompt.query_id, prompt.index) for prompt in prompts]
    return generator.render(prompts, seeds, folder)
