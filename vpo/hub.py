"""`vpo push` and `vpo pull`: models to and from the Hugging Face Hub, by its own client.

The token is the client's business (HF_TOKEN, or `hf auth login`); nothing here reads, stores or prints it. What is pushed
is private unless public=true says otherwise, and only files that a model consists of travel, in either direction.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from vpo.arguments import Parser, as_path
from vpo.errors import UserError
from vpo.export import as_backbone, new_folder
from vpo.export_weights import MODEL_FILES
from vpo.housekeeping import readable

PUSH = "vpo push <folder> <owner>/<name> [public=true]"
PULL = "vpo pull <owner>/<name> [revision=main] [to=folder] [force=true]"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
FILES = (*MODEL_FILES, "README.md", "LICENSE*", "NOTICE*")


def push_command(arguments: list[str]) -> int:
    """Upload a model folder as one commit. Returns the exit code."""
    parser = Parser("push", usage=PUSH, description="upload a model to the Hugging Face Hub, as one commit")
    parser.add_argument("folder", metavar="<folder>", help="a model, as `vpo export` writes it", type=as_path)
    parser.add_argument("repo", metavar="<owner>/<name>", help="the repository, which is made if it is not there")
    parser.flag("public", "for all to see; else it is private")
    told = parser.parse(arguments)
    folder, repo, public = told.folder, told.repo, told.public
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(f"push: {folder} holds no model (config.json and *.safetensors); `vpo export` makes one")
    files = sorted(file for file in folder.iterdir() if file.is_file() and _travels(file.name))
    with _plainly("push", repo):
        from huggingface_hub import HfApi, get_token

        _check_online("push")
        if get_token() is None:
            raise UserError("push: not logged in to the Hub; `hf auth login` once, or set HF_TOKEN")
        api = HfApi()
        api.create_repo(repo, private=not public, exist_ok=True)
        private = api.model_info(repo).private
        if not private and not public:
            raise UserError(
                f"push: {repo} is there already and is public; add public=true if that is meant, or choose another name"
            )
        commit = api.upload_folder(
            folder_path=folder,
            repo_id=repo,
            allow_patterns=[file.name for file in files],
            delete_patterns=list(WEIGHTS),  # a stale shard or index would be loaded in place of the new weights
            commit_message="Model exported by vpo",
        )
    size, names = readable(sum(file.stat().st_size for file in files)), ", ".join(file.name for file in files)
    seen = "private" if private else "public"
    sys.stdout.write(f"{api.endpoint}/{repo}: {size}, {seen}, commit {commit.oid}\n  {names}\n")
    return 0


def pull_command(arguments: list[str]) -> int:
    """Download a model's files at one commit into a folder of their own. Returns the exit code."""
    parser = Parser("pull", usage=PULL, description="download a model from the Hugging Face Hub, for a run's backbone")
    parser.add_argument("repo", metavar="<owner>/<name>", help="the repository")
    parser.option("revision", "a branch, a tag or a commit (the newest)", metavar="name")
    parser.option("to", "the new folder (models/<owner>/<name>)", metavar="folder", type=as_path)
    parser.flag("force", "replace a model that lies there")
    told = parser.parse(arguments)
    repo, revision, to = told.repo, told.revision, told.to or Path(f"models/{told.repo}")
    with _plainly("pull", repo, revision):
        from huggingface_hub import HfApi, snapshot_download

        _check_online("pull")
        info = HfApi().model_info(repo, revision=revision)
        wanted = {one.rfilename for one in info.siblings if _travels(one.rfilename)}
        if "config.json" not in wanted or not any(fnmatch(name, "*.safetensors") for name in wanted):
            raise UserError(
                f"pull: {repo} holds no model as safetensors with a config.json; nothing else is loaded here"
            )
        with new_folder(to, "pull", force=told.force, keep_partial=True) as partial:
            for file in partial.iterdir():  # left of another commit
                if file.is_file() and file.name not in wanted:
                    file.unlink()
            snapshot_download(repo, revision=info.sha, local_dir=partial, allow_patterns=sorted(wanted))
            missing = sorted(name for name in wanted if not (partial / name).is_file())
            if missing:  # without a network the client returns what is there
                raise UserError(f"pull: {repo}: {missing[0]} did not come; start again, what came is kept")
            shutil.rmtree(partial / ".cache", ignore_errors=True)
    sys.stdout.write(f"{to}: {repo} at commit {info.sha}\n  use it:  vpo run {as_backbone(to)}\n")
    return 0


def _travels(name: str) -> bool:
    return "/" not in name and any(fnmatch(name, pattern) for pattern in FILES)


def _check_online(verb: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{verb}: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids the network; unset it")


@contextmanager
def _plainly(verb: str, repo: str, revision: str | None = None) -> Iterator[None]:
    """The Hub client's errors, which are many and long, as one line with the cure."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        hidden = isinstance(error, errors.LocalEntryNotFoundError | RuntimeError)  # wrapped around what happened
        line = _in_words(error.__cause__ or error if hidden else error, repo, revision)
        if line is None:
            raise
        raise UserError(f"{verb}: {line}") from error


def _in_words(error: BaseException, repo: str, revision: str | None) -> str | None:
    """What an error of the client means to a user; None for one that is not the Hub's."""
    from huggingface_hub import constants, errors

    match error:
        case errors.HFValidationError():
            return f"{repo!r} is no name of a repository; write <owner>/<name>"
        case errors.GatedRepoError():
            return f"{repo} is gated; ask for access at {constants.ENDPOINT}/{repo}, then log in as who has it"
        case errors.RepositoryNotFoundError():
            return f"no repository {repo} that you can see; check the name, and your login (`hf auth whoami`) if it is private"
        case errors.RevisionNotFoundError():
            return f"{repo} has no revision {revision}; leave revision= out for the newest"
        case errors.HfHubHTTPError():
            return f"{repo}: {_answer(error.response.status_code)}"
        case errors.HTTPError() | ConnectionError() | TimeoutError():  # of the HTTP library below the client
            return f"cannot reach {constants.ENDPOINT} ({type(error).__name__}); check the network, or HF_ENDPOINT"
        case ValueError() | RuntimeError():  # a card that the Hub refuses, a transfer that broke off
            return f"{repo}: {' '.join(str(error).split())[:200]}; the same command goes on from there"
    return None


def _answer(status: int) -> str:
    if status == 401:
        return "the Hub does not know your token (401); `hf auth login` again, or correct HF_TOKEN"
    if status == 403:
        return "your token may not do this there (403); use one with write access to that owner"
    return f"the Hub answered {status}; start again later, what came through is kept"
