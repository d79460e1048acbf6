"""`vpo pairs ls` and `vpo pairs export`: a run's preference pairs, as files that other trainers read."""

import json
import sys
from collections import Counter
from pathlib import Path

import yaml

from vpo.cli.arguments import Parser, as_path
from vpo.dataset.pair_files import FORMATS, SUFFIXES, write_pairs
from vpo.errors import UserError
from vpo.records import Pair
from vpo.storage.rows import read_rows

USAGE = (
    "vpo pairs ls | export <run folder> [format=trl|llama_factory] [form=chat|text|sharegpt|alpaca] [template=optimizer] "
    "[to=file] [result=pair/<key>] [force=true] [paths.store=store]"
)
FILE = "pairs.jsonl"


def pairs_command(arguments: list[str]) -> int:
    """Run `ls` or `export`. Returns the exit code."""
    parser = Parser(
        "pairs", usage=USAGE, description="the preference pairs of a run, as files that other trainers read"
    )
    parser.add_argument("action", choices=("ls", "export"), help="list the pairs of a run, or write them")
    parser.add_argument(
        "place", metavar="<run folder>", help="or a folder of the store: store/pair/<key>", type=as_path
    )
    parser.option("format", f"export: {' or '.join(FORMATS)}", choices=tuple(FORMATS))
    parser.option(
        "form",
        "export: " + "; ".join(f"of {name}: {' (default) or '.join(forms)}" for name, forms in FORMATS.items()),
        metavar="name",
    )
    parser.option(
        "template", "export: the instruction around the query, such as optimizer (the query alone)", metavar="name"
    )
    parser.option("to", "export: the new file (pairs.jsonl or pairs.json)", metavar="file", type=as_path)
    parser.option("result", "which of several, as `vpo pairs ls` names them", metavar="pair/<key>")
    parser.flag("force", "export: replace files that are there")
    parser.option(
        "paths.store",
        "where the run's results lie now (where the run left them)",
        dest="store",
        metavar="folder",
        type=as_path,
    )
    options = parser.parse(arguments)
    found = find_pairs(options.place, options.store)
    if options.action == "ls":
        sys.stdout.write("".join(f"{_line(folder)}\n" for folder in found))
        return 0
    if options.format is None:
        raise UserError(
            f"pairs: say in which format, as in format={next(iter(FORMATS))}; known are {', '.join(FORMATS)}"
        )
    folder = _chosen(found, options.result)
    to = options.to or Path(f"pairs{SUFFIXES[options.format]}")
    others = [to.with_name("dataset_info.json")] if options.format == "llama_factory" else []
    there = next((path for path in (to, *others) if path.exists()), None)
    if there is not None and not options.force:
        raise UserError(f"pairs: {there} is there already; name another file (to=...), or set force=true to replace it")
    pairs = read_rows(folder / FILE, Pair)
    written = write_pairs(pairs, to, options.format, options.form, options.template)
    sys.stdout.write(f"{len(pairs):,} pairs written: {', '.join(map(str, written))}\n")
    return 0


def find_pairs(place: Path, store: Path | None) -> list[Path]:
    """The stored sets of pairs of a run, or the one that a folder of the store is.

    Raises:
        UserError: there is no such folder, or it has none.
    """
    if (place / FILE).is_file() and (place / "manifest.json").is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"pairs: {place}: no such folder; give a run folder, or store/pair/<key>")
    try:
        names = json.loads((place / "entries.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8"))
        root = store or Path(config["paths"]["store"])
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"pairs: {place} is no run folder; give one, or store/pair/<key>") from error
    made = [root / name for name in names if name.startswith("pair/")]
    found = [folder for folder in made if (folder / "manifest.json").is_file()]
    if not made:
        raise UserError(
            f"pairs: {place}: the run made no pairs (objective=grpo or none makes none); choose another run"
        )
    if not found:
        raise UserError(
            f"pairs: {place}: its pairs are not in {root}; set paths.store to where the store lies now, or give the run's "
            "command again"
        )
    return sorted(found, key=lambda folder: (folder / "manifest.json").stat().st_mtime)


def _chosen(found: list[Path], result: str | None) -> Path:
    """The one of that name. Raises UserError where it is not clear which."""
    named = {f"{folder.parent.name}/{folder.name}": folder for folder in found}
    if result is None and len(named) == 1:
        return found[0]
    if result not in named:
        what = "there are several" if result is None else f"result={result} is none of them"
        raise UserError(f"pairs: {what}: say which, as in result={next(iter(named))}; there are {', '.join(named)}")
    return named[result]


def _line(folder: Path) -> str:
    sources = Counter(pair.source for pair in read_rows(folder / FILE, Pair))
    counts = ", ".join(f"{n:,} {source}" for source, n in sources.items())
    return f"{folder.parent.name}/{folder.name}  {sum(sources.values()):>7,} pairs: {counts}"
