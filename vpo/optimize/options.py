"""What a user of an optimizer may ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from vpo.errors import UserError

LANGUAGES = ("keep", "english", "refuse")
SEMANTIC = (None, True, False, "auto")
DTYPES = ("float32", "bfloat16", "float16")
_AT_LEAST = {"n": 1, "rounds": 0, "resamples": 0, "max_chars": 1, "batch_size": 1, "max_new_tokens": 1, "seed": 0}


@dataclass(frozen=True)
class Options:
    """How an optimizer is opened and used.

    Attributes:
        judge: a choice of `conf/judge`; it says whether a prompt is harmless, accurate and helpful.
        search: a choice of `conf/search`: none, best_of_n, refine, render.
        n: candidates a query, in the place of the search's own.
        rounds: passes of critique and refine, in the place of the search's own.
        semantic: whether the semantic score decides between candidates that the judge finds equal (True, False, "auto" for where its
            encoder is at hand), in the place of the search's own.
        generator, reward: choices of `conf/generator` and `conf/reward`, for search="render": what renders the candidates, and what
            scores their clips.
        overrides: values of these two, as `vpo run` takes them: ("generator.steps=30", "reward.device=cuda").
        clips: the folder of the clips.
        resamples: how often a query without a prompt that passes is asked again.
        target: a choice of `conf/target`, the video model.
        language: "keep": a prompt is in its query's language. "english": in English. "refuse": a query that is not English is an
            error.
        seed: of all sampling; the same query gets the same prompt, whatever is asked beside it.
        max_chars: a longer query is an error.
        batch_size: queries that are worked on together.
        temperature, top_p, max_new_tokens: of sampling; None for what the source says of itself, or else 0.7, 1.0 and 256.
        template: name of a file in `vpo/templates` that renders a query, or "none" to ask with the bare query, for a server whose chat
            template holds the instruction (`vpo export template=inside`); None for the source's own, or else VPO's.
        revision: commit of a hub id.
        policy: which of a run's trained policies; None for its last.
        engine: settings of a server, by the names of `conf/engine/server.yaml`: {"model": "qwen", "api_key_env": "OPENAI_API_KEY"}.
            Without a model the server's only one is asked.
        device: "cpu", "cuda" or "auto".
        dtype: of the weights; None for bfloat16 on a GPU and float32 on a CPU.
        bits: 4 or 8 quantise linear layers.
    """

    judge: str = "rules"
    search: str = "none"
    n: int | None = None
    rounds: int | None = None
    semantic: bool | str | None = None
    generator: str | None = None
    reward: str | None = None
    overrides: Sequence[str] = ()
    clips: str = "clips"
    resamples: int = 1
    target: str = "none"
    language: str = "keep"
    seed: int = 0
    max_chars: int = 2000
    batch_size: int = 8
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    template: str | None = None
    revision: str | None = None
    policy: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    dtype: str | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise UserError(f"{name}={value} must be a whole number of at least {least}")
        for name, choices in (
            ("language", LANGUAGES),
            ("dtype", (None, *DTYPES)),
            ("bits", (None, 4, 8)),
            ("semantic", SEMANTIC),
        ):
            if getattr(self, name) not in choices:
                shown = ", ".join(str(one) for one in choices if one is not None)
                raise UserError(f"{name}={getattr(self, name)} does not exist; choose one of {shown}")


# What cannot change a prompt: where and how the same work is done. (Batches of other shapes round differently; see `Engine`.)
_NOT_IN_RESULT = ("batch_size", "device", "max_chars", "engine", "clips")
_OF_ANSWERS = ("model", "extra_body", "omit")  # of a server's settings


def described(options: Options) -> dict[str, object]:
    """What prompts depend on, of the options that are not left as they are: to tell whether two files were made alike."""
    default = Options()
    changed = {
        one.name: getattr(options, one.name)
        for one in fields(options)
        if one.name not in _NOT_IN_RESULT and getattr(options, one.name) != getattr(default, one.name)
    }
    of_server = {name: value for name, value in options.engine.items() if name in _OF_ANSWERS}
    return changed | ({"engine": of_server} if of_server else {})
