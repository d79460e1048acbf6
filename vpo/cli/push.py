"""`vpo push`: a model to the Hugging Face Hub, by its own client; private unless public=true says otherwise."""

import sys

from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError
from vpo.export.folder import is_model
from vpo.export.hub import WEIGHTS, check_online, hub_errors, is_model_file
from vpo.storage.housekeeping import readable

USAGE = "vpo push <folder> <owner>/<name> [public=true]"


def push_command(arguments: list[str]) -> int:
    """Upload a model folder as one commit. Returns the exit code."""
    parser = Parser("push", usage=USAGE, description="upload a model to the Hugging Face Hub, as one commit")
    parser.add_argument("folder", metavar="<folder>", help="a model, as `vpo export` writes it", type=as_path)
    parser.add_argument("repo", metavar="<owner>/<name>", help="the repository, which is made if it is not there")
    parser.flag("public", "for all to see; else it is private")
    options = parser.parse(arguments)
    folder, repo, public = options.folder, options.repo, options.public
    if not is_model(folder) or not any(folder.glob("*.safetensors")):
        raise UserError(f"push: {folder} holds no model (config.json and *.safetensors); `vpo export` makes one")
    files = sorted(file for file in folder.iterdir() if file.is_file() and is_model_file(file.name))
    with hub_errors("push", repo):
        from huggingface_hub import HfApi, get_token

        check_online("push")
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
