"""The stages of the method, one file each; `vpo.pipeline` tells them in order.

A stage takes the bench, its config nodes and its inputs, and returns the store entry of its result. It hashes into its key
exactly the nodes and inputs it takes.
"""

from vpo.stages.critique import critique
from vpo.stages.dpo import dpo
from vpo.stages.draft import draft
from vpo.stages.evaluate import evaluate
from vpo.stages.grpo import check_grpo, grpo
from vpo.stages.optimize import optimize
from vpo.stages.pair import pair
from vpo.stages.queries import queries
from vpo.stages.reference import reference
from vpo.stages.refine import refine
from vpo.stages.render import render
from vpo.stages.sample import sample
from vpo.stages.score import score
from vpo.stages.sft import chosen_texts, refined_drafts, same_examples, sft
from vpo.stages.start import check_prompts, check_training, start

__all__ = [
    "check_grpo",
    "check_prompts",
    "check_training",
    "chosen_texts",
    "critique",
    "dpo",
    "draft",
    "evaluate",
    "grpo",
    "optimize",
    "pair",
    "queries",
    "reference",
    "refine",
    "refined_drafts",
    "render",
    "same_examples",
    "sample",
    "score",
    "sft",
    "start",
]
