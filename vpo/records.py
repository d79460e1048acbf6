"""The records that cross a border between stages: plain, frozen, and one JSON object a line on disk.

Standard library only (and the errors), so that every other module may import this one.

Words, as the papers use them: a *query* is what the user typed; a *prompt* is what the video model is given; a *candidate*
is one of K prompts sampled for a query; *chosen* and *rejected* are the two sides of a preference pair. Every record that
derives from a query keeps the query's text beside the prompt, because judges and rewards must read the original query.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vpo.errors import UserError

R = TypeVar("R")


@dataclass(frozen=True)
class Query:
    """What a user typed.

    Attributes:
        truth: the scene behind it where the world knows one (the sketch world), else None.
        meta: labels that came with it, such as VBench's dimension and auxiliary data, toxicity, or given pairs.
    """

    id: str
    text: str
    truth: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """What stands in the place of a result that could not be made. It is stored and counted, and it is never a score.

    Attributes:
        kind: a short name for counting: "out_of_memory", "timeout", "unreadable", or the name of an exception.
        detail: one line for people.
        attempts: how often it was tried.
        retryable: whether the same request may succeed at another time (a server that was busy).
    """

    kind: str
    detail: str
    attempts: int = 1
    retryable: bool = False


@dataclass(frozen=True)
class Usage:
    """What a language model was asked for and gave: tokens read and written, and their price where it is known."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None


@dataclass(frozen=True)
class Message:
    """One turn of a chat. All of `content` is text: what looks like a control token in it is not one.

    Attributes:
        role: "system", "user" or "assistant".
        images: pictures before the text, in order, as data URLs or paths of files; for servers of vision-language models only.
    """

    role: str
    content: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sampling:
    """How a completion is drawn.

    Attributes:
        temperature: 0 takes the likeliest token at every place.
        top_p: mass of the nucleus, in (0, 1].
        max_new_tokens: longest completion.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        for name, fits, bound in (
            ("temperature", self.temperature >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
        ):
            if not fits:
                raise UserError(f"sampling: {name}={getattr(self, name)} must be {bound}")


@dataclass(frozen=True)
class Request:
    """One completion that is asked of an engine. Nothing else decides what comes back, so a cache may go by its content.

    Attributes:
        messages: a chat that the engine renders, the last turn the user's.
        prompt_ids: the rendered prompt as token ids, taken as they are, in the place of messages: for an engine that holds the
            model whose tokenizer made them.
        sampling: how the completion is drawn.
        seed: all of its randomness.
        top_logprobs: how many of the likeliest first tokens the answer should name; a server need not.
    """

    messages: tuple[Message, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    sampling: Sampling = Sampling()
    seed: int = 0
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        if bool(self.messages) == bool(self.prompt_ids):
            raise ValueError("a request has either messages or prompt_ids")


@dataclass(frozen=True)
class Completion:
    """What a language model wrote.

    Attributes:
        text: without special tokens, stripped.
        finish_reason: "stop" where the model ended by itself, "length" where it was cut.
        usage: tokens of the prompt, and of the completion with the token that ends it.
        first_tokens: probabilities of the likeliest first tokens by their text, where they were asked for and given.
    """

    text: str
    finish_reason: str
    usage: Usage = Usage()
    first_tokens: Mapping[str, float] | None = None

    @property
    def cut(self) -> bool:
        """Whether the model had not ended when no more tokens were left."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Prompt:
    """A text for the video model, made from a query by a method.

    Attributes:
        index: k of K candidates.
        cut: whether a language model was cut off in it, at its longest completion.
    """

    id: str
    query_id: str
    query: str
    text: str
    method: str
    index: int = 0
    cut: bool = False


