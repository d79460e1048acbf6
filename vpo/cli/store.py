"""`vpo store ls` and `vpo store prune`: what is stored, how large it is, and who refers to it."""

import sys
from pathlib import Path

from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError
from vpo.storage.clip_store import ClipFile, clips_in, unused
from vpo.storage.feature_store import FOLDER, FeatureFile, delete_features, features_in
from vpo.storage.housekeeping import (
    StoredFolder,
    answers_in,
    check_gone,
    delete_answers,
    gone_runs,
    leftovers,
    prune,
    readable,
    report_missing,
    stored,
    users_of,
)

USAGE = (
    "vpo store ls | prune [yes=true] [answers=true] [features=true] [gone=folder] [paths.store=store] [paths.runs=runs]"
)


def store_command(arguments: list[str]) -> int:
    """Run `ls` or `prune`. Returns the exit code."""
    parser = Parser("store", usage=USAGE, description="what is stored, how large it is and which runs use it")
    parser.add_argument("action", choices=("ls", "prune"), help="list all, or what no run refers to, to delete it")
    parser.flag("yes", "prune: delete it, not only list it")
    parser.option(
        "paths.store", "the store (store)", dest="store", metavar="folder", type=as_path, default=Path("store")
    )
    parser.option("paths.runs", "the runs (runs)", dest="runs", metavar="folder", type=as_path, default=Path("runs"))
    parser.flag("answers", "prune: the paid answers of servers, too; whoever asks the same again pays again")
    parser.flag("features", "prune: what image encoders made of clips, too; it is computed again when it is needed")
    parser.option(
        "paths.cache",
        "answers of servers (<store>/answers)",
        dest="cache",
        metavar="folder",
        type=as_path,
        default=None,
    )
    parser.option(
        "gone",
        "prune: runs there, which cannot be seen, are gone for good",
        metavar="folder",
        type=as_path,
        default=None,
    )
    options = parser.parse(arguments)
    if not options.store.is_dir():
        raise UserError(f"store: {options.store} is no folder; set paths.store")
    sure = options.action == "prune" and options.yes
    if options.gone is not None:
        check_gone(options.store, options.gone)
    gone = gone_runs(options.store, options.gone)
    report_missing(options.store, gone, sure)
    users = users_of(options.store, options.runs, gone)
    clips = clips_in(options.store)
    shared = {one.identity for one in clips}
    results, rest = list(stored(options.store, users, shared)), list(leftovers(options.store, users, shared))
    features = features_in(options.store / FOLDER)
    answers = answers_in(options.cache or options.store / "answers")
    if options.action == "ls":
        _list(results, rest)
        if clips:
            sys.stdout.write(f"{_sized(clips)}; {_sized(unused(clips)).lstrip()} that no result uses\n")
        _say_of_answers(answers, "in", "of servers, which are not asked the same again")
        _say_of_features(features, "in", "")
    elif sure:
        prune(results + rest, options.store, options.runs)
        if options.answers:
            _say_of_answers(answers, "deleted with", "of servers")
            delete_answers(answers)
        if options.features:
            _say_of_features(features, "deleted with", "")
            delete_features(features)
    else:
        _announce(results + rest)
        idle = unused(clips, going=[one.folder for one in results + rest if not one.used_by])
        if idle:
            sys.stdout.write(f"{_sized(idle)} that no result uses then, which yes=true deletes, too\n")
        if options.answers:
            _say_of_answers(answers, "in", "of servers, which yes=true deletes, too")
        if options.features:
            _say_of_features(features, "in", ", which yes=true deletes, too")
    return 0


def _sized(clips: list[ClipFile]) -> str:
    return f"{readable(sum(one.size for one in clips)):>10}  in {len(clips)} clips"


def _say_of_answers(answers: list[Path], verb: str, words: str) -> None:
    if answers:
        size = readable(sum(path.stat().st_size for path in answers))
        sys.stdout.write(f"{size:>10}  {verb} {len(answers)} answers {words}\n")


def _say_of_features(features: list[FeatureFile], verb: str, words: str) -> None:
    if features:
        size = readable(sum(one.size for one in features))
        sys.stdout.write(f"{size:>10}  {verb} {len(features)} files of features of clips' frames{words}\n")


def _list(results: list[StoredFolder], rest: list[StoredFolder]) -> None:
    lines = [f"{readable(one.size):>10}  {one.created:<20}  {one.name:<30} {_users(one)}" for one in results + rest]
    total = sum(one.size for one in results)
    free = sum(one.size for one in results if not one.used_by)
    lines.append(
        f"{readable(total):>10}  in {len(results)} results; {readable(free)} of it in results that no run refers to"
    )
    sys.stdout.write("\n".join([*lines, ""]))


def _users(one: StoredFolder) -> str:
    return (
        "no run"
        if not one.used_by
        else one.used_by[0] + (f" and {len(one.used_by) - 1} more" if len(one.used_by) > 1 else "")
    )


def _announce(found: list[StoredFolder]) -> None:
    idle = [one for one in found if not one.used_by]
    lines = [f"{readable(one.size):>10}  {one.name}" for one in idle]
    total = readable(sum(one.size for one in idle))
    lines.append(f"{total} in {len(idle)} results that no run refers to; add yes=true to delete them")
    sys.stdout.write("\n".join([*lines, ""]))
