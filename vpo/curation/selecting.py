"""The order of the rules: what looks at one query passes over the stream, what compares queries works on the pool that is left."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vpo.curation import rules
from vpo.curation.dealing import deal
from vpo.curation.language import language_reason
from vpo.curation.near import near_duplicates
from vpo.curation.report import Report
from vpo.curation.safety import is_labelled, judged_reason, toxicity, unread_reason
from vpo.curation.screening import Pool, Reason, Seen, Step, count_lengths, screen
from vpo.curation.self_bleu import too_similar
from vpo.records import Failure, Query, Verdict

Node = Mapping[str, Any]
# By their names in the config, in their order; each takes a text and what the config says.
RULES: dict[str, Callable[..., str | None]] = {
    "length": rules.length_reason,
    "characters": rules.characters_reason,
    "keywords": rules.keyword_reason,
    "language": language_reason,
}


def rules_of(node: Node, held_out: Iterable[str] = ()) -> dict[str, Reason]:
    """The rules that a config asks for, by name, and the one against exact duplicates, of `held_out` texts, too."""
    found: dict[str, Reason] = {}
    for name, rule in RULES.items():
        given = node[name]
        if given is not None:
            found[name] = partial(rule, **(given if isinstance(given, Mapping) else {name: tuple(given)}))
    return found | {"exact duplicates": Seen(held_out)}


@dataclass(frozen=True)
class Pools:
    """What passed the rules that look at one query: with labels of harm (`labelled`), and without (`general`)."""

    general: list[Query]
    labelled: list[Query]


def screened(queries: Iterable[Query], node: Node, held_out: Iterable[str], report: Report) -> Pools:
    """The queries that pass the rules, or an even draw of them. Only these are kept in memory.

    Args:
        queries: read once, as they come.
        node: `curation` of the config.
        held_out: texts that no query may repeat.
        report: where all of it is counted.
    """
    asked = rules_of(node, held_out)
    steps = {name: report.step(name) for name in asked}
    drawn, safety = report.step("pool"), node["safety"]
    general, labelled = (Pool(node["pool"][name], report.seed, drawn) for name in ("general", "safety"))
    read = report.lengths["read"] = Counter()
    for query in screen(count_lengths(queries, read), asked, steps):
        unsafe = is_labelled(query, safety["columns"], safety["threshold"])
        (labelled if unsafe else general).add(query)
        if report.labelled is not None or toxicity(query.meta, safety["columns"]) is not None:
            report.labelled = (report.labelled or 0) + unsafe
    if safety["share"] and report.labelled is None:
        report.notes.append(f"No query has labels ({', '.join(safety['columns'])}), so there are no safety queries.")
    return Pools(general.queries, labelled.queries)


def compared(pools: Pools, node: Node, held_out: Sequence[str], report: Report) -> Pools:
    """The pools without near duplicates, of `held_out` texts too, and without queries that repeat the others much."""
    left = [*pools.labelled, *pools.general]  # where one of two goes, the rarer kind stays
    if node["near"] is not None:
        texts = [*held_out, *(query.text for query in left)]
        found = near_duplicates(texts, **node["near"])
        names = [f"the held-out query {text[:60]!r}" for text in held_out]
        names += [f"{query.id}: {query.text[:60]!r}" for query in left]
        near = {place - len(held_out): f"near {names[kept]}" for place, kept in found.items()}
        left = _without(left, near, report.step("near"))
    if node["diversity"] is not None:
        most = node["diversity"]["most"]
        scores = too_similar([query.text for query in left], **node["diversity"])
        similar = {place: f"self-BLEU {score:.3f}, above {most}" for place, score in scores.items()}
        left = _without(left, similar, report.step("diversity"))
    kept = {query.id for query in left}
    return Pools(*([one for one in pool if one.id in kept] for pool in (pools.general, pools.labelled)))


def confirmed(labelled: Sequence[Query], verdicts: Mapping[str, Verdict | Failure], report: Report) -> list[Query]:
    """The labelled queries that the judge finds unsafe, too.

    Those that it finds harmless are dropped: label and judge are at odds. Those on which it failed, or whose verdict was not read,
    are counted as failed.

    Args:
        labelled: what was judged.
        verdicts: by query id, one of each.
        report: where it is counted.
    """
    step = report.step("safety")
    step.before = len(labelled)
    unsafe = []
    for query in labelled:
        verdict = verdicts[query.id]
        if (unread := unread_reason(verdict)) is not None:
            step.fail(query, unread)
        elif (harmless := judged_reason(verdict)) is not None:
            step.drop(query, harmless)
        else:
            unsafe.append(query)
    if step.failed:
        report.notes.append(
            f"The judge gave no verdict on {step.failed:,} of {step.before:,} labelled queries; they are in no split. "
            "retry_failed=true asks again about those on which it failed."
        )
    return unsafe


def dealt(pools: Pools, node: Node, splits: Sequence[str], report: Report) -> dict[str, list[Query]]:
    """The queries of these splits, each with its share of safety queries (`pools.labelled`)."""
    sizes = {name: node["split"][name] for name in splits}
    share = node["safety"]["share"]
    found = deal(pools.general, pools.labelled, sizes, share=share, seed=report.seed)
    safety = {query.id for query in pools.labelled}
    step = report.step("split")
    step.before = len(pools.general) + len(pools.labelled)
    step.dropped = step.before - sum(map(len, found.values()))
    report.lengths["kept"] = Counter()
    for name, queries in found.items():
        unsafe = sum(query.id in safety for query in queries)
        report.splits[name] = {"general": len(queries) - unsafe, "safety": unsafe}
        for _ in count_lengths(queries, report.lengths["kept"]):
            pass
    dealt_safety = sum(parts["safety"] for parts in report.splits.values())
    total = sum(map(len, found.values()))
    if report.labelled is not None and dealt_safety < int(share * total):
        report.notes.append(
            f"Only {dealt_safety:,} safety queries are left for {total:,} queries, below their share of {share:.0%}; "
            f"{report.labelled:,} queries were labelled."
        )
    return found


def _without(queries: Sequence[Query], reasons: Mapping[int, str], step: Step) -> list[Query]:
    """The queries at the places that no reason names; a place below 0 is of no query."""
    step.before = len(queries)
    for place, reason in reasons.items():
        if place >= 0:
            step.drop(queries[place], reason)
    return [query for place, query in enumerate(queries) if place not in reasons]