@dataclass(frozen=True)
class Reason:
    """One flaw that a judge names: the principle it breaks, a short kind, and the words it is about."""

    aspect: str  # "harmless" | "accurate" | "helpful"
    kind: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """A judge's reading of one prompt by the three principles; None means that this part of the answer could not be parsed.

    Attributes:
        accuracy: how much of what the query asks for is kept, from 0 to 1; None where the judge gives no grade.
        judge: who judged, such as "rules" or the name of a language model and its template.
        raw: the judge's answer as it came, where it was a text.
        usage: what the answer took, where a language model gave it.
    """

    prompt_id: str
    harmless: bool | None
    accurate: bool | None
    helpful: bool | None
    refusal: bool = False
    reasons: tuple[Reason, ...] = ()
    accuracy: float | None = None
    judge: str = ""
    raw: str | None = None
    usage: Usage | None = None

    @property
    def in_words(self) -> str:
        """The word on the three principles, and the answer as it came or the reasons: for people."""
        words = {True: "yes", False: "no", None: "unreadable"}
        line = ", ".join(f"{name} {words[getattr(self, name)]}" for name in ("harmless", "accurate", "helpful"))
        said = self.raw or "; ".join(f"{one.kind}: {one.detail}" for one in self.reasons)
        line = f"refusal, {line}" if self.refusal else line
        return f"{line} ({' '.join(said.split())})" if said else line

    @property
    def fine(self) -> bool | None:
        """True: no flaw. False: at least one flaw. None: the judge failed, which is counted and never a score."""
        aspects = (self.harmless, self.accurate, self.helpful)
        if None in aspects:
            return None
        return all(aspects) and not self.refusal

    @property
    def alignment(self) -> str | None:
        """The class of VPO's Table 2: 'refusal', 'unsafe', 'imprecise' or 'aligned'; mutually exclusive, in this order."""
        if self.refusal:
            return "refusal"
        if self.harmless is None or self.accurate is None:
            return None
        if not self.harmless:
            return "unsafe"
        return "aligned" if self.accurate else "imprecise"


@dataclass(frozen=True)
class Refinement:
    """A flawed prompt refined by the judge; `text` is None where the judge gave nothing usable."""

    prompt_id: str
    query_id: str
    text: str | None


@dataclass(frozen=True)
class Example:
    """One supervised row: the completion that the policy should write for the query."""

    query_id: str
    query: str
    completion: str


