"""Prompt optimization for text-to-video models: train a language model to rewrite queries into prompts, and measure it.

Importing this package imports no torch; public names are loaded when they are first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Composed": "vpo.checking.composed",
    "PromptOptimizer": "vpo.optimize.optimizer",
    "Store": "vpo.storage.store",
    "UserError": "vpo.errors",
    "compose": "vpo.checking.composing",
    "run": "vpo.runs",
}
__all__ = ["Composed", "PromptOptimizer", "Store", "UserError", "__version__", "compose", "run"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'vpo' has no attribute {name!r}")
