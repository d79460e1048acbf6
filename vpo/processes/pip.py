"""What pip is started with, and what it says when it fails."""

import os
import re

from vpo.processes.environment import without_foreign_variables

_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|NameResolutionError|getaddrinfo|Temporary failure in name resolution|ProxyError"
    r"|ReadTimeoutError|Network is unreachable|Connection (?:refused|aborted|broken|reset)|SSLError",
    re.IGNORECASE,
)


def pip_environment() -> dict[str, str]:
    """The environment of pip: the user's index settings hold, other programs' variables and files of the working folder do not."""
    environment = without_foreign_variables(os.environ) | {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONSAFEPATH": "1",  # a file of the user's folder called pip.py must not replace the client
        "PYTHONUTF8": "1",
    }
    environment.setdefault("PIP_RESUME_RETRIES", "5")  # known from pip 25.1 on; older ones begin again
    return environment


def unreachable(text: str) -> bool:
    """Whether what pip said, or its log, means that no index could be reached."""
    return _UNREACHABLE.search(text) is not None


def reason_of(errors: str) -> str:
    """The last error in what pip said, as one line."""
    lines = [line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR: ")]
    return (lines or errors.strip().split("\n"))[-1].strip()[:200] or "pip gave no reason"
