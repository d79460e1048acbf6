"""Making the tiny models: small random models of the true classes. Nothing is downloaded."""

import difflib
import functools
import hashlib
import pkgutil
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from vpo.assets import tiny
from vpo.assets.folder import RECORD, TINY, Record, read_record
from vpo.assets.getting import SETTING, Say, sha256_of, share
from vpo.errors import UserError
from vpo.storage.disk import writing
from vpo.storage.folders import alone
from vpo.storage.installed import installed

LIBRARIES = ("diffusers", "torch", "transformers")  # that save the models


def tiny_models() -> dict[str, Callable[[Path], None]]:
    """The functions that write a model into a folder, by name: the `MODELS` of every module of `vpo.assets.tiny`.

    Raises:
        UserError: A package is missing that a module needs.
    """
    found: dict[str, Callable[[Path], None]] = {}
    for one in pkgutil.iter_modules(tiny.__path__):
        try:
            models = getattr(import_module(f"{tiny.__name__}.{one.name}"), "MODELS", {})
        except ImportError as error:
            raise UserError(f"assets: {TINY}: making {one.name} needs a package that is missing: {error}") from error
        twice = sorted(set(models) & set(found))
        if twice:
            raise ValueError(f"{tiny.__name__}: two modules make a model {twice[0]}")
        found |= models
    return found


def make_tiny(root: Path, say: Say, names: Sequence[str] | None = None, *, force: bool = False) -> list[Path]:
    """Have tiny models in their folders, `<root>/tiny/<name>`; what is there already is not made again.

    Each is made in `<name>.partial` beside its folder, which is renamed at the end. One is made anew where the code that makes it, or
    a library that saves it, has changed.

    Args:
        root: the folder of all assets.
        say: takes a line of progress.
        names: of models; None makes all.
        force: make them anew even if they are there.

    Returns:
        Their folders.

    Raises:
        UserError: There is no such model, a package is missing, or the disk is full.
    """
    models, made_with = tiny_models(), _made_with()
    for name in names or ():
        if name not in models:
            near = difflib.get_close_matches(name, models, n=1)
            hint = f"did you mean {TINY}/{near[0]}?" if near else f"choose from {', '.join(models)}"
            raise UserError(f"assets: there is no tiny model {name}; {hint}")
    _hide_bars()
    folders = []
    for name in names or models:
        folder, who = root / TINY / name, f"assets: {TINY}/{name}"
        folders.append(folder)
        waits = functools.partial(say, f"{TINY}/{name}: another process is making it; waiting")
        with writing(root / TINY, who, SETTING), alone(root / TINY / f"{name}.lock", waits):
            if not force and _is_current(folder, made_with):
                say(f"{TINY}/{name}: is there")
                continue
            _make(models[name], folder, who, made_with)
            say(f"{TINY}/{name}: done")
    return folders


def _make(make: Callable[[Path], None], folder: Path, who: str, made_with: dict[str, str]) -> None:
    partial, trash = (folder.with_name(f"{folder.name}.{end}") for end in ("partial", "trash"))
    for stale in (partial, trash):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir()
    try:
        make(partial)
    except ImportError as error:
        raise UserError(f"{who}: a package is missing that it needs: {error}") from error
    share(partial)
    files = {path.relative_to(partial).as_posix(): path for path in sorted(partial.rglob("*")) if path.is_file()}
    described: dict[str, dict[str, str | int]] = {
        name: {"sha256": sha256_of(path), "size": path.stat().st_size} for name, path in files.items() if name != RECORD
    }
    content = hashlib.sha256(
        "\n".join(f"{name} {one['sha256']}" for name, one in described.items()).encode()
    ).hexdigest()
    Record(f"{TINY}/{folder.name}", tiny.__name__, content, described, made_with).write(partial)
    if folder.exists():
        folder.rename(trash)
    partial.rename(folder)
    shutil.rmtree(trash, ignore_errors=True)


def _hide_bars() -> None:
    """Let transformers draw no bar for each file that it writes."""
    try:
        from transformers.utils.logging import disable_progress_bar
    except ImportError:
        return
    disable_progress_bar()  # type: ignore[no-untyped-call]


def _made_with() -> dict[str, str]:
    """What a tiny model depends on: the code that makes it, and the libraries that save it."""
    code = hashlib.sha256()
    for path in sorted(Path(tiny.__path__[0]).glob("*.py")):
        code.update(path.read_bytes())
    return {tiny.__name__: code.hexdigest()} | installed(LIBRARIES)


def _is_current(folder: Path, made_with: dict[str, str]) -> bool:
    try:
        record = read_record(folder)
    except UserError:  # a damaged record is replaced
        return False
    return record is not None and record.made_with == made_with
