"""Stage `optimize`: the test queries under one method."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vpo.interfaces import Method
from vpo.records import Prompt, Query
from vpo.stages.bench import Bench, Node
from vpo.store import Entry

# What a method's node says besides the arguments of its class.
BESIDES = ("policy", "batch_size", "label")


def arguments_of(method: Node) -> dict[str, Any]:
    """The part of a method's node that builds it."""
    return {key: value for key, value in method.items() if key not in BESIDES}


def prompts_of(queries: Sequence[Query], *, method: Method, name: str, seed: int) -> list[Prompt]:
    """One prompt a query, by the method."""
    texts = method.optimize(queries, seed)
    return [
        Prompt(f"{query.id}-{name}", query.id, query.text, text, name)
        for query, text in zip(queries, texts, strict=True)
    ]


def optimize(
    bench: Bench, name: str, method: Node, queries: Entry, seed: int, *, backbone: Node, policy: Entry | None
) -> Entry:
    """Write `prompts.jsonl`. A method that samples from a trained policy names it (`policy: sft`) and gets it loaded."""
    own = arguments_of(method)
    batch_size = method.get("batch_size")

    def work(folder: Path) -> dict[str, int]:
        if policy is None:
            built = bench.build(own)
        else:
            built = bench.build(own, language_model=bench.build(backbone).load(policy.folder / "policy"))
        write = partial(prompts_of, method=built, name=name, seed=seed)
        items = queries.rows("test.jsonl", Query)
        prompts = bench.complete(
            items, write, folder / "prompts.jsonl", kind=Prompt, label=f"prompts by {name}", batch_size=batch_size
        )
        return {"prompts": len(prompts)}

    node = {"method": own, "batch_size": batch_size, "name": name, "seed": seed} | (
        {"backbone": backbone} if policy is not None else {}
    )
    return bench.stage(
        "optimize", node, {"queries": queries} | ({"policy": policy} if policy is not None else {}), work, name
    )
