"""What each worker is: its folder `vpo/workers/<name>/` with `script.py`, `worker.yaml` and `requirements.txt`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vpo.errors import UserError

WORKERS = Path(__file__).parent


class Part(BaseModel):
    """A part of `worker.yaml`; it has these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Repository(Part):
    """A git repository whose code the script imports: its address, the commit, and the licence of the code."""

    url: str
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    licence: str


class Description(Part):
    """`worker.yaml`.

    Attributes:
        about: one line: what it does.
        python: "3.10", the version of the environment; None is the one that runs vpo.
        repository: cloned beside the environment; the script's setting `repository` is its folder.
        built: requirements that are compiled against the others, one by one and after them, without build isolation.
        weights: what the script downloads when it first runs: {hub id or address: licence}.
        needs: what the machine must have, in words.
        download: bytes that installing downloads, as an estimate; None where nobody knows.
        run_by_us: whether anybody of this project has run it on the real model.
        cite: what to cite.
    """

    about: str
    python: Annotated[str, Field(pattern=r"^3\.\d+$")] | None = None
    repository: Repository | None = None
    built: list[str] = []
    weights: dict[str, str] = {}
    needs: str = ""
    download: Annotated[int, Field(gt=0)] | None = None
    licence: str
    run_by_us: bool
    cite: str


@dataclass(frozen=True)
class Manifest:
    """A worker: its name, its folder, and what its `worker.yaml` says."""

    name: str
    folder: Path
    description: Description

    @property
    def script(self) -> Path:
        return self.folder / "script.py"

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def version(self) -> str:
        """16 hex digits of all that an environment is made from: python, requirements, repository, what is built."""
        made_from = self.description.model_dump(include={"python", "repository", "built"})
        digest = hashlib.sha256(repr(sorted(made_from.items())).encode())
        digest.update(self.requirements.read_bytes())
        return digest.hexdigest()[:16]


def read_manifests(folder: Path | None = None) -> dict[str, Manifest]:
    """The workers by name, of a folder with one folder each; None is the package's own. Raises UserError."""
    folder = folder or WORKERS
    found = sorted(path.parent for path in folder.glob("*/worker.yaml"))
    if not found:
        raise UserError(f"workers: {folder} holds no <name>/worker.yaml; name a folder of workers")
    return {place.name: _manifest(place) for place in found}


def pick_manifest(manifests: dict[str, Manifest], name: str) -> Manifest:
    """The worker of this name. Raises UserError where there is none."""
    if name not in manifests:
        import difflib

        near = difflib.get_close_matches(name, manifests, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(manifests)}"
        raise UserError(f"workers: there is no worker {name}; {hint}")
    return manifests[name]


def _manifest(folder: Path) -> Manifest:
    path = folder / "worker.yaml"
    try:
        entry: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        manifest = Manifest(folder.name, folder, Description(**entry))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"workers: {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; correct it") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError) as error:
        raise UserError(f"workers: {path} cannot be read ({' '.join(str(error).split())[:200]}); correct it") from error
    for part in (manifest.script, manifest.requirements):
        if not part.is_file():
            raise UserError(
                f"workers: {folder} has no {part.name}; a worker is script.py, worker.yaml and requirements.txt"
            )
    return manifest
