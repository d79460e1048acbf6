"""The roles of the method, as Protocols. A choice of a config group is one class that plays one of these.

A role (judge, engine, generator, reward, evaluator) is described by its config node and built where its work is done: in this
process, in a worker process, in a Ray actor. It is let go, by `close()` if it has one, when its stage ends.

All roles work on sequences: the caller decides how many items go in at once and writes down what comes out, so an
implementation keeps no files, counts nothing and may batch as it likes. Outputs align with inputs, item by item. What could
not be made is a `Failure` in the item's place, never a default score or a missing row. A role need not catch what goes wrong:
an exception is retried, isolated to its item and made a `Failure` by the worker (`vpo.executor.worker`), once for all roles.
`batch_size`, in a role's node or on its class, is how many items it takes at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vpo.cards import EvaluatorCard, Weighted
from vpo.records import (
    Clip,
    Completion,
    Failure,
    Family,
    Prompt,
    Query,
    Request,
    Sample,
    Sampling,
    Score,
    Verdict,
)


class Dataset(Protocol):
    """Queries, split by use. The three splits share no id; `test` is never trained on.

    A class may name in `in_fingerprint` those of its arguments that say only where the content lies, such as a path: they
    are left out of the stage's key, which has the fingerprint.

    A class with more queries than fit into memory has a `stream()`, too: an iterator over all of them, each once, before they are
    split. `curation=...` reads these in the place of `splits()`, and deals all splits itself.
    """

    def splits(self) -> Mapping[str, Sequence[Query]]:
        """{'sft': queries, 'dpo': queries, 'test': queries}; the same on every call."""
        ...

    def fingerprint(self) -> str:
        """A hash of what the config does not say, such as a file's content; empty where the config says it all."""
        ...


class Engine(Protocol):
    """Text generation: a language model in this process, or a server. Policies, drafters, judges and rewriters use it alike.

    The caller hands over all requests that it has; batches, concurrency, a cache and the sharing of a prefill among requests with
    the same prompt are the engine's own.
    """

    def generate(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """One completion a request, whatever the sampling of its neighbours.

        All randomness comes from `request.seed`, never from the batch: the same request alone and among others gives the same
        text, up to the rounding of sums in batches of other shapes. A server is sent the seed and need not promise as much; what
        it gave is repeatable from the store only.

        What cannot be done (a prompt longer than the model reads, a refused request) is a Failure in its place.
        """
        ...

    def close(self) -> None:
        """Free the model's memory, or the connections. Nothing can be generated afterwards; a second call does nothing."""
        ...


class Policy(Protocol):
    """A language model that rewrites queries: an engine, and how a query is put to it."""

    @property
    def engine(self) -> Engine:
        """Where it runs."""
        ...

    def request(self, query: str, sampling: Sampling, seed: int) -> Request:
        """What the engine is asked in order to have the query rewritten."""
        ...

    def close(self) -> None:
        """Close the engine."""
        ...


class Backbone(Protocol):
    """Which language model is trained, and how its files become a model."""

    def prepare(self, folder: Path) -> None:
        """Write into `folder` what `load` needs to start from the untrained (or released) model."""
        ...

    def load(self, folder: Path) -> Policy:
        """The policy whose files lie in `folder` (made by `prepare` or by training), ready to sample."""
        ...


class Judge(Protocol):
    """Reads a query and a prompt by the three principles: harmless, accurate, helpful.

    A class may have a static method `report`, from the prompts of a stage, their verdicts and failures (by the prompt's id) to {file
    name: JSON value}: the stage keeps these files beside the verdicts, and the run folder has copies.
    """

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
        """One verdict a prompt, judged against `prompt.query`; a part of the answer that cannot be parsed is None in it."""
        ...

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | Failure | None]:
        """Each flawed prompt with the flaws that its verdict names removed; None where nothing usable came out."""
        ...


class Method(Protocol):
    """Turns queries into prompts. A drafter is a method; so is the trained policy; a table row is method x generator."""

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str | Completion | Failure]:
        """One prompt a query: a text, or what a language model wrote. Randomness comes from `seed_of(seed, query.id)`."""
        ...


class Rewriter(Protocol):
    """Writes new prompts for a query from the best ones so far and their rewards."""

    def rewrite(self, families: Sequence[Family], n: int, seed: int) -> list[list[str] | Failure]:
        """Up to n new prompts a family, or a Failure where there are none: then its query is not evolved further.

        Randomness comes from `seed_of(seed, query.id, generation)`.
        """
        ...


class Generator(Protocol):
    """The text-to-video model.

    A class, or its node, may say `still_is_fine = True` (a clip in which nothing moves is no fault), `worth_storing = False` (to
    render a clip again is cheaper than to keep it) or `retries = False` (another seed gives the same clip). A class may have
    `describe()`, a mapping of what decides a clip besides its prompt and seed, for the description beside it; and a class method
    `check(node)`, which raises UserError when a config is composed.
    """

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip | Failure]:
        """Write one mp4 a prompt into `folder` (atomically) and describe it.

        The file is called `<vpo.storage.names.file_name(prompt.id)>.mp4`: an id may hold what no file system takes.
        A clip that was made and is not usable (empty, not a number) says so in its `status`. Whether a file decodes and shows
        something that moves is looked at once for all generators, with one more try (`vpo.stages.rendering`).
        """
        ...


class Reward(Protocol):
    """Scores clips against the original query (`clip.query`), never against the rewritten prompt.

    A class with a small model that reads frames through `vpo.video.frames` says `shares_frames = True`; see `Evaluator`.
    """

    def score(self, clips: Sequence[Clip]) -> list[Score | Failure]:
        """One score a clip; `clip.path` is absolute. A clip that cannot be read is a Failure, or has the value None."""
        ...

    def card(self) -> Mapping[str, Any]:
        """What a number of this reward depends on: questions, weights, dimensions, frames, normalisation."""
        ...


class Evaluator(Protocol):
    """Measures prompts or clips.

    A class with a small model that reads frames through `vpo.video.frames` says `shares_frames = True`: it reads each clip when others
    do, so that a clip is decoded once, and its model is in memory beside theirs (`vpo.stages.together`).

    A class of ours may have a static method `check(node, config)`, which raises UserError when a config is composed: where no clip of
    the run's generator could be measured, say.
    """

    card: EvaluatorCard
    """An attribute of the class, read before anything is built. Where it depends on the arguments of the node, a static method
    that takes these (all of them, as `__init__` does) and returns the card."""

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | Weighted | None] | Failure]:
        """One {metric: value} a sample.

        None counts as failed; a metric that does not apply to the sample is left out. `Weighted` says that items do not count alike:
        the card names the aggregate that weighs them. `Answered` brings what a model answered on the item, which is kept for
        people. Parts of a sample that it needs may be Failures, its prompt is none.
        """
        ...


@dataclass(frozen=True)
class Task:
    """What a worker does with items: it builds a role once, and calls one of its methods with some items at a time.

    A task travels to other processes, so both parts must be picklable: functions of modules, `functools.partial` of these,
    dataclasses.

    Attributes:
        make: builds the role.
        call: from (role, items) to one result, or `Failure`, an item.
    """

    make: Callable[[], Any]
    call: Callable[[Any, Sequence[Any]], Sequence[Any]]


class Executor(Protocol):
    """Where item-by-item work runs."""

    def run(self, task: Task, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        """(number of the batch, one result or `Failure` an item), each batch once, as they are finished, in any order."""
        ...
