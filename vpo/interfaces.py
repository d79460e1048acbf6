"""The roles of the method, as Protocols. A choice of a config group is one class that plays one of these.

All of them work on sequences: the caller decides how many items go in at once and writes down what comes out, so an
implementation keeps no files, counts nothing and may batch as it likes. Outputs align with inputs, item by item. A failure
of one item is a None (or a `status`) in its place, never an exception, a default score or a missing row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vpo.records import Clip, Prompt, Query, Sample, Score, Verdict

T = TypeVar("T")
U = TypeVar("U")


class Dataset(Protocol):
    """Queries, split by use. The three splits share no id; `test` is never trained on.

    A class may name in `in_fingerprint` those of its arguments that say only where the content lies, such as a path: they
    are left out of the stage's key, which has the fingerprint.
    """

    def splits(self) -> Mapping[str, Sequence[Query]]:
        """{'sft': queries, 'dpo': queries, 'test': queries}; the same on every call."""
        ...

    def fingerprint(self) -> str:
        """A hash of what the config does not say, such as a file's content; empty where the config says it all."""
        ...


class LanguageModel(Protocol):
    """A loaded language model that completes a rendered query."""

    def sample(
        self, queries: Sequence[str], seeds: Sequence[int], *, temperature: float, top_p: float, max_new_tokens: int
    ) -> list[str]:
        """One stripped completion a query. Item i draws from `seeds[i]` only, so batches do not matter; temperature 0 is greedy."""
        ...


class Backbone(Protocol):
    """Which language model is trained, and how its files become a model."""

    def prepare(self, folder: Path) -> None:
        """Write into `folder` what `load` needs to start from the untrained (or released) model."""
        ...

    def load(self, folder: Path, bits: int | None = None) -> LanguageModel:
        """The policy whose files lie in `folder` (made by `prepare` or by training), ready to sample.

        `bits` quantises its weights, as a QLoRA training that starts from it does: for the reference.
        """
        ...


class Judge(Protocol):
    """Reads a query and a prompt by the three principles: harmless, accurate, helpful."""

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """One verdict a prompt, judged against `prompt.query`; an unparsable answer has None in its aspects."""
        ...

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | None]:
        """Each flawed prompt with the flaws that its verdict names mended; None where nothing usable came out."""
        ...


class Method(Protocol):
    """Turns queries into prompts. A drafter is a method; so is the trained policy; a table row is method x generator."""

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str]:
        """One prompt text a query. Randomness comes from `seed_of(seed, query.id)`."""
        ...


class Generator(Protocol):
    """The text-to-video model."""

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip]:
        """Write one mp4 a prompt into `folder` (atomically) and describe it; a failure is a `status`.

        The file is called `<vpo.storage.names.file_name(prompt.id)>.mp4`: an id may hold what no file system takes.
        """
        ...


class Reward(Protocol):
    """Scores clips against the original query (`clip.query`), never against the rewritten prompt."""

    def score(self, clips: Sequence[Clip]) -> list[Score]:
        """One score a clip; `clip.path` is absolute. A clip that cannot be read has value None."""
        ...

    def card(self) -> Mapping[str, Any]:
        """What a number of this reward depends on: questions, weights, dimensions, frames, normalisation."""
        ...


class Evaluator(Protocol):
    """Measures prompts or clips."""

    needs_clips: bool

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """One {metric: value} a sample. None counts as failed; a metric that does not apply to the sample is left out."""
        ...


class Executor(Protocol):
    """Where item-by-item work runs."""

    def map(self, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """`work(item)` for every item, results in order as they come."""
        ...
