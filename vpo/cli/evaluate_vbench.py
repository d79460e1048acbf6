"""`vpo evaluate export` and `import`: a run's clips for VBench's own code, and what that code wrote, back into the run."""

import sys
from typing import Any

from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError

EXPORT = "vpo evaluate export format=vbench run=<run folder> out=<new folder> [method=name] [suite=VBench_full_info.json] [copy=true]"
IMPORT = "vpo evaluate import format=vbench run=<run folder> file=<..._eval_results.json> [method=name] [suite=VBench_full_info.json]"
FORMATS = ("vbench",)


def export_command(arguments: list[str]) -> int:
    """Write the clips of a run under VBench's names. Returns the exit code."""
    about = "a run's clips as the folder that VBench's own code reads: <original prompt>-<0..4>.mp4"
    parser = Parser("evaluate export", usage=EXPORT, description=about)
    _shared(parser)
    parser.option(
        "out",
        "the new folder; with several methods one for each in it",
        metavar="folder",
        type=as_path,
        required=True,
    )
    parser.option("method", "which of the run's methods (all)", metavar="name")
    parser.option(
        "suite",
        "VBench_full_info.json: names are spelled as there, and what it lacks is left out",
        metavar="file",
    )
    parser.flag("copy", "copy the clips, instead of giving them second names (hard links)")
    asked = parser.parse(arguments)
    from vpo.external.run_clips import methods_asked, write_folder
    from vpo.external.vbench_folder import plan_export, read_suite
    from vpo.results.run_folder import Run

    run = Run(asked.run)
    methods = methods_asked(list(run.results["methods"]), asked.method)
    suite = None if asked.suite is None else [*read_suite(asked.suite)]
    plans = {
        name: plan_export([item for item in run.items if item["method"] == name], asked.run, suite) for name in methods
    }
    files = [
        (clip, name if len(plans) == 1 else f"{method}/{name}")
        for method, plan in plans.items()
        for clip, name in plan.files
    ]
    if not files:
        refused = next((f"; {line}" for plan in plans.values() for line in plan.notes), "")
        raise UserError(f"evaluate: {asked.run} has no clip that can be written{refused}")
    write_folder(files, asked.out, copy=asked.copy)
    for method, plan in plans.items():
        where = asked.out if len(plans) == 1 else asked.out / method
        sys.stdout.write(f"{where}: {len(plan.files)} clips of {method}\n")
        sys.stderr.write("".join(f"  {line}\n" for line in plan.notes))
    return 0


def import_command(arguments: list[str]) -> int:
    """Lay what VBench's own code has measured over a run's results. Returns the exit code."""
    about = "the result file of VBench's own code, or of VBench-Long's, becomes metrics of a run: official_[long_]<dimension>"
    parser = Parser("evaluate import", usage=IMPORT, description=about)
    _shared(parser)
    parser.option("file", "what VBench wrote", metavar="file", required=True)
    parser.option("method", "of which of the run's methods the clips are", metavar="name")
    parser.option(
        "suite",
        "VBench_full_info.json: what the file lacks of its prompts is counted as failed (where queries have no labels)",
        metavar="file",
    )
    asked = parser.parse(arguments)
    from vpo.external.run_clips import clips_of, methods_asked
    from vpo.external.vbench_folder import labels_of
    from vpo.external.vbench_results import read_file, read_results
    from vpo.results.added import keep
    from vpo.results.run_folder import Run
    from vpo.runs import write_again

    run = Run(asked.run)
    methods = methods_asked(list(run.results["methods"]), asked.method)
    if len(methods) > 1:
        raise UserError(
            f"evaluate: say of which method the clips are, as in method={methods[0]}; the run has {', '.join(methods)}"
        )
    (method,) = methods
    content = read_file(asked.file)
    queries = {item["query"]: item["query_id"] for item in run.items}
    clips = {
        item["query_id"]: sum(one is not None for one in clips_of(item, asked.run))
        for item in run.items
        if item["method"] == method
    }
    found = read_results(content, queries, asked.file, labels_of(run.results, queries, asked.suite), clips)
    for one in found:
        rows: list[dict[str, Any]] = [
            {
                "query_id": query,
                "method": method,
                "metrics": {one.metric: pooled.value},
                "weights": {one.metric: pooled.weight},
                **(
                    {"clip_counts": {one.metric: [pooled.tried - pooled.failed, pooled.failed]}}
                    if pooled.tried > 1
                    else {}
                ),
            }
            for query, pooled in one.rows.items()
        ]
        rows += [{"query_id": query, "method": method, "metrics": {one.metric: None}} for query in one.failed]
        keep(
            asked.run,
            f"{'vbenchlong' if one.long else 'vbench'}_{method}_{one.name}",
            one.card,
            rows,
            file=asked.file,
            score=one.score,
        )
    write_again(asked.run)
    sys.stderr.write("".join(f"{line}\n" for one in found for line in one.notes))
    sys.stdout.write(f"{asked.run}: {len(found)} dimensions of VBench for {method}\n")
    return 0


def _shared(parser: Parser) -> None:
    """The options of both."""
    parser.option("format", "whose names and files: vbench", choices=FORMATS, required=True)
    parser.option("run", "a finished run folder", metavar="folder", type=as_path, required=True)
