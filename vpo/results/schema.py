"""The schema of a run's `results.json`, and the one way to read the file.

`Results.model_json_schema()` is the schema as JSON Schema. What equal runs share stands at the top; what may vary between
them stands under `run`. Files of before the schema have no "schema" and are read for their means only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vpo.errors import UserError

SCHEMA = 1

# `<stage>/<key>`: a result's folder below the store, and nothing outside of it.
EntryName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of the file. Fields that a newer vpo adds are ignored; what is there has its type, without conversion."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class Summary(Part):
    """One metric of one method.

    Attributes:
        mean: over `n` queries; None where it was measured on none.
        n_failed: on how many more queries it failed.
        ci95: half the width of the mean's 95 % interval; None where there is none: of a single query, and of none.
        low, high: its ends. Of a share near 0 or 1 they lie unevenly about the mean. None in files of an older version.
        part: of a number that is made of others, the share of a benchmark that these were measured on; None where it is all of it,
            or no benchmark says how much that is.
        n_clips, n_clips_failed: of a metric of several clips a query, the clips behind the mean, and how many more failed.
    """

    mean: float | None
    n: Count
    n_failed: Count
    ci95: float | None
    low: float | None = None
    high: float | None = None
    n_clips: Count | None = None
    n_clips_failed: Count | None = None
    part: Annotated[float, Field(ge=0, lt=1)] | None = None


class Difference(Part):
    """How much more one method has of a metric than the reference, on the same queries (`vpo.results.intervals.Gain`).

    Attributes:
        mean, low, high: of the difference, with its 95 % interval.
        n: queries that were measured under both.
        p: of the paired permutation test.
        p_holm: the same, corrected after Holm over all differences of the run.
    """

    mean: float
    low: float
    high: float
    n: Count
    p: float
    p_holm: float


class Gains(Part):
    """The paired differences of a run: of each method to `reference`, its first one, by metric and method."""

    reference: str
    resamples: Count
    differences: dict[str, dict[str, Difference]]


class Code(Part):
    """The version of vpo that made the run.

    Attributes:
        commit: of the git checkout that holds it; None without one (a wheel).
        dirty: whether its files differ from that commit.
        sha256: of all its Python files, configs, templates and word lists.
    """

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")] | None
    dirty: bool | None
    sha256: Sha256


class Device(Part):
    """The machine that finished the run. Results that it found in the store may have been made on another one.

    Attributes:
        accelerator: what trainings ran on: "cpu" or "gpu".
        devices: how many of them a training took.
        platform: operating system and architecture.
        cpu: the processor's name.
        cores: that this process could use.
        threads: of one torch operation; None where this process did not load torch.
        gpus: names of the CUDA devices that it found; None where it did not load torch.
    """

    accelerator: str
    devices: Count
    platform: str
    cpu: str
    cores: Count
    threads: Count | None
    gpus: list[str] | None


class Split(Part):
    """Queries of one use: how many, and the hash of the stored file."""

    rows: Count
    sha256: Sha256


class Data(Part):
    """The queries. `fingerprint` is a hash of data outside of the config, such as a user's file; None without such data."""

    entry: EntryName
    seed: int | None
    fingerprint: str | None
    splits: dict[str, Split]


class Role(Part):
    """A class that did the work of a role.

    Attributes:
        target: its dotted name.
        version: stated by the class or by its records ("rules 1"); None where neither states one.
        code: 16 hex digits that name its code and what that imports of vpo or its own package.
        card: of a reward: what its numbers depend on.
    """

    target: str
    version: str | None
    code: str
    card: dict[str, Any] | None = None


class Base(Part):
    """The model that training started from.

    Attributes:
        target: the class that loads it.
        model: hub id, folder or `asset:<name>`; None for random weights.
        revision: the hub's commit, or the sha256 that the asset was made from; None for a folder and for random weights.
    """

    target: str
    model: str | None
    revision: str | None


class Policy(Part):
    """A policy that methods can sample from.

    Attributes:
        entry: the stored result that holds it, in `policy/`.
        training: the trainings that made it, in order, it being the last; empty for the base model as it is.
        taught_by: the sources of its training signal: "judge", "reward", both or none.
    """

    entry: EntryName
    training: list[EntryName]
    taught_by: list[str]


class MethodEntries(Part):
    """A method of the results, and which stored results its numbers are of.

    Attributes:
        policy: the name of the policy that it sampled from; None for a method without one.
        entry: the stored result that holds that policy.
        prompts, clips: what was made of the test queries; clips are None where nothing needed them.
        evaluations: by evaluator.
    """

    policy: str | None
    entry: EntryName | None
    prompts: EntryName
    clips: EntryName | None
    evaluations: dict[str, EntryName]


class StageResult(Part):
    """A stored result of the run, computed by it or found in the store.

    Attributes:
        label: what it was made for: "drafts" or a method.
        code: 16 hex digits that name the stage's code when it was made.
        created: UTC.
        seconds: of the start that finished it.
        counts: of its records, by kind.
    """

    entry: EntryName
    label: str
    code: str
    created: str
    seconds: float
    counts: dict[str, int | float]