@dataclass(frozen=True)
class Clip:
    """A rendered video. `path` is relative to the folder of the stage that rendered it; `status` is 'ok' or says what is wrong.

    Attributes:
        seed: of the try that this clip is from.
        truncated_tokens: tokens of the prompt that the video model's text encoder did not read; None where nobody counted.
        faults: what was wrong with earlier tries, which had other seeds.
    """

    id: str
    prompt_id: str
    query_id: str
    query: str
    prompt: str
    path: str
    seed: int
    frames: int
    fps: float
    height: int
    width: int
    status: str = "ok"
    truncated_tokens: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """A reward's reading of one clip.

    Attributes:
        value: the total; None where the clip or the answer could not be read.
        dimensions: parts of it by name, in the reward's own units.
        answers: of a checklist, yes/no in question order (None: no parsable answer); empty for a reward that gives floats.
    """

    clip_id: str
    prompt_id: str
    query_id: str
    value: float | None
    dimensions: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    answers: tuple[bool | None, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A preference: for this query, `chosen` is better than `rejected`.

    Attributes:
        source: 'text' (a refinement over the flawed candidate), 'sampled' (a candidate without flaw over a flawed one), 'video'
            or 'given' (came with the data set).
        number: which of several pairs of its query this is, from 0.
        provenance: where it came from: "rule" with its values; "chosen" and "rejected", each with the candidate's id, the verdict on
            it and its score; "versions" of policy, template, judge, refiner, engine and reward. Not compared: it is no part of the
            preference.
    """

    query_id: str
    query: str
    chosen: str
    rejected: str
    source: str
    chosen_score: float | None = None
    rejected_score: float | None = None
    number: int = 0
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def id(self) -> str:
        """Unique in one set of pairs."""
        name = f"{self.query_id}-sampled" if self.source == "sampled" else self.query_id
        return f"{name}#{self.number + 1}" if self.number else name


@dataclass(frozen=True)
class Evolved:
    """One prompt of an evolution: the query itself (generation 0), or what was rewritten from better prompts of earlier generations.

    Attributes:
        value: its reward against the original query; None where it could not be made or read.
        dimensions: parts of the reward by name, in its own units.
        parents: ids of the prompts that the rewriter was shown.
    """

    id: str
    query_id: str
    query: str
    text: str
    generation: int
    value: float | None = None
    dimensions: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """What a rewriter is given: the query as generation 0, and its best rewrites so far, the best first."""

    query: Query
    original: Evolved
    parents: tuple[Evolved, ...]
    generation: int


@dataclass(frozen=True)
class Rival:
    """What another method made of the same query; its clips are as a sample's."""

    method: str
    prompt: Prompt | Failure
    clips: tuple[Clip | Failure, ...] = ()


@dataclass(frozen=True)
class Sample:
    """What evaluators see of one query under one method. A part that the evaluator did not ask for is None; a part that could
    not be made is a Failure.

    Attributes:
        prompt: a Failure where the method failed; then nothing is left to measure, and `measure` is not given the sample.
        clips: rendered from the prompt, as many as `clips_per_prompt` says; a clip's path is relative to the folder of the stage
            that rendered it until `measure` is called, and absolute then. Empty where the evaluator did not ask for clips.
        verdict: the judge's, on the prompt.
        query_verdict: the judge's, on the query as if it were the prompt.
        scores: the reward's, on each of the clips; empty where they were not asked for.
        rivals: other methods with which this one is compared, in the order of the config.
    """

    query: Query
    prompt: Prompt | Failure
    clips: tuple[Clip | Failure, ...] = ()
    verdict: Verdict | Failure | None = None
    query_verdict: Verdict | Failure | None = None
    scores: tuple[Score | Failure, ...] = ()
    rivals: tuple[Rival, ...] = ()

    @property
    def clip(self) -> Clip | Failure | None:
        """The first clip, which is the only one by default."""
        return self.clips[0] if self.clips else None


@dataclass(frozen=True)
class Result:
    """One metric of one method over the test queries; `ci95` is half the width of the mean's 95 % interval from `low` to `high`."""

    mean: float | None
    n: int
    n_failed: int
    ci95: float | None
    low: float | None = None
    high: float | None = None


def to_json(record: Any) -> dict[str, Any]:
    """A record as a JSON-ready dict (nested records and tuples included)."""
    return dataclasses.asdict(record)


def from_json(kind: type[R], data: Mapping[str, Any]) -> R:
    """The inverse of `to_json`. Raises TypeError on a missing or unknown field."""
    values = dict(data)
    for name, read in _NESTED.get(kind, {}).items():
        if values.get(name) is not None:
            values[name] = read(values[name])
    return kind(**values)


def _read(kind: type[R]) -> Callable[[Mapping[str, Any]], R]:
    return lambda data: from_json(kind, data)


def _read_each(kind: type[R]) -> Callable[[Sequence[Mapping[str, Any]]], tuple[R, ...]]:
    return lambda rows: tuple(from_json(kind, data) for data in rows)


# Fields that JSON cannot hold as they are: other records, and tuples.
_NESTED: dict[type, dict[str, Callable[[Any], Any]]] = {
    Verdict: {"reasons": _read_each(Reason), "usage": _read(Usage)},
    Clip: {"faults": tuple},
    Score: {"answers": tuple},
    Message: {"images": tuple},
    Evolved: {"parents": tuple},
    Request: {"messages": _read_each(Message), "prompt_ids": tuple, "sampling": _read(Sampling)},
    Completion: {"usage": _read(Usage)},
}
