"""`vpo pull`: a model from the Hugging Face Hub, by its own client, for a run's backbone."""

import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError
from vpo.export.folder import as_backbone, new_folder
from vpo.export.hub import check_online, hub_errors, is_model_file

USAGE = "vpo pull <owner>/<name> [revision=main] [to=folder] [force=true]"


def pull_command(arguments: list[str]) -> int:
    """Download a model's files at one commit into a folder of their own. Returns the exit code."""
    parser = Parser("pull", usage=USAGE, description="download a model from the Hugging Face Hub, for a run's backbone")
    parser.add_argument("repo", metavar="<owner>/<name>", help="the repository")
    parser.option("revision", "a branch, a tag or a commit (the newest)", metavar="name")
    parser.option("to", "the new folder (models/<owner>/<name>)", metavar="folder", type=as_path)
    parser.flag("force", "replace a model that lies there")
    options = parser.parse(arguments)
    repo, revision, to = options.repo, options.revision, options.to or Path(f"models/{options.repo}")
    with hub_errors("pull", repo, revision):
        from huggingface_hub import HfApi, snapshot_download

        check_online("pull")
        info = HfApi().model_info(repo, revision=revision)
        wanted = {one.rfilename for one in info.siblings if is_model_file(one.rfilename)}
        if not wanted & {"config.json", "adapter_config.json"} or not any(
            fnmatch(name, "*.safetensors") for name in wanted
        ):
            raise UserError(
                f"pull: {repo} holds no model as safetensors with a config.json; nothing else is loaded here"
            )
        with new_folder(to, "pull", force=options.force, keep_partial=True) as partial:
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
