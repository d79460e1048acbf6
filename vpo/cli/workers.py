"""`vpo workers ls`, `install` and `check`: the environments of the models that cannot live in this one."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError
from vpo.workers.environment import check_worker, command_by_hand, read_record, use_workers_folder, workers_folder
from vpo.workers.installing import install_worker
from vpo.workers.manifest import Manifest, pick_manifest, read_manifests

USAGE = (
    "vpo workers ls | install <name ...> | check [name ...] [folder=folder] [python=path] [force=true] [workers=folder]"
)


def workers_command(arguments: list[str]) -> int:
    """Run `ls`, `install` or `check`. Returns the exit code."""
    parser = Parser("workers", usage=USAGE, description="environments of the models that cannot live in this one")
    parser.add_argument(
        "action", choices=("ls", "install", "check"), help="list all, install some, or try what is installed"
    )
    parser.add_argument(
        "names", nargs="*", metavar="name", help="of workers; check without a name tries all that are installed"
    )
    parser.option(
        "folder", "where they are installed ($VPO_WORKERS, or in the user's cache)", metavar="folder", type=as_path
    )
    parser.option("python", "install: the interpreter to make the environment with", metavar="path", type=as_path)
    parser.option("workers", "your own workers, a folder each (the package's)", metavar="folder", type=as_path)
    parser.flag("force", "install: make it anew even if it is there")
    options = parser.parse(arguments)
    use_workers_folder(options.folder)
    manifests, root = read_manifests(options.workers), workers_folder()
    if options.action == "ls":
        _list(manifests, root)
    elif options.action == "install":
        _install(manifests, root, options.names, options.python, force=options.force)
    else:
        _check(manifests, root, options.names)
    return 0


def _list(manifests: Mapping[str, Manifest], root: Path) -> None:
    lines = [f"workers in {root}:"]
    for manifest in manifests.values():
        described = manifest.description
        lines += [
            f"  {manifest.name}  {_state(manifest, root / manifest.name)}{'' if described.run_by_us else '; never run by us'}",
            f"      {described.about}",
            f"      licence {described.licence}; cite {described.cite}",
        ]
        if described.repository is not None:
            source = described.repository
            lines.append(f"      code from {source.url} at {source.commit[:7]}, licence {source.licence}")
        lines += [f"      weights {source}, licence {licence}" for source, licence in described.weights.items()]
        lines += [f"      needs {described.needs}"] if described.needs else []
    sys.stdout.write("\n".join([*lines, ""]))


def _state(manifest: Manifest, folder: Path) -> str:
    """Whether a worker is installed, and how large it is."""
    record, install = read_record(folder), f"`vpo workers install {manifest.name}`"
    if record is None:
        size = manifest.description.download
        left = "not installed to its end" if folder.exists() else "not installed"
        return f"{left}; {'about ' + _amount(size) + ' to download' if size else 'of unknown size'}: {install}"
    if record.version != manifest.version:
        return f"installed for another version of vpo: {install} replaces it"
    return f"installed, Python {record.python}, {_amount(record.size)}"


def _install(
    manifests: dict[str, Manifest], root: Path, names: Sequence[str], python: Path | None, *, force: bool
) -> None:
    if not names:
        raise UserError(f"workers: install: name what to install, of {', '.join(manifests)}")
    for manifest in [pick_manifest(manifests, name) for name in names]:
        if not manifest.description.run_by_us:
            _say(f"{manifest.name}: never run by us; say how it went if you run it")
        sys.stdout.write(f"{install_worker(manifest, root, _say, python=python, force=force)}\n")


def _check(manifests: dict[str, Manifest], root: Path, names: Sequence[str]) -> None:
    installed = [name for name in manifests if read_record(root / name) is not None]
    problems = []
    for manifest in [pick_manifest(manifests, name) for name in names or installed]:
        if manifest.name not in installed:
            problems.append(
                f"workers: {manifest.name} is not installed in {root}; `vpo workers install {manifest.name}`"
            )
            continue
        try:
            found = check_worker(manifest, root / manifest.name)
        except UserError as error:
            problems.append(str(error))
            continue
        facts = ", ".join(f"{key} {value}" for key, value in found.items() if key != "schema")
        by_hand = command_by_hand(manifest, root / manifest.name)
        sys.stdout.write(f"{manifest.name}: starts ({facts}); by hand:\n  {by_hand}\n")
    if problems:
        raise UserError("; ".join([problems[0], *(one.removeprefix("workers: ") for one in problems[1:])]))
    if not (names or installed):
        sys.stdout.write(f"no workers are installed in {root}\n")


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
