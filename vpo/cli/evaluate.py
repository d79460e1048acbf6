"""`vpo evaluate`: the evaluators on prompts and clips that others made, without any training."""

import sys
from collections.abc import Sequence

from vpo.cli.arguments import Parser
from vpo.errors import UserError

USAGE = "vpo evaluate [clips=<folder>] [prompts=<file>] [evaluator=[...]] [key=value ...]"
EPILOG = """\
what is measured:
  clips=<folder>            clips of one method, called <query>-<0..4>.mp4 (VBench's rule) or as the rows of prompts= say
  clips.<method>=<folder>   the same of several methods by name, which are compared
  prompts=<file>            rows with a query, and if you like: prompt, clip (a path, or a list of them), method, id, and labels that
                            evaluators read: VBench's dimension and auxiliary_info; aspects of harm (safety, clip_safety); harmless and
                            sounds_like (over_refusal); questions (compositional); .jsonl, .json, .csv, .tsv, .parquet, or .txt with a
                            query a line
  prompts.<method>=<file>   the same of one of several methods
  A row's paths are relative to the folder of clips, or to the file where none is given. VBench's own list will do:
  prompts=VBench_full_info.json.

how it is measured (`vpo run --help` lists all groups, `vpo run --cfg job` all keys):
  evaluator=[flicker,motion]      the evaluators; these two with clips and [text] without are the default
  judge=llm engine=server ...     for alignment, safety; reward=visionreward ... for reward
  paths.runs=runs paths.store=store

with the official VBench, and with people (--help of each says more):
  vpo evaluate export format=vbench run=<run> out=<folder>     a run's clips under VBench's names, for its own code
  vpo evaluate import format=vbench run=<run> file=<..._eval_results.json>
  vpo evaluate human run=<run> methods=[a,b] out=<folder>      a blinded page of pairs, and votes read back from it

examples:
  vpo evaluate clips=videos evaluator=[flicker,motion]
  vpo evaluate clips.mine=a clips.theirs=b prompts=queries.jsonl evaluator=[flicker,motion,alignment]
  vpo evaluate prompts=rewrites.jsonl evaluator=[text,alignment,safety]
"""
OURS = ("dataset", "generator", "experiment", "drafter", "curation")  # groups that the verb chooses


def evaluate_command(arguments: list[str]) -> int:
    """Evaluate what is given, and write a run folder; or do what the first word says. Returns the exit code."""
    if arguments[:1] == ["export"]:
        from vpo.cli.evaluate_vbench import export_command

        return export_command(arguments[1:])
    if arguments[:1] == ["import"]:
        from vpo.cli.evaluate_vbench import import_command

        return import_command(arguments[1:])
    if arguments[:1] == ["human"]:
        from vpo.cli.evaluate_human import human_command

        return human_command(arguments[1:])
    parser = Parser("evaluate", usage=USAGE, description="measure prompts and clips that others made", epilog=EPILOG)
    parser.add_argument(
        "words", nargs="*", metavar="key=value", help="what is given, and what differs from the default config"
    )
    asked, odd = parser.parse_known_args(arguments)
    if odd:
        parser.error(f"{odd[0]} is unknown")
    clips, prompts, overrides = _taken_apart(asked.words)
    from vpo.processes.environment import prepare_run
    from vpo.processes.signals import handle_signals_outside_training

    handle_signals_outside_training()
    prepare_run()
    from vpo.checking.external import compose_for
    from vpo.external.asked import methods_of
    from vpo.runs import run
    from vpo.storage.progress import log_to_console

    methods = methods_of(clips, prompts)
    composed = compose_for(methods, overrides, asked.words)
    log_to_console()
    folder = run(composed)
    if (folder / "results.json").is_file():
        from vpo.results.inputs import report

        sys.stderr.write("".join(f"{line}\n" for line in report(folder, {one.name: one.source for one in methods})))
        sys.stdout.write(f"{folder}\n")
    return 0


def _taken_apart(words: Sequence[str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """The folders of clips and the files of prompts by method ("" where none is named), and the overrides of the config."""
    given: dict[str, dict[str, str]] = {"clips": {}, "prompts": {}}
    overrides = []
    for one in words:
        key, equals, value = one.partition("=")
        word, dot, method = key.partition(".")
        if not equals:
            raise UserError(f"evaluate: {one!r} is no key=value; use `{USAGE}`")
        if word in given:
            if not value or (dot and not method) or method in given[word]:
                raise UserError(
                    f"evaluate: {one} {'is given twice' if value and method in given[word] else 'names nothing'}; correct it"
                )
            given[word][method] = value
        elif key.lstrip("+~").partition("@")[0] in OURS:
            raise UserError(f"evaluate: {key} is what clips= and prompts= say; leave {one} out, or use `vpo run`")
        else:
            overrides.append(one)
    return given["clips"], given["prompts"], overrides
