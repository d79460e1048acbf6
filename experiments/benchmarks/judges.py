"""What each judge is worth: every judge at hand on the same pairs, true, swapped and with one detail changed.

    python experiments/benchmarks/judges.py                           # the judges of judges.yaml -> experiments/results/judges.md
    python experiments/benchmarks/judges.py --judges rules            # only these
    python experiments/benchmarks/judges.py --judges smollm2_135m vpo_released panel --pairs 1 --out judges.md    # do they run?
    python experiments/benchmarks/judges.py --pairs 20                # of every judge
    python experiments/benchmarks/judges.py --add gpt="judge=llm engine=server engine.base_url=http://localhost:8000/v1 engine.model=m"

A probe is a query with a text: its published rewrite ("true"), the rewrite of another query ("swapped"), and its own rewrite with one
detail changed everywhere (a colour, a count, an action: `tests/judge/probes.py`). A judge is right where it calls the first accurate
and the others not. Answers that could not be read, and failures, are counted apart and are in no share. Verdicts stay in --work, so
that a run that was stopped goes on, and answers that were paid are not paid again: under all that decides them, which is the judge's
values, its templates, files and local model, and its code.
"""

import argparse
import copy
import hashlib
import math
import platform
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from hydra import compose, initialize_config_module  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from tests.judge import probes  # noqa: E402
from vpo.build import Spec, batch_size_of  # noqa: E402
from vpo.errors import UserError  # noqa: E402
from vpo.executor.local import LocalExecutor  # noqa: E402
from vpo.feedback.agreement import cohen_kappa  # noqa: E402
from vpo.interfaces import Judge, Task  # noqa: E402
from vpo.judge.panel import agreement  # noqa: E402
from vpo.records import Failure, Prompt, Verdict, from_json, to_json  # noqa: E402
from vpo.stages.contents import with_contents  # noqa: E402
from vpo.storage.code_hash import class_hash  # noqa: E402
from vpo.storage.items import Work, complete  # noqa: E402
from vpo.storage.jsonio import canonical  # noqa: E402
from vpo.targets import declared, targets_in  # noqa: E402

KINDS = ("true", "swapped", "changed")
Z95 = 1.959964
BATCH = 12  # probes of one call: what a stop may cost
HEAD = """# Judges

What a user reads before choosing a judge: each judge on the same pairs of a query and a text. *True* is the published rewrite,
*swapped* that of another query, *changed* the true one with one detail changed (a colour, a count, an action). A judge is right where
it calls the first accurate and the others not; in brackets the 95 % interval (Wilson). *Unread* are answers that hold no verdict, and
failures: they are in no share. *Kappa* is Cohen's, with the truth, over true and changed: 1 is always right, 0 is no better than
chance, and it is not defined where a judge gives one answer to all. Seconds are of the wall clock, on a machine that did other work,
too. Made by `python experiments/benchmarks/judges.py`.
"""


@dataclass(frozen=True)
class Judged:
    """A judge's verdicts on the probes, by their ids.

    Attributes:
        seconds: wall-clock seconds of each verdict, without loading the model.
    """

    verdicts: Mapping[str, Verdict | Failure]
    seconds: Mapping[str, float]


def main() -> None:
    """Ask the judges, then write the table."""
    spec = yaml.safe_load((HERE / "judges.yaml").read_text(encoding="utf-8"))
    arguments = parse(spec)
    added = [one.split("=", 1) for one in arguments.add]
    judges = {name: spec["judges"][name] for name in arguments.judges}
    judges |= {name: {"pairs": 100, "overrides": overrides.split()} for name, overrides in added}
    for judge in judges.values():
        judge["pairs"] = arguments.pairs or judge["pairs"]
    most = max(judge["pairs"] for judge in judges.values())
    try:
        made = list(make_probes(arguments.data / "rewrites", spec, most))
        found = {name: ask(name, judge, made, arguments.work) for name, judge in judges.items()}
    except UserError as error:
        sys.exit(f"judges: {error}")
    text = report(found, made, judges, spec)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


def parse(spec: Mapping[str, Any]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", nargs="*", choices=list(spec["judges"]), default=list(spec["judges"]))
    parser.add_argument(
        "--add", action="append", default=[], metavar="NAME=OVERRIDES", help="one more judge, such as a served model"
    )
    parser.add_argument("--pairs", type=int, help="instead of judges.yaml's, of every judge")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help="folder with rewrites/")
    parser.add_argument("--work", type=Path, default=ROOT / "store/judges", help="where verdicts are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments/results/judges.md")
    return parser.parse_args()


