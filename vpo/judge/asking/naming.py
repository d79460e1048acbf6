"""How verdicts name the language model that gave them."""

from vpo.interfaces import Engine


def model_of(engine: Engine) -> str:
    """The name of an engine's language model, which engines of ours have as `model_name`."""
    return str(getattr(engine, "model_name", type(engine).__name__))
