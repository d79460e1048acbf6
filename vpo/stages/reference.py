"""Stage `reference`: log-probabilities of the pairs under the reference policy, once per (policy, pairs).

Every objective, seed and sweep job that needs them shares the result.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vpo.records import Pair
from vpo.stages.bench import Bench, Node
from vpo.store import Entry


def reference(
    bench: Bench,
    backbone: Node,
    policy: Entry,
    pairs: Entry,
    *,
    max_length: int,
    batch_size: int,
    packing: bool,
    bits: int | None,
    dtype: str = "float32",
    label: str = "",
) -> Entry:
    """Write `reference.jsonl`: query_id, chosen, rejected (summed log-probabilities).

    `bits` and `dtype` are how the training quantises and reads the weights that it starts from: the reference must see the
    same ones. A backbone that samples in 16 bits is read in 32 here unless the training reads it in 16.
    """
    if "dtype" in backbone or dtype != "float32":
        backbone = {**backbone, "dtype": dtype}

    def work(folder: Path) -> dict[str, int]:
        from vpo.language.limits import readable_length
        from vpo.training.data import pair_rows
        from vpo.training.forward import Reader

        model = bench.build(backbone).load(policy.folder / "policy", bits)
        longest = readable_length(max_length, model.model.config)
        rows, _ = pair_rows(pairs.rows("pairs.jsonl", Pair), model.renderer, longest)
        reader = Reader.of(model.model, packing=packing, longest=longest)
        read = partial(_read, reader=reader, pad_id=model.renderer.pad_id)
        known = bench.complete(
            rows,
            read,
            folder / "reference.jsonl",
            kind=dict,
            label="reference log-probabilities",
            batch_size=batch_size,
        )
        return {"pairs": len(known)}

    node = {"backbone": backbone, "max_length": max_length, "batch_size": batch_size, "packing": packing, "bits": bits}
    return bench.stage("reference", node, {"policy": policy, "pairs": pairs}, work, label)


def _read(rows: Sequence[Any], *, reader: Any, pad_id: int) -> list[dict[str, Any]]:
    from vpo.training.reference import reference_logprobs

    sums = reference_logprobs(reader, rows, pad_id)
    return [{"query_id": row.query_id, "chosen": c, "rejected": r} for row, (c, r) in zip(rows, sums, strict=True)]
