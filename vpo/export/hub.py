"""What pushing to and pulling from the Hugging Face Hub share.

The client finds the token itself (HF_TOKEN, or `hf auth login`); nothing here reads, stores or prints it. Only the files that a model
consists of are transferred, in either direction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch

from vpo.errors import UserError
from vpo.export.weights import MODEL_FILES

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
FILES = (*MODEL_FILES, "README.md", "LICENSE*", "NOTICE*")


def is_model_file(name: str) -> bool:
    """Whether a file of this name is uploaded and downloaded: one of FILES, at the top of the repository."""
    """Whether a file of a repository is one that a model consists of."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in FILES)


def check_online(verb: str) -> None:
    """Raise UserError where the environment forbids the client to use the network."""
    """Raise UserError where the client is told to stay offline."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{verb}: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids the network; unset it")


@contextmanager
def hub_errors(verb: str, repo: str, revision: str | None = None) -> Iterator[None]:
    """The Hub client's errors, which are many and long, as one line with the cure."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        hidden = isinstance(error, errors.LocalEntryNotFoundError | RuntimeError)  # wrapped around what happened
        line = _describe(error.__cause__ or error if hidden else error, repo, revision)
        if line is None:
            raise
        raise UserError(f"{verb}: {line}") from error


def _describe(error: BaseException, repo: str, revision: str | None) -> str | None:
    """What an error of the client means to a user; None for one that is not the Hub's."""
    from huggingface_hub import constants, errors

    match error:
        case errors.HFValidationError():
            return f"{repo!r} is no name of a repository; write <owner>/<name>"
        case errors.GatedRepoError():
            return f"{repo} is gated; ask for access at {constants.ENDPOINT}/{repo}, then log in with that account"
        case errors.RepositoryNotFoundError():
            return f"no repository {repo} that you can see; check the name, and your login (`hf auth whoami`) if it is private"
        case errors.RevisionNotFoundError():
            return f"{repo} has no revision {revision}; leave revision= out for the newest"
        case errors.HfHubHTTPError():
            return f"{repo}: {_describe_status(error.response.status_code)}"
        case errors.HTTPError() | ConnectionError() | TimeoutError():  # of the HTTP library below the client
            return f"cannot reach {constants.ENDPOINT} ({type(error).__name__}); check the network, or HF_ENDPOINT"
        case ValueError() | RuntimeError():  # a card that the Hub refuses, a transfer that broke off
            return f"{repo}: {' '.join(str(error).split())[:200]}; the same command goes on from there"
    return None


def _describe_status(status: int) -> str:
    if status == 401:
        return "the Hub does not know your token (401); `hf auth login` again, or correct HF_TOKEN"
    if status == 403:
        return "your token may not do this there (403); use one with write access to that owner"
    return f"the Hub answered {status}; start again later, what came through is kept"
