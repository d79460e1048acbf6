"""The shape of a composed config: which keys there are, and what kind of value each holds.

One class a group of values, as pydantic models in strict mode: a text "3" or a fraction 3.0 is no whole number. What is built
from a `_target_` has its shape in its class's signature (`vpo.checking.arguments`); rules between values are in `vpo.checking.rules`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vpo.checking.values import (
    Above0,
    AtLeast0,
    Betas,
    Count,
    HeldOut,
    Nucleus,
    Permutations,
    Seed,
    Share,
    WholeFrom0,
)


class Node(BaseModel):
    """Keys and values; no others."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Choice(Node):
    """What is built: its arguments are its class's own."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(alias="_target_")


class Adapter(Node):
    """LoRA, or QLoRA with `bits`."""

    r: Count
    alpha: float
    dropout: float
    target_modules: str | list[str]
    bits: int | None


class Optimizer(Node):
    """AdamW and its schedule; `gamma` is of schedule=step."""

    lr: AtLeast0
    betas: Betas
    weight_decay: AtLeast0
    schedule: str
    warmup: Share
    clip: float | None
    gamma: float | None = None


class Control(Node):
    """What SFT and its controls share."""

    max_length: Count
    validation: HeldOut
    validate_every: Count
    prompts: WholeFrom0
    checkpoint_every: Count
    keep: str
    adapter: Adapter | None
    log_every: Count
    optimizer: Optimizer | None


class Sft(Control):
    """A training on prompts, or (as `Dpo`) on pairs."""

    epochs: Above0
    max_steps: Count | None
    global_batch_size: Count
    optimizer: Optimizer


class Dpo(Sft):
    """A training on preference pairs."""

    policy: str
    label: str
    loss: str
    beta: Above0
    label_smoothing: AtLeast0
    sft_weight: AtLeast0


class Rewards(Node):
    """Weights of the rewards of online learning."""

    text: float
    video: float


class Grpo(Node):
    """Online learning from rewards."""

    policy: str
    label: str
    loss: str
    beta: float
    epsilon: Above0
    generations: Count
    temperature: Above0
    top_p: Nucleus
    max_new_tokens: Count
    rewards: Rewards
    epochs: Above0
    max_steps: Count | None
    global_batch_size: Count
    max_length: Count
    gradient_checkpointing: bool
    prompts: WholeFrom0
    prompts_every: Count
    checkpoint_every: Count
    log_every: Count
    keep: str
    adapter: Adapter | None
    optimizer: Optimizer


class NoObjective(Node):
    """Nothing is trained after SFT. An experiment's values for a training (epochs, steps) may stand beside it, and are not read."""

    model_config = ConfigDict(extra="allow")

    policy: None
    label: str
    optimizer: None
    adapter: None
    keep: str


# By the policy that the objective makes; another policy is refused by the rules.
OBJECTIVES: dict[str | None, type[Node]] = {"dpo": Dpo, "grpo": Grpo, None: NoObjective}


class Sampling(Node):
    """How candidates are sampled."""

    k: int
    temperature: Above0
    top_p: Nucleus
    max_new_tokens: Count
    batch_size: Count


class Feedback(Node):
    """Which feedback makes pairs."""

    text: bool
    video: bool
    given: bool
    threshold: float
    dominance: Literal["answers", "dimensions", "none"]
    text_pairs: Literal["refined", "sampled", "both"]
    prepended: bool
    among: Literal["fine", "all"]
    per_query: Count | None
    order: Literal["scan", "widest"]
    merge: Literal["text_wins", "beside"]
    weights: dict[str, float] | None
    least: dict[str, float] | None
    ranks: Count | None
    max_words: Count | None


class Evolution(Node):
    """How prompts are evolved by their reward."""

    reward: Literal["text", "video"]
    rounds: Count
    parents: WholeFrom0
    children: Count
    queries: Count | None
    weights: dict[str, float] | None
    least: dict[str, float] | None


class Trainer(Node):
    """Hardware and strategy; the options are Lightning's own."""

    accelerator: str
    devices: Count
    strategy: str
    precision: str
    per_device_batch_size: Count
    packing: bool
    peak_tflops: Above0 | None
    activation_checkpointing: bool
    strategy_options: dict[str, Any]
    memory_gb: Above0 | None


class Paths(Node):
    """Where results lie."""

    store: str
    data: str
    runs: str
    assets: str | None
    cache: str


class Plan(Node):
    """What `vpo plan` assumes: of the data, and of what it is to cost."""

    query_tokens: Count
    completion_tokens: Count
    verdict_tokens: Count
    flawed: Share | None
    queries: Count | list[Count] | None
    gpu: str
    gpus: Count
    gpu_price: AtLeast0 | None
    costs: bool | None


class LengthRule(Node):
    """How long a query is, in words and characters."""

    least_words: WholeFrom0
    most_words: Count
    most_characters: Count


class CharactersRule(Node):
    """What a query is written with."""

    most_special: Share
    longest_run: Count


class LanguageRule(Node):
    """Which languages a query may be in."""

    allowed: list[str]
    least_probability: Nucleus


class Pool(Node):
    """How many queries are compared with one another; null: all."""

    general: Count | None
    safety: Count | None


class NearRule(Node):
    """Which queries are nearly the same."""

    least: Nucleus
    shingle: Count
    permutations: Permutations


class DiversityRule(Node):
    """How much a query may repeat the others."""

    most: Share
    order: Count


class SafetySubset(Node):
    """Which queries are safety queries, and how many."""

    columns: list[str]
    threshold: Share
    judged: bool
    share: Share


class Split(Node):
    """How many queries each split gets at most."""

    sft: WholeFrom0
    dpo: WholeFrom0
    test: WholeFrom0


class Curation(Node):
    """Which of a data set's queries are used; a rule that is null is left out."""

    seed: Seed
    length: LengthRule | None
    characters: CharactersRule | None
    keywords: list[str] | None
    language: LanguageRule | None
    pool: Pool
    near: NearRule | None
    diversity: DiversityRule | None
    safety: SafetySubset
    split: Split


class Search(Node):
    """How many candidates a user of an optimizer has made of a query, how often the best is refined, and whether they are rendered."""

    n: Count
    rounds: WholeFrom0
    semantic: bool | Literal["auto"] = False
    render: bool = False


class Target(Node):
    """The video model that a prompt is for: what its text encoder reads."""

    tokens: Count | None
    tokenizer: str | None
    subfolder: str | None
    tokens_per_word: Above0
    languages: list[str]
    conventions: str


class Build(Node):
    """Whose classes may be built."""

    allow: list[str]


class Config(Node):
    """The whole config. Groups that are built from a `_target_` are Choices."""

    backbone: Choice
    dataset: Choice
    curation: Curation | None = None  # not there with curation=none
    judge: Choice
    drafter: Choice
    generator: Choice
    reward: Choice
    executor: Choice
    method: dict[str, Choice] = {}
    evaluator: dict[str, Choice] = {}
    logger: dict[str, Choice] = {}
    feedback: Feedback
    sft: Sft
    objective: dict[str, Any]
    control: Control
    trainer: Trainer
    paths: Paths
    sampling: Sampling
    plan: Plan
    build: Build
    seed: Seed
    measured: str
    clips_per_prompt: Count
    rounds: Count
    stop_after: str | None
    shard: str | None = None
    recompute: list[str]
    retry_failed: bool
    engine: dict[str, Any] = {}  # empty with engine=none
    evolution: dict[str, Any] = {}  # empty with evolution=none, else an Evolution
    rewriter: dict[str, Any] = {}  # empty with rewriter=none
