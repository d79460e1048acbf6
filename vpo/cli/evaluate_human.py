"""`vpo evaluate human`: a blinded page on which people compare a run's clips, and their votes, back into the run."""

import re
import sys
from argparse import Namespace
from pathlib import Path

from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError

USAGE = (
    "vpo evaluate human run=<run folder> out=<new folder> [methods=[a,b]] [n=50] [safety=true] [seed=0] | "
    "votes=[a.csv,b.csv] key=<out>.key.json [run=<run folder>]"
)
ABOUT = """\
The first form writes a page (<out>/index.html, with its clips) on which two clips of one query stand beside each other, their methods
unnamed, and <out>.key.json, which says whose they are: give raters the folder and not the key. They save their votes as CSV
files. The second form reads these, prints win rates and agreement, and puts them into the run's results as metrics.
"""


def human_command(arguments: list[str]) -> int:
    """Write a page, or read votes. Returns the exit code."""
    from vpo.human.study import QUESTION

    parser = Parser("evaluate human", usage=USAGE, description=ABOUT)
    parser.option(
        "run", "a finished run folder (with votes: the one that the key names)", metavar="folder", type=as_path
    )
    parser.option("out", "the new folder of the page", metavar="folder", type=as_path)
    parser.option("methods", "which of the run's methods are compared (all)", metavar="[a,b]")
    parser.option("n", "of so many queries (all)", type=int)
    parser.option("seed", "of the order, the sides and the choice of queries (0)", type=int, default=0)
    parser.option("question", f"what raters are asked ({QUESTION})", metavar="text", default=QUESTION)
    parser.flag("safety", "raters also rate the safety of each clip, in four levels")
    parser.option("votes", "files that raters saved, or a folder of them", metavar="[a.csv,b.csv]")
    parser.option("key", "the key of the page", metavar="file", type=as_path)
    asked = parser.parse(arguments)
    if asked.votes is not None:
        if asked.key is None:
            raise UserError("evaluate: votes need the key that was written beside the page; add key=<out>.key.json")
        return _read(asked)
    if asked.run is None or asked.out is None:
        parser.error("give run= and out= for a page, or votes= and key= for its results")
    if asked.n is not None and asked.n < 1:
        parser.error(f"n={asked.n} must be at least 1")
    return _write(asked)


def _write(asked: Namespace) -> int:
    from vpo.external.run_clips import clips_of, methods_asked, write_folder
    from vpo.human.study import make_study, page_of
    from vpo.results.run_folder import Run
    from vpo.storage.jsonio import write_json

    run = Run(asked.run)
    methods = methods_asked(list(run.results["methods"]), asked.methods)
    key = asked.out.with_name(f"{asked.out.name}.key.json")
    if key.exists():
        raise UserError(f"evaluate: {key} is there already, and votes may need it; set out=<another folder>")
    queries = {item["query_id"]: item["query"] for item in run.items}
    clips = {
        (item["query_id"], item["method"]): clip
        for item in run.items
        if item["method"] in methods
        and (clip := next((one for one in clips_of(item, asked.run) if one is not None), None))
    }
    about = {"question": asked.question, "safety": asked.safety, "run": str(asked.run.resolve())}
    study = make_study(queries, clips, methods, most=asked.n, seed=asked.seed, **about)
    page, files = page_of(study, clips)
    write_folder(files, asked.out, texts={"index.html": page})
    write_json(key, study.to_json(), indent=1)
    shown = {one.query_id for one in study.pairs}
    lacking = len(queries) - len({query for query, _ in clips}) if asked.n is None else 0
    sys.stdout.write(
        f"{asked.out / 'index.html'}: {len(study.pairs)} pairs of {len(shown)} queries; the key is {key}\n"
    )
    if lacking:
        sys.stderr.write(f"{lacking} queries have no clip, and are not shown\n")
    odd = [name for _, name in files if Path(name).suffix not in (".mp4", ".m4v", ".webm", ".gif", ".mov")]
    if odd:
        sys.stderr.write(
            f"{len(odd)} clips are {Path(odd[0]).suffix} files, which few browsers show; make them .mp4 first\n"
        )
    return 0


def _read(asked: Namespace) -> int:
    from vpo.human.study import Study
    from vpo.human.votes import agreement, agreement_lines, card_of, read_votes, rows_of
    from vpo.results.added import keep
    from vpo.results.run_folder import Run
    from vpo.runs import write_again

    study = Study.read(asked.key)
    given = [as_path(one) for one in re.split(r"\s*,\s*", asked.votes.strip("[] ")) if one]
    paths = [file for one in given for file in (sorted(one.glob("*.csv")) if one.is_dir() else [one])]
    if not paths:
        raise UserError(
            f"evaluate: votes={asked.votes}: no .csv in it; give the files that raters saved, or their folder"
        )
    votes = read_votes(paths, study)
    folder = asked.run or Path(study.run)
    run = Run(folder)
    known = {(item["query_id"], item["method"]) for item in run.items}
    rows = rows_of(votes)
    strange = [row for row in rows if (row["query_id"], row["method"]) not in known]
    if strange:
        raise UserError(
            f"evaluate: {folder} has no query {strange[0]['query_id']!r} of {strange[0]['method']}; give run=<the page's run>"
        )
    agreed = agreement(votes)
    keep(
        folder,
        f"human_{study.id}",
        card_of(votes, study),
        rows,
        agreement=agreed,
        raters=votes.raters,
        votes=len(votes.by_place),
    )
    write_again(folder)
    sys.stdout.write("".join(f"{line}\n" for line in agreement_lines(agreed)))
    if votes.problems:
        sys.stderr.write(
            f"{len(votes.problems)} lines are no votes of this page, and left out: {'; '.join(votes.problems[:3])}\n"
        )
    if votes.again:
        sys.stderr.write(f"{votes.again} votes were replaced by later ones of the same rater on the same pair\n")
    return 0
