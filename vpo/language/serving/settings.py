"""Settings of a server that cannot work, found before anything is sent; whichever role asks it."""

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from vpo.errors import UserError
from vpo.storage.redact import HIDDEN, redact_text


def check_address(role: str, base_url: str, calls: Sequence[str]) -> None:
    """Raise UserError for what is no address of an API, or holds a secret.

    Args:
        role: the config's node that holds the settings.
        base_url: of the API.
        calls: what the addresses of its calls end in, the longest first.
    """
    try:
        parts = urlsplit(base_url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_fits = urlsplit(""), False
    if parts.username is not None or parts.password is not None or HIDDEN in redact_text(base_url):
        raise UserError(
            f"{role}.base_url holds a name, a password or a token; leave it out, and give a key by {role}.api_key_env"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or parts.query or parts.fragment:
        raise UserError(
            f"{role}.base_url={redact_text(base_url)} is no address of an API; give one as http://localhost:8000/v1"
        )
    root = base_url.rstrip("/")
    for call in calls:
        if root.endswith(call):
            raise UserError(
                f"{role}.base_url={base_url} is the address of one call; give that of the API: {role}.base_url="
                f"{root.removesuffix(call)}"
            )


def check_key(role: str, variable: str | None) -> None:
    """Raise UserError where the environment's variable that is to hold the key is none, or is not there."""
    if variable is None:
        return
    if not (variable.isidentifier() and len(variable) <= 100 and redact_text(variable) == variable):
        raise UserError(f"{role}.api_key_env is the name of the environment's variable that holds the key, as OPENAI_API_KEY, not the "
                        "key itself")  # fmt: skip
    if not os.environ.get(variable, "").strip():
        raise UserError(f"{role}.api_key_env={variable}: the environment has no such variable; export {variable}=<your key>, or set "
                        f"{role}.api_key_env=null for a server without a key")  # fmt: skip
