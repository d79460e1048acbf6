"""Which methods an evaluator compares with one another."""

from collections.abc import Mapping
from typing import Any

from vpo.build import cards_of
from vpo.errors import UserError
from vpo.storage.store import Entry
from vpo.targets import EXTERNAL_QUERIES


def rivals_of(
    name: str, node: Mapping[str, Any], parts: Mapping[str, Mapping[str, Entry]], *, clips: bool
) -> dict[str, Entry] | None:
    """What the methods made with which an evaluator compares this one, as `Evaluate.rivals`; None where it is compared with none."""
    others = [one for one in (parts if node.get("against") is None else node["against"]) if one != name]
    kinds = ("prompts", "clips") if clips else ("prompts",)
    return {f"{one}.{kind}": parts[one][kind] for one in others for kind in kinds} or None


def check_rivals(cfg: Mapping[str, Any]) -> None:
    """Raise UserError where an evaluator compares methods with one that this config does not have, or with none."""
    for evaluator, card in cards_of(cfg["evaluator"]).items():
        if "rivals" not in card.needs:
            continue
        against = cfg["evaluator"][evaluator].get("against")
        unknown = [one for one in against or () if one not in cfg["method"]]
        if unknown:
            raise UserError(
                f"evaluator.{evaluator}.against names {unknown[0]!r}, which is no method of this run; choose from "
                f"{', '.join(cfg['method'])}, or add it to method=[...]"
            )
        if len({*cfg["method"], *(against or ())}) < 2 or against == []:
            two = "choose two or more, as in method=[original,sft]"
            # `vpo evaluate` takes its methods by other words.
            if cfg["dataset"].get("_target_") == EXTERNAL_QUERIES:
                two = "give two or more by clips.<name>=<folder> or prompts.<name>=<file>"
            raise UserError(
                f"evaluator.{evaluator} compares methods with one another, and there is none to compare with; {two}, and "
                f"evaluator.{evaluator}.against=null for all of them"
            )
