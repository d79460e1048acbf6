"""Search by rendering: the video model renders the prompts that passed the guard, and a reward reads their clips.

The text alone cannot tell what a video model makes of it; this is VPO's video-level feedback (paper, 3.3) at test time, for one query.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vpo.build import Spec, batch_size_of
from vpo.errors import UserError
from vpo.executor.worker import Worker
from vpo.interfaces import Task
from vpo.optimize.options import Options
from vpo.optimize.queries import UserQuery
from vpo.records import Clip, Failure, Prompt, Score
from vpo.seeding import seed_of
from vpo.stages.rendering import checked_generator
from vpo.stages.score import absolute

log = logging.getLogger(__name__)

NEEDED = "search=render needs a video model and a reward, as in generator=cogvideox_2b reward=vlm_checklist"


@dataclass(frozen=True)
class Shown:
    """A prompt as the video model shows it.

    Attributes:
        clip: the file; None where there is none that can be used.
        reward: of the clip against the query, in the reward's own unit; None where it could not be made or read.
        problem: why there is no reward; empty where there is one.
    """

    clip: str | None
    reward: float | None
    problem: str = ""


class Renderer:
    """Renders prompts and scores their clips. The video model and the reward are loaded when the first prompt comes, and stay.

    Clips are checked, rendered once more where they cannot be used, and kept in the store of runs (`paths.store`), so that none is
    rendered twice.

    Args:
        options: names the choices of `conf/generator` and `conf/reward`, values to change in them, and the folder of clips.

    Raises:
        UserError: a choice is missing, or does not exist, or a value of it is wrong.
    """

    def __init__(self, options: Options) -> None:
        config = _composed(options)
        self.folder, self.seed = Path(options.clips), options.seed
        self._render_at_once, self._score_at_once = batch_size_of(config["generator"]), batch_size_of(config["reward"])
        make = checked_generator(config["generator"], Path(config["paths"]["store"]))
        self._generator = Worker(Task(make, partial(_rendered, folder=self.folder)))
        self._reward = Worker(Task(Spec(config["reward"]), partial(_scored, folder=self.folder)))

    def show(self, queries: Sequence[UserQuery], texts: Sequence[str]) -> list[Shown]:
        """One for each prompt, scored against its query. All prompts of a query start from the same noise."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"clips={self.folder}: {error.strerror}; name a folder that can be written") from error
        items = [
            (_prompt(query, text), seed_of("clip", self.seed, query.text, 0))
            for query, text in zip(queries, texts, strict=True)
        ]
        clips = _in_batches(self._generator, items, self._render_at_once, "clips rendered")
        usable = [one for one in clips if isinstance(one, Clip) and one.status == "ok"]
        scores = dict(
            zip(
                (one.id for one in usable),
                _in_batches(self._reward, usable, self._score_at_once, "clips scored"),
                strict=True,
            )
        )
        return [_shown(one, scores.get(one.id) if isinstance(one, Clip) else None, self.folder) for one in clips]

    def close(self) -> None:
        """Let both models go."""
        self._generator.close()
        self._reward.close()


def _composed(options: Options) -> dict[str, Any]:
    if options.generator is None or options.reward is None:
        raise UserError(NEEDED)
    from vpo.checking.composing import compose  # Hydra takes half a second, and the stages of a run another one
    from vpo.runs import check_assets, check_workers_of

    chosen = (f"generator={options.generator}", f"reward={options.reward}", *options.overrides)
    other = [one for one in options.overrides if not one.startswith(("generator.", "reward.", "paths."))]
    if other:
        raise UserError(f"overrides: {other[0]} is no value of the generator or the reward, such as generator.steps=30")
    config = compose(*chosen).config
    check_assets(config)
    check_workers_of(config, ("generator", "reward"))
    return config


def _prompt(query: UserQuery, text: str) -> Prompt:
    digest = hashlib.sha256(f"{query.text}\n{text}".encode()).hexdigest()[:12]
    return Prompt(f"{query.text[:60]}-{digest}", query.text, query.text, text, "optimize")


def _in_batches(worker: Worker, items: Sequence[Any], at_once: int, done: str) -> list[Any]:
    """What a worker makes of each item, with a line on how far it is."""
    results: list[Any] = []
    for start in range(0, len(items), at_once):
        results += worker.work(items[start : start + at_once])
        log.info("%d of %d %s", len(results), len(items), done)
    return results


def _rendered(generator: Any, items: Sequence[tuple[Prompt, int]], *, folder: Path) -> list[Clip | Failure]:
    made: list[Clip | Failure] = generator.render([prompt for prompt, _ in items], [seed for _, seed in items], folder)
    return made


def _scored(reward: Any, clips: Sequence[Clip], *, folder: Path) -> list[Score | Failure]:
    scores: list[Score | Failure] = reward.score([absolute(one, folder) for one in clips])
    return scores


def _shown(clip: Clip | Failure, score: Score | Failure | None, folder: Path) -> Shown:
    if isinstance(clip, Failure):
        return Shown(None, None, f"no clip ({clip.kind}: {clip.detail})")
    if clip.status != "ok":
        return Shown(None, None, f"the clip cannot be used ({clip.status})")
    path = str(folder / clip.path)
    if isinstance(score, Failure):
        return Shown(path, None, f"no reward ({score.kind}: {score.detail})")
    if score is None or score.value is None:
        return Shown(path, None, "the reward could not be read")
    return Shown(path, score.value)
