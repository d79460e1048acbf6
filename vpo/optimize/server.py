"""An OpenAI-compatible server as the language model that rewrites."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from platformdirs import user_cache_path

from vpo.checking.arguments import arguments_model
from vpo.checking.problems import check_node
from vpo.errors import UserError
from vpo.interfaces import Engine
from vpo.optimize.choices import setting_names

TARGET = "vpo.language.server.ServerEngine"
_LISTING = 30.0  # seconds in which a server must say what it serves


def is_server(source: str) -> bool:
    """Whether a source is the address of an API."""
    return re.match(r"https?://", source, re.I) is not None


def open_engine(address: str, settings: Mapping[str, Any]) -> Engine:
    """The engine of a server.

    Args:
        address: of the API, such as http://localhost:8000/v1.
        settings: by the names of `setting_names()`. Without `model` the server's only one; without `cache` answers are kept in the
            user's cache folder.

    Raises:
        UserError: a setting is wrong, or no server answers, or it serves several models.
    """
    known = setting_names()
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UserError(f"engine.{unknown[0]} is unknown; a server has {', '.join(f'engine.{name}' for name in known)}")
    node = {"base_url": address, "cache": str(user_cache_path("vpo", appauthor=False) / "answers"), **settings}
    try:
        return _engine(node if "model" in node else node | {"model": _only_model(node)})
    except UserError as error:
        raise UserError(in_own_words(str(error))) from error


def in_own_words(message: str) -> str:
    """A message of the engine's; what it calls engine.base_url is model= here."""
    return message.removeprefix("config: ").replace("engine.base_url", "model")


def _engine(node: Mapping[str, Any]) -> Any:
    model = arguments_model(TARGET, ("engine",))
    check_node(model, {"_target_": TARGET, **node}, ("engine",))
    from vpo.language.server import ServerEngine

    return ServerEngine(**node)


def _only_model(node: Mapping[str, Any]) -> str:
    """The name of the only model that the server has."""
    probe = _engine({**node, "model": "none", "cache": None})  # which checks the address and the key
    probe.close()
    served = asyncio.run(_served(probe.endpoint))
    if len(served) != 1:
        shown = ", ".join(served[:10]) or "no model"
        raise UserError(f"{probe.endpoint.base_url} serves {shown}; name one: engine.model=<name>")
    return served[0]


async def _served(endpoint: Any) -> list[str]:
    """The names of the served models. Raises UserError with what the engine would say of the same trouble."""
    import openai

    from vpo.language.serving.calls import CHAT, Call

    call = Call(CHAT, {"model": "any"}, {}, None, 0, 0)
    limit = min(_LISTING, endpoint.timeout)
    api = openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.key or "none",
        max_retries=0,
        timeout=openai.Timeout(limit, connect=10.0),
    )
    try:
        async with asyncio.timeout(limit):
            return [str(one.id) for one in (await api.models.list()).data]
    except (TimeoutError, openai.APITimeoutError):
        raise UserError(
            f"{endpoint.base_url} does not answer within {limit:g} seconds: the server hangs; restart it, or raise engine.timeout"
        ) from None
    except openai.APIStatusError as error:
        problem = endpoint.of_status(error.status_code, error.response.headers, error.body, call)
        cure = "; start again later" if problem.again else ""
        if error.status_code in (404, 405):
            raise UserError(
                f"{endpoint.base_url}: no list of models is at this path; model= mostly ends in /v1, or name one: engine.model=<name>"
            ) from error
        raise UserError(f"{problem.detail}{cure}") from error
    except openai.APIConnectionError as error:
        raise UserError(endpoint.of_connection(error).detail) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{endpoint.base_url} is no OpenAI-compatible server: its list of models cannot be read; correct model=, which mostly "
            "ends in /v1"
        ) from error
    finally:
        await api.close()