class Spending(Part):
    """What was asked of servers that may charge for it. Results that another run has paid for are not counted.

    Attributes:
        requests: answers that servers gave.
        cached: answers that were found in the cache of answers.
        tokens_in, tokens_out: read and written by the answered requests.
        cost: of these, in the currency of the configured prices; None where no price is known.
        unknown: the most that requests without an answer may have cost, where there was a limit.
    """

    requests: Count
    cached: Count
    tokens_in: Count
    tokens_out: Count
    cost: float | None
    unknown: float


class RunFacts(Part):
    """What may vary between equal runs: when, where, by which code, on which data.

    Attributes:
        seed: of the config.
        experiment: the chosen experiment, or "default".
        world: the chosen file of each group that decides what the numbers are about; None where none was chosen.
        overrides: of the command line.
        started: UTC.
        seconds: that this start took; results found in the store take none.
        store: the store's folder.
        entries: all stored results that the run used.
        versions: of Python and of libraries; "absent" for what is not installed.
        code, device, data: parts of their own, above.
        roles, evaluators: the classes that did the work, by role and by the evaluator's name.
        base: None where the run used no policy.
        policies: by name. `dpo_1`, `dpo_2`, ... are those of the rounds and `dpo` is the last of them.
        policy: the run's final policy: the objective's, or SFT's where no objective follows.
        rows: by method, as in `methods`.
        stages: the results that the run asked for, in order.
        failed: items that failed, by stage, where some did.
        trained_on: by evaluator, the methods that were trained on the judge or reward that it judges by, or chosen by it
            (`vpo.results.held_out`); by "<evaluator>/<metric>" of a metric with a judge of its own.
        idle: shares of the time in which its results were made: by role, and of workers (`vpo.results.idle`).
        spent: what the run has asked of language models' servers, over all its starts; None where it asked none.
    """

    seed: int
    experiment: str
    world: dict[str, str | None]
    overrides: list[str]
    started: str
    seconds: float
    store: str
    entries: list[EntryName]
    versions: dict[str, str]
    code: Code
    device: Device
    data: Data
    roles: dict[str, Role]
    evaluators: dict[str, Role]
    base: Base | None
    policies: dict[str, Policy]
    policy: str | None
    rows: dict[str, MethodEntries]
    stages: list[StageResult]
    failed: dict[str, Count]
    trained_on: dict[str, list[str]] = {}
    idle: dict[str, float] = {}
    spent: Spending | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if self.policy is not None and self.policy not in self.policies:
            raise ValueError(f"policy: {self.policy!r} is none of policies")
        for name, row in self.rows.items():
            held = None if row.policy is None else self.policies.get(row.policy)
            if (row.policy is None) != (held is None) or row.entry != (held and held.entry):
                raise ValueError(f"rows.{name}: the policy {row.policy!r} in {row.entry} is none of policies")
        return self


class Results(Part):
    """The whole file: means and intervals by method and metric, the evaluators' cards where they have some, and the run. Where it has
    several methods `gains` says how far they are apart."""

    model_config = ConfigDict(title="results.json of vpo", serialize_by_alias=True)

    schema_version: int = Field(alias="schema", ge=1, le=SCHEMA)
    methods: dict[str, dict[str, Summary]]
    gains: Gains | None = None
    evaluators: dict[str, Any] = {}
    run: RunFacts

    @model_validator(mode="after")
    def _rows_are_methods(self) -> Self:
        unknown = set(self.methods) - set(self.run.rows)
        if unknown:
            raise ValueError(f"run.rows lacks {', '.join(sorted(unknown))}")
        return self


class _Old(Part):
    """A file of before the schema, as far as tables read it."""

    methods: dict[str, dict[str, Summary]]
    run: dict[str, Any] = {}


def problem_of(content: Any) -> str | None:
    """What keeps a file's content from being results: the field, and what is wrong with it; None if nothing does."""
    if not isinstance(content, Mapping):
        return "expected a mapping"
    try:
        (_Old if "schema" not in content else Results).model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        return f"{where}: {first['msg'].removeprefix('Value error, ')}{more}".removeprefix(": ")
    return None


def read_results(path: Path) -> dict[str, Any]:
    """The content of a results.json. Raises UserError, in one line, for a file that is unreadable or does not fit the schema."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; finish the run by giving its command again") from error
    except (ValueError, RecursionError) as error:
        raise UserError(_damaged(path, " ".join(str(error).split())[:100])) from error
    version = content.get("schema") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise UserError(
            f"{path}: its schema is {version} and this vpo reads up to {SCHEMA}; use the newer vpo that wrote it"
        )
    problem = problem_of(content)
    if problem:
        raise UserError(_damaged(path, problem))
    return content


def facts_of(content: Mapping[str, Any]) -> RunFacts | None:
    """The facts of the run, of content that has no problem; None for a file of before the schema."""
    return Results.model_validate(dict(content)).run if "schema" in content else None


def _damaged(path: Path, reason: str) -> str:
    return f"{path} is damaged ({reason}); give the run's command again, or move its folder away"
