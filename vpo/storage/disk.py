"""Which failures are the disk's: full, or not to be written. Everything else is a defect and keeps its traceback."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vpo.errors import DISK_ERRORS, DISK_FULL, UserError

# What libraries say of a full disk without an error number: safetensors and tokenizers (Rust), SQLite, NumPy
# ("1000000 requested and 102368 written") and torch's archive writer ("unexpected pos 576 vs 534": fewer bytes arrived).
_MESSAGES = re.compile(
    r"no space left on device|\(os error (?:28|122)\)|disk quota exceeded|database or disk is full"
    r"|\d+ requested and \d+ written|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DiskProblem:
    """Why something could not be written (or, elsewhere, read).

    Attributes:
        reason: "no space left on device", "permission denied".
        full: whether room is what is missing.
        elsewhere: the file that the error is about, where that lies outside of the folder that was being written.
    """

    reason: str
    full: bool
    elsewhere: Path | None = None

    @property
    def cure(self) -> str:
        """What helps with a file elsewhere."""
        return "make room there" if self.full else "make it accessible"


def disk_problem(error: BaseException, folder: Path) -> DiskProblem | None:
    """What the disk has to do with an exception that came while `folder` was being written; None: nothing.

    An error of access that names no file may be about anything, so it counts as none of ours.
    """
    files = _files_of(error)
    elsewhere = files[-1] if files and not any(within(file, folder) for file in files) else None
    if is_full(error):
        return DiskProblem(os.strerror(errno.ENOSPC).lower(), True, elsewhere)
    if isinstance(error, OSError) and error.errno in DISK_ERRORS and files:
        return DiskProblem((error.strerror or os.strerror(error.errno)).lower(), False, elsewhere)
    return None


@contextmanager
def writing(root: Path, who: str, setting: str) -> Iterator[None]:
    """Write below a folder, which is made first; what the disk refuses is one line.

    Args:
        root: the folder.
        who: what the message begins with.
        setting: where the user names another folder: "paths.assets", "$VPO_WORKERS".

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise UserError(f"{who}: {root} cannot be written; set {setting} to a folder that can")
        yield
    except UserError:
        raise
    except Exception as error:
        problem = disk_problem(error, root)
        said = error.strerror if isinstance(error, OSError) else None
        if problem is None and not isinstance(said, str):
            raise
        reason = problem.reason if problem else str(said).lower()
        raise UserError(f"{who}: {root}: {reason}; make room, or set {setting} to a folder elsewhere") from error


def is_full(error: BaseException) -> bool:
    """Whether an exception, or one that led to it, says that a disk (or a quota) is full.

    Only the error itself counts. That a disk is nearly full says nothing about an error that happens meanwhile.
    """
    return any(
        one.errno in DISK_FULL if isinstance(one, OSError) and one.errno else _MESSAGES.search(str(one)) is not None
        for one in _chain(error)
    )


def within(path: Path, folder: Path) -> bool:
    """Whether a path is the folder or lies below it."""
    return path.resolve().is_relative_to(folder.resolve())


def _files_of(error: BaseException) -> list[Path]:
    """The files that the error, or the first one of its causes that does so, names: of a copy both, the new one last."""
    for one in _chain(error):
        names = (one.filename, one.filename2) if isinstance(one, OSError) else ()
        files = [Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes | os.PathLike)]
        if files:
            return files
    return []


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, as a traceback would show them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
