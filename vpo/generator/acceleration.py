"""What makes a pipeline faster and changes its clips: caches of diffusers, torch.compile, attention backends."""

import dataclasses
from typing import Any

from vpo.errors import UserError
from vpo.generator.loading import denoisers, quiet
from vpo.generator.options import Acceleration
from vpo.language.checkpoints.wording import in_short


def accelerate(pipeline: Any, wanted: Acceleration) -> None:
    """Turn on what the settings name; nothing is touched where all of it is off.

    Raises:
        UserError: The model has no such cache, or the backend cannot run here.
    """
    for name, model in denoisers(pipeline).items():
        if wanted.attention is not None:
            _set_attention(model, wanted.attention)
        if wanted.cache is not None:
            _set_cache(pipeline, name, model, wanted)
        if wanted.compile:
            try:
                model.compile(**wanted.compile_arguments)
            except TypeError as error:
                raise UserError(f"config: generator.acceleration.compile_arguments: {in_short(error)}") from error


def forget(pipeline: Any) -> None:
    """Empty the caches of a call that did not come to its end; diffusers empties those of one that did."""
    for model in denoisers(pipeline).values():
        if hasattr(model, "_reset_stateful_cache"):
            model._reset_stateful_cache()


def _set_attention(model: Any, backend: str) -> None:
    key, only = f"config: generator.acceleration.attention={backend}", f"{type(model).__name__} has one backend only"
    if not hasattr(model, "set_attention_backend"):
        raise UserError(f"{key}: {only}; set it to null")
    try:
        with quiet():
            model.set_attention_backend(backend)
    except Exception as error:  # an unknown name, a package that is not installed, a GPU that is not there
        raise UserError(f"{key}: {in_short(error)}") from error
    processors = [one.processor for one in model.modules() if hasattr(one, "processor")]
    if not any(getattr(one, "_attention_backend", None) is not None for one in processors):
        raise UserError(f"{key}: {only}; set it to null")  # diffusers says nothing


def _set_cache(pipeline: Any, name: str, model: Any, wanted: Acceleration) -> None:
    import diffusers

    key, kind = f"generator.acceleration.cache={wanted.cache}", getattr(diffusers, str(wanted.cache))
    if not hasattr(model, "enable_cache"):
        raise UserError(f"config: {key}: {type(model).__name__} has no caches; set it to null")
    known = [one.name for one in dataclasses.fields(kind)]
    for argument in wanted.cache_arguments:
        if argument not in known:
            raise UserError(
                f"config: generator.acceleration.cache_arguments.{argument}: {wanted.cache} takes {', '.join(known)}"
            )
    given = {one: tuple(value) if isinstance(value, list) else value for one, value in wanted.cache_arguments.items()}
    if "current_timestep_callback" in known:
        given["current_timestep_callback"] = lambda: pipeline.current_timestep
    try:
        model.enable_cache(kind(**given))
    except Exception as error:  # a model whose blocks the cache does not know
        raise UserError(
            f"config: {key}: {type(model).__name__} does not take it ({in_short(error)}); set it to null"
        ) from error
    if not any(
        registry.hooks for one in model.modules() if (registry := getattr(one, "_diffusers_hook", None)) is not None
    ):
        raise UserError(  # diffusers says nothing
            f"config: {key}: none of the layers of {type(model).__name__} has a name that it looks for; name them in "
            f"generator.acceleration.cache_arguments ({', '.join(one for one in known if 'identifiers' in one) or 'none'}), or set it "
            "to null"
        )
    _check_contexts(pipeline, key)


def _check_contexts(pipeline: Any, key: str) -> None:
    """Caches that keep a state for each pass of a step need a pipeline that says which pass it is."""
    import inspect

    if "cache_context" not in inspect.getsource(type(pipeline).__call__) and "PyramidAttention" not in key:
        raise UserError(f"config: {key}: {type(pipeline).__name__} has no place for it; set it to null")