def make_probes(folder: Path, spec: Mapping[str, Any], pairs: int) -> Iterator[tuple[str, Prompt]]:
    """(kind, prompt) of each probe: three a pair, in a fixed order that does not depend on how many are taken.

    Raises:
        UserError: The data is not there, or holds fewer pairs with a detail that can be changed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the one that holds rewrites/ by --data")
    every = [pair for source in spec["sources"] for pair in probes.load(folder, source)]
    every = [pair for pair in every if probes.half(pair.query) == spec["half"]]
    rng = random.Random(spec["seed"])
    rng.shuffle(every)
    others = {probe.query: probe.text for probe in probes.others(every, random.Random(spec["seed"]))}
    made = 0
    for pair in every:
        changes = list(probes.changed(pair, rng))
        if not changes or pair.query not in others:
            continue
        change = rng.choice(changes)
        texts = {"true": pair.rewrite, "swapped": others[pair.query], "changed": change.text}
        for kind, text in texts.items():
            yield (
                kind,
                Prompt(f"{made}-{kind}", str(made), pair.query, text, change.kind if kind == "changed" else kind),
            )
        made += 1
        if made == pairs:
            return
    raise UserError(f"only {made} pairs have a detail that can be changed; ask for fewer by --pairs")


def ask(name: str, judge: Mapping[str, Any], made: Sequence[tuple[str, Prompt]], work: Path) -> Judged:
    """One judge's verdicts on the probes of its pairs; those of an earlier start are kept."""
    with initialize_config_module("vpo.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=list(judge["overrides"])), resolve=True)
    node = config["judge"]  # type: ignore[index,call-overload]
    items = [prompt for _, prompt in made[: len(KINDS) * judge["pairs"]]]
    path = work / f"{name}-{key_of(node)}-{len(items)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    task = Task(Spec(node), timed_critique)
    size = min(BATCH, batch_size_of(node))
    done = complete(items, Work(path, dict, task, probe_id, size, f"verdicts of {name}"), LocalExecutor())
    rows = {row["id"]: row for row in done.records}
    verdicts: dict[str, Verdict | Failure] = {name: from_json(Verdict, row["verdict"]) for name, row in rows.items()}
    return Judged(verdicts | done.failures, {name: row["seconds"] for name, row in rows.items()})


def key_of(node: Mapping[str, Any]) -> str:
    """12 hex digits that name all that decides a judge's verdicts: its node but for what cannot change an answer, files, and code."""
    decides = copy.deepcopy(with_contents(node))
    for _, inner in targets_in(decides):
        for argument in declared(inner["_target_"], "not_in_key"):
            inner.pop(argument, None)  # type: ignore[attr-defined]
    return hashlib.sha256(canonical({"judge": decides, "code": class_hash(node)}).encode()).hexdigest()[:12]


def probe_id(prompt: Prompt) -> str:
    """The id of a probe."""
    return prompt.id


def timed_critique(judge: Judge, prompts: Sequence[Prompt]) -> list[dict[str, Any] | Failure]:
    """The judge's verdicts, each with its share of the seconds of the call."""
    start = time.perf_counter()
    verdicts = judge.critique(prompts)
    seconds = (time.perf_counter() - start) / len(prompts)
    return [
        one if isinstance(one, Failure) else {"id": prompt.id, "verdict": to_json(one), "seconds": seconds}
        for prompt, one in zip(prompts, verdicts, strict=True)
    ]


def report(
    found: Mapping[str, Judged],
    made: Sequence[tuple[str, Prompt]],
    judges: Mapping[str, Mapping[str, Any]],
    spec: Mapping[str, Any],
) -> str:
    """The page: how often each judge is right, what a verdict takes, how far the judges agree."""
    kind_of = {prompt.id: kind for kind, prompt in made}
    lines = [
        *HEAD.splitlines(),
        "",
        f"Pairs: {', '.join(spec['sources'])}, the half '{spec['half']}' of the queries, seed {spec['seed']}. Made on "
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}.",
        "",
        "| judge | pairs | unread | true: accepted | swapped: rejected | changed: rejected | kappa |",
        "|---|---:|---:|---|---|---|---:|",
    ]
    for name, judged in found.items():
        rights = {kind: rights_of(judged, kind_of, kind) for kind in KINDS}
        unread = sum(one is None for row in rights.values() for one in row)
        total = sum(map(len, rights.values()))
        cells = [
            name,
            str(judges[name]["pairs"]),
            f"{unread} of {total}",
            *(share_cell(rights[kind]) for kind in KINDS),
        ]
        lines.append("| " + " | ".join([*cells, number(truth_kappa(judged, kind_of))]) + " |")
    lines += [
        "",
        "| judge | seconds a verdict | tokens read | written | cost a verdict | version |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, judged in found.items():
        given = [one for one in judged.verdicts.values() if isinstance(one, Verdict)]
        usages = [one.usage for one in given if one.usage is not None]
        costs = [one.cost for one in usages if one.cost is not None]
        cells = [
            name, number(mean(list(judged.seconds.values())), 4), number(mean([one.tokens_in for one in usages]), 0),
            number(mean([one.tokens_out for one in usages]), 0),
            number(mean(costs), 6) if costs else "no price is set" if usages else "0", given[0].judge if given else "",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *reason_lines(found), *agreement_lines(found), ""]
    return "\n".join(lines)


def rights_of(judged: Judged, kind_of: Mapping[str, str], kind: str) -> list[bool | None]:
    """Whether the judge is right on each probe of a kind; None where its answer could not be read."""
    said = [accurate_of(one) for name, one in judged.verdicts.items() if kind_of[name] == kind]
    return [None if one is None else one == (kind == "true") for one in said]


def accurate_of(verdict: Verdict | Failure) -> bool | None:
    """What a verdict says of accuracy."""
    return verdict.accurate if isinstance(verdict, Verdict) else None


def truth_kappa(judged: Judged, kind_of: Mapping[str, str]) -> float | None:
    """Cohen's kappa of the judge with the truth, over true and changed texts."""
    rows = [
        (accurate_of(one), kind_of[name] == "true")
        for name, one in judged.verdicts.items()
        if kind_of[name] != "swapped"
    ]
    return cohen_kappa([one for one, _ in rows], [truth for _, truth in rows])


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927), which holds at 0 and 1."""
    share, z = successes / n, Z95 * Z95 / n
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(share * (1 - share) * z + z * z / 4) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def share_cell(rights: Sequence[bool | None]) -> str:
    """ "91.0 % [85.1, 94.7] of 140", over the answers that could be read."""
    read = [one for one in rights if one is not None]
    if not read:
        return "none read"
    low, high = wilson(sum(read), len(read))
    return f"{100 * sum(read) / len(read):.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {len(read)}"


def reason_lines(found: Mapping[str, Judged]) -> list[str]:
    """Why answers were not read, the most frequent reasons of each judge."""
    lines = []
    for name, judged in found.items():
        counts: dict[str, int] = {}
        for one in judged.verdicts.values():
            if isinstance(one, Failure):
                why = one.kind
            elif one.accurate is None:
                why = next((reason.detail for reason in one.reasons if reason.aspect == "accurate"), "no answer")
            else:
                continue
            why = "its fence holds something else" if why.startswith("its fence holds '") else why
            counts[why] = counts.get(why, 0) + 1
        if counts:
            shown = "; ".join(f"{why}: {count}" for why, count in sorted(counts.items(), key=lambda one: -one[1])[:4])
            lines += [f"Unread of {name}: {shown}.", ""]
    return lines


def agreement_lines(found: Mapping[str, Judged]) -> list[str]:
    """How far every two judges agree, by principle, on the probes that both have read."""
    ids = [name for name in next(iter(found.values())).verdicts if all(name in one.verdicts for one in found.values())]
    pairs = agreement({one: {name: judged.verdicts[one] for name, judged in found.items()} for one in ids})["pairs"]
    rows = [
        f"| {' and '.join(one['judges'])} | {one['principle']} | {one['n']} | "
        f"{number(one['agree'])} | {number(one['kappa'])} |"
        for one in pairs
    ]
    return (
        ["| judges | principle | probes read by both | same answer | kappa |", "|---|---|---:|---:|---:|", *rows]
        if rows
        else []
    )


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
