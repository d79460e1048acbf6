"""No config holds a secret: it would stand in manifests, run folders and mirrors, and be shared with them."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.errors import UserError
from vpo.storage.redact import is_secret_key, redact_text, secrets_in


def check_secrets(config: Mapping[str, Any]) -> None:
    """Raise UserError for the first secret of a composed config, a user's own class included. Its value is not shown."""
    for path, variable in secrets_in(config):
        _refuse(path, variable)


def check_override_secrets(overrides: Sequence[str]) -> None:
    """The same for overrides as they were typed, before anything reads them: what reads them shows them in its errors."""
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.lstrip("+~")
        if not equals or value in ("", "null", "''", '""', "???", "true", "false"):
            continue
        if is_secret_key(key) and redact_text(override) != override:
            _refuse(key, None)
        for _, variable in secrets_in([value]):
            _refuse(key, variable)


def _refuse(path: str, variable: str | None) -> None:
    if variable:
        raise UserError(
            f"config: {path} holds the value of the environment's {variable}; what needs it reads it there, so leave it out"
        )
    name = next((part for part in reversed(path.split(".")) if is_secret_key(part)), None)
    if name is None:
        raise UserError(
            f"config: {path} holds a secret in its text (a password, a key or a token); secrets come from the environment only: "
            "leave it out and export it, as HF_TOKEN, WANDB_API_KEY or the variable that the node's api_key_env names"
        )
    raise UserError(
        f"config: {path} holds a secret; secrets come from the environment only: leave it out and export it, as HF_TOKEN, "
        f"WANDB_API_KEY or the variable that a field such as {_field(name)} names"
    )


def _field(name: str) -> str:
    return f"{name}_env" if name.isidentifier() and name.islower() else "api_key_env"
