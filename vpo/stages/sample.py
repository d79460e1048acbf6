"""Stage `sample`: K candidates a query from the policy (VPO paper 3.3; K = 4, T = 0.9, top_p 0.9)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vpo.interfaces import LanguageModel
from vpo.records import Prompt, Query
from vpo.seeding import seed_of
from vpo.stages.bench import Bench, Node
from vpo.store import Entry


def sample(
    bench: Bench, sampling: Node, backbone: Node, queries: Entry, policy: Entry, seed: int, label: str = ""
) -> Entry:
    """Write `prompts.jsonl`, K candidates a DPO query, each drawn with its own seed."""

    def work(folder: Path) -> dict[str, int]:
        items = [(query, k) for query in queries.rows("dpo.jsonl", Query) for k in range(sampling["k"])]
        model = bench.build(backbone).load(policy.folder / "policy")
        draw = partial(_draw, model=model, sampling=sampling, seed=seed)
        prompts = bench.complete(
            items, draw, folder / "prompts.jsonl", kind=Prompt, label="candidates", batch_size=sampling["batch_size"]
        )
        distinct = len({(one.query_id, one.text) for one in prompts})
        return {"candidates": len(prompts), "distinct": distinct, "empty": sum(not one.text for one in prompts)}

    node = {"sampling": sampling, "backbone": backbone, "seed": seed}
    return bench.stage("sample", node, {"queries": queries, "policy": policy}, work, label)


def _draw(items: Sequence[tuple[Query, int]], *, model: LanguageModel, sampling: Node, seed: int) -> list[Prompt]:
    texts = model.sample(
        [query.text for query, _ in items],
        [seed_of("candidate", seed, query.id, k) for query, k in items],
        temperature=sampling["temperature"],
        top_p=sampling["top_p"],
        max_new_tokens=sampling["max_new_tokens"],
    )
    return [
        Prompt(f"{query.id}-{k}", query.id, query.text, text, "candidate", k)
        for (query, k), text in zip(items, texts, strict=True)
    ]
