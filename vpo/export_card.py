"""The model card of an exported policy: what it is, how to use it, what it learnt from, how it was measured, its limits.

Every figure is read from the run's results and the store's manifests; nothing is written by hand. Local paths and secrets
do not enter: a card is made to be published.
"""

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vpo.export_source import Source, history
from vpo.storage.jsonio import dumps
from vpo.storage.redact import redact
from vpo.store import Entry, canonical, without
from vpo.table_formats import to_markdown
from vpo.tables import run_tables

# The files of each stage that hold what a policy learnt from; their hashes tell one data set from another.
DATA = {"queries": "*.jsonl", "sft": "rows.jsonl", "pair": "pairs.jsonl"}
FEW = 30  # queries behind a mean, below which the card warns
# A local path, absolute or from the home or the working folder; its last part is kept. Not the slashes of a URL or hub id.
_LOCAL = re.compile(
    r"(?<![\w:/.~])(?:file://)?(?:~/|/|[A-Za-z]:\\|\.{1,2}/)(?:[^\s'\",\[\]{}=]*[/\\])?([^\s'\",\[\]{}=/\\]+)"
)

Past = list[tuple[Entry, Mapping[str, Any]]]  # what `history` tells: results and their manifests, inputs first

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
    past = history(source.entry)
    embedded = in_sketch_world(source, past)
    trained = [one.stage.upper() for one, _ in past if one.stage != "start" and (one.folder / "policy").is_dir()]
    sections = [
        "---\n" + yaml.safe_dump(_front(source, past, embedded, license), sort_keys=False) + "---",
        f"# {name}",
        "A language model that rewrites a short text-to-video query into the prompt that a video model is given: harmless, true to "
        f"the query, and detailed. It is the policy `{source.policy}` of a run of `vpo` (after VPO, Cheng et al., ICCV 2025, "
        f"arXiv 2503.20491), trained from {_origin(past)} by {' then '.join(trained)}.",
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
        "\n".join(f"- {line}" for line in [*_limits(source, past, embedded), *notes]),
        "## How it was made",
        f"```sh\n{_commands(source, command)}\n```",
        _versions(source),
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


def base_model(past: Past) -> str | None:
    """The hub id of the model that training started from; None for a local folder or weights made from nothing."""
    for entry, _ in past:
        pointer = entry.folder / "policy" / "start.json"
        if entry.stage == "start" and pointer.is_file():
            named = json.loads(pointer.read_text(encoding="utf-8"))
            return named["model"] if named.get("revision") else None  # only what came from the hub has one
    model = _backbone(past).get("model")  # of a start that was pruned
    return model if model and re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not Path(model).exists() else None


def in_sketch_world(source: Source, past: Past) -> bool:
    """Whether the queries, the clips or the scores behind the policy or its figures are the embedded world's."""
    told = [manifest.get("node", {}) for _, manifest in past]
    told += [source.config.get(group, {}) for group in ("dataset", "generator", "reward")]
    return '"vpo.sketch.' in canonical(told)


def public(value: Any) -> Any:
    """The value without secrets, and with local paths cut down to their last part."""
    value = redact(value)
    if isinstance(value, Mapping):
        return {key: public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [public(inner) for inner in value]
    return _LOCAL.sub(r"\1", value) if isinstance(value, str) else value


def _front(source: Source, past: Past, embedded: bool, license: str | None) -> dict[str, Any]:
    """The card's metadata, as the Hub reads it."""
    base, backbone = base_model(past), _backbone(past)
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "language": "en"}
    front["license"] = license or ("apache-2.0" if backbone and "model" not in backbone else "other")
    if front["license"] == "other":
        front["license_name"] = "as-of-the-base-model"
    if base:
        front["base_model"] = base
    tags = ["vpo", "prompt-optimization", "text-to-video", source.entry.stage, *(["sketch-world"] if embedded else [])]
    return {**front, "tags": tags}


def _backbone(past: Past) -> Mapping[str, Any]:
    nodes = (manifest.get("node", {}) for entry, manifest in past if entry.stage == "start")
    return next(nodes, {}).get("backbone", {})


def _origin(past: Past) -> str:
    """What training started from, in words."""
    backbone, base = _backbone(past), base_model(past)
    if base:
        revision = backbone.get("revision")
        return f"`{base}`" + (f" at revision `{revision}`" if revision else "")
    if backbone.get("model"):
        return f"a local copy of `{Path(backbone['model']).name}`"
    return f"random weights (`{backbone['_target_']}`)" if "_target_" in backbone else "an unknown model"


def _sampling(source: Source) -> str:
    method = next(iter(methods_of(source).values()), None)
    if method is None:
        return "How to sample is left to you: no run came with it."
    told = (
        f"temperature {method['temperature']}, top_p {method['top_p']}"
        if method["temperature"]
        else "the likeliest token"
    )
    return (
        f"`generation_config.json` samples as the run measured it: {told}, at most {method['max_new_tokens']} tokens."
    )


def methods_of(source: Source) -> dict[str, Mapping[str, Any]]:
    """The methods of the run that sample from this policy, by name."""
    methods = source.config.get("method", {})
    return {name: node for name, node in methods.items() if node.get("policy") == source.policy}


def _data(past: Past) -> str:
    """What the policy was made from, step by step, and the hashes of what it learnt from."""
    lines = ["| Result | Key | Holds | Data, sha256 (16 of 64 digits) |", "|---|---|---|---|"]
    for entry, manifest in past:
        counts = ", ".join(f"{name} {count}" for name, count in manifest.get("counts", {}).items()) or "-"
        files = sorted(entry.folder.glob(DATA[entry.stage])) if entry.stage in DATA else []
        hashes = ", ".join(f"{file.name} `{_hash(file)}`" for file in files) or "-"
        lines.append(f"| {entry.stage} | `{entry.key}` | {counts if manifest else 'no longer stored'} | {hashes} |")
    below = "A key hashes a step's settings and the keys of its inputs: the same keys, the same experiment."
    return "\n".join([*lines, "", below])


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def _recipe(past: Past) -> dict[str, Any]:
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
            told = ("backbone", "template") if entry.stage != "start" else ()  # once is enough
            recipe[name] = {key: value for key, value in node.items() if key not in told}
    return json.loads(dumps(recipe))  # plain values: YAML would print shared ones as aliases


def _results(source: Source) -> str:
    if not source.results:
        return "Exported from the store and not from a finished run, so no measurement comes with it."
    mine = methods_of(source)
    labels = {name: f"{name} (this model)" if name in mine else name for name in source.results["methods"]}
    tables = run_tables(source.results, labels)
    return "\n".join(map(to_markdown, tables)).rstrip()


def _limits(source: Source, past: Past, embedded: bool) -> Iterator[str]:
    if embedded:
        yield (
            "The queries, clips or scores come from the sketch world: a grammar of short scenes, a procedural renderer of "
            "64-pixel clips, a checklist that reads pixels. The numbers above mean nothing for a real video model."
        )
    if "vpo.judge.rules" in str(source.config.get("judge", {}).get("_target_")):
        yield (
            "Harm and faithfulness were judged by rules over words, not by people or a language model: what they do not "
            "list they miss."
        )
    counts = [one["n"] for metrics in source.results.get("methods", {}).values() for one in metrics.values()]
    if counts and max(counts) < FEW:
        yield f"Measured on {max(counts)} queries: too few to tell methods apart."
    if source.results:
        seed = source.results["run"].get("seed")
        yield f"One training (seed {seed}): the intervals are over queries and say nothing about another seed."
    taught = any(
        one.stage == "score" or (one.stage == "grpo" and "reward" in told.get("node", {})) for one, told in past
    )
    if source.results and taught:
        yield "The reward that is reported is also what training learnt from; of it, an optimizer is expected to look good."
    yield "It writes English, for the template above. It can still write unsafe or unfaithful prompts: check them before use."


def _commands(source: Source, command: str) -> str:
    if not source.results:
        return command
    told = public([one for one in source.results["run"].get("overrides", []) if not one.startswith("paths.")])
    return shlex.join(["vpo", "run", *told]) + "\n" + command


def _versions(source: Source) -> str:
    versions = source.results.get("run", {}).get("versions", {})
    told = ", ".join(f"{name} {value}" for name, value in versions.items() if value != "absent")
    return f"Trained with {told}." if told else ""
