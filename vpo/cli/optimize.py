"""`vpo optimize`: a query, or a file of them, rewritten into prompts and checked."""

import argparse
import re
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from vpo.assets.folder import use_folder
from vpo.cli.arguments import Parser, as_path, expanded
from vpo.errors import UserError
from vpo.optimize.choices import setting_names, values_of
from vpo.storage.progress import log_to_console

if TYPE_CHECKING:  # what these import takes a second, and `--help` shall not
    from vpo.optimize.batch import Journal, Row
    from vpo.optimize.optimizer import PromptOptimizer
    from vpo.optimize.options import Options

_OF_VIDEO = re.compile(
    r"(--)?(generator|reward|paths)\.(?!assets=)[\w.]+="
)  # values of the video model and the reward, as `vpo run` takes them
USAGE = 'vpo optimize "<query>" | - | input=<file> [output=<file>] [model=...] [search=best_of_n] [target=cogvideox] [json=true]'
EPILOG = """\
models, for model=:
  exported/<name>              a folder of `vpo export`, or of any causal language model
  runs/<experiment>/<run>      what a run trained
  <LoRA folder>                an adapter, with the base that its files name
  CCCCCC/VPO-2B                a hub id; this one is the optimizer that VPO's authors released for CogVideoX-2B
  http://localhost:8000/v1     an OpenAI-compatible server (vllm serve, SGLang, transformers serve, hosted ones); its settings are
                               engine.model=<name> engine.api_key_env=OPENAI_API_KEY engine.timeout=60 engine.max_cost=2 ...:
                               all of conf/engine/server.yaml. template=none asks a model that holds the instruction itself

The prompt goes to standard output and nothing else does. What the guard does not let pass is refined, else asked for again,
else the query comes back as it is; json=true says which and why. An unsafe query without a harmless prompt is refused.
"""


def optimize_command(arguments: list[str]) -> int:
    """Rewrite and print or write. Returns the exit code."""
    asked = _parse(arguments)
    log_to_console()
    use_folder(asked.assets)
    from vpo.processes.environment import prepare_run
    from vpo.processes.signals import handle_signals_outside_training

    handle_signals_outside_training()
    prepare_run()
    from vpo.optimize.options import Options

    options = Options(**{one.name: value for one in fields(Options) if (value := getattr(asked, one.name)) is not None})
    stdin = asked.query == "-" or asked.input == "-"
    if not stdin and asked.input is None and asked.output is None:
        return _one(asked, options)
    from vpo.optimize.batch import Journal, Row, read_file, read_stdin

    if stdin:
        rows = read_stdin(options)
    elif asked.input is not None:
        rows = read_file(asked.input, options)
    else:
        rows = [Row("query", None, asked.query)]
    if asked.output is None:
        return _print(asked, options, rows)
    from vpo.optimize.options import described
    from vpo.storage.redact import redact

    model = _model(asked)
    return _write(
        model, options, rows, Journal(asked.output, redact({"model": model, **described(options)}), force=asked.force)
    )


def _parse(arguments: list[str]) -> Namespace:
    epilog = EPILOG + _targets() if {"-h", "--help"} & {*arguments} else EPILOG
    parser = Parser(
        "optimize", usage=USAGE, description="rewrite queries into prompts for a text-to-video model", epilog=epilog
    )
    parser.add_argument(
        "query",
        nargs="*",
        metavar='"<query>"',
        help="what you would type; - reads queries from standard input, one a line",
    )
    parser.option("model", "the language model that rewrites (see below)", metavar="source", type=expanded)
    parser.option("input", "a file of queries: .txt, .csv, .json, .jsonl, .parquet", metavar="file", type=expanded)
    parser.option(
        "output", "where records go: .jsonl, .json, .csv or .txt; a second start goes on", metavar="file", type=as_path
    )
    parser.flag("json", "print records: prompt, verdict, candidates, flags, tokens, seconds")
    parser.flag("force", "begin the output anew")
    parser.option("search", "none, best_of_n, refine or render", metavar="name")
    parser.option("n", "candidates a query", type=int)
    parser.option("rounds", "passes of critique and refine", type=int)
    parser.option(
        "semantic",
        "true, false or auto: of equal candidates the nearest to the query in meaning (auto with best_of_n)",
        metavar="value",
        type=lambda text: {"true": True, "false": False}.get(text, text),
    )
    parser.option("generator", "the video model that renders candidates, with search=render", metavar="name")
    parser.option("reward", "what scores their clips, with search=render", metavar="name")
    parser.option("clips", "folder of the clips, with search=render (clips)", metavar="folder", type=expanded)
    parser.option(
        "target", "the video model that the prompt is for: cogvideox, wan2_2, hunyuanvideo ... (below)", metavar="name"
    )
    parser.option("judge", "who says whether a prompt is harmless, accurate and helpful (rules)", metavar="name")
    parser.option("language", "of queries that are not English: keep, english or refuse (keep)", metavar="name")
    parser.option("resamples", "how often a query without a prompt that passes is asked again (1)", type=int)
    parser.option("max-chars", "a longer query is an error (2000)", type=int, dest="max_chars")
    parser.option("seed", "of sampling (0)", type=int)
    parser.option("temperature", "0 for greedy (the model's own, or 0.7)", type=float)
    parser.option("top-p", "mass of the nucleus (the model's own, or 1)", type=float, dest="top_p")
    parser.option("max-new-tokens", "longest answer (the model's own, or 256)", type=int, dest="max_new_tokens")
    parser.option("template", "what renders a query (the model's own, or VPO's)", metavar="name")
    parser.option("policy", "which policy of a run (its last)", metavar="name")
    parser.option("revision", "commit of a hub id", metavar="name")
    parser.option("device", "cpu, cuda or auto (auto)", metavar="name")
    parser.option("dtype", "of the weights (bfloat16 on a GPU, else float32)", metavar="name")
    parser.option("bits", "4 or 8 quantise the weights", type=int)
    parser.option("batch-size", "queries at once (8)", type=int, dest="batch_size")
    parser.option("paths.assets", "folder of assets (the user's cache)", dest="assets", metavar="folder", type=expanded)
    for name in setting_names():
        parser.option(f"engine.{name}", argparse.SUPPRESS, dest=f"engine.{name}", metavar="value")
    asked = parser.parse([one for one in arguments if not _OF_VIDEO.match(one)])
    asked.overrides = [one.removeprefix("--") for one in arguments if _OF_VIDEO.match(one)] or None
    asked.engine = {
        name: _plain(name, value) for name in setting_names() if (value := getattr(asked, f"engine.{name}")) is not None
    }
    if len(asked.query) > 1:
        raise UserError(
            f'optimize: {len(asked.query)} queries; put one into quotes ("{" ".join(asked.query)[:60]}"), or give input=<file>'
        )
    asked.query = asked.query[0] if asked.query else None
    if (asked.query is None) == (asked.input is None):
        both = "a query and an input; give one of them" if asked.query is not None else "no query"
        raise UserError(f"optimize: {both}; use `{USAGE}`")
    return asked


def _targets() -> str:
    """The video models that a prompt can be made for, and what each wants."""
    from vpo.checking.choices import files_of
    from vpo.checking.schema import Target

    targets = {file.stem: values_of("target", file.stem, Target) for file in files_of("target")}
    lines = [
        f"  {name:<14} reads {one.tokens} tokens; {one.conventions}" for name, one in targets.items() if one.tokens
    ]
    return "\n".join(["", "targets, for target=:", *lines, ""])


def _plain(name: str, text: str) -> Any:
    """The value of an option as YAML reads it: a number, a list, null."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(
            f"optimize: engine.{name}={text} cannot be read ({' '.join(str(error).split())[:100]})"
        ) from error


def _model(asked: Namespace) -> str:
    from vpo.optimize.source import default_source

    return asked.model or default_source()


def _open(model: str, options: "Options") -> "PromptOptimizer":
    from vpo.optimize.optimizer import PromptOptimizer

    return PromptOptimizer.create(model, options)


def _one(asked: Namespace, options: "Options") -> int:
    """A query on the command line: its prompt, and nothing else, on standard output."""
    from vpo.dataset.reading.problems import RowProblem
    from vpo.optimize.optimizer import fallback_line, refusal_line
    from vpo.optimize.outputs import line_of
    from vpo.optimize.queries import read_query
    from vpo.records import to_json

    try:
        read_query(asked.query, options.max_chars, options.language)  # before a model is loaded
    except RowProblem as problem:
        raise UserError(f"optimize: the query {problem}") from None
    with _open(_model(asked), options) as optimizer:
        (record,) = optimizer.optimize([asked.query])
    if asked.json or record.prompt is not None:
        sys.stdout.write(f"{line_of(to_json(record), whole=asked.json)}\n")
    if record.prompt is None:
        raise UserError(refusal_line(record))
    if record.fell_back:
        sys.stderr.write(f"vpo: {fallback_line(record)}\n")
    return 0


def _print(asked: Namespace, options: "Options", rows: Sequence["Row"]) -> int:
    """Every query's prompt on standard output, a line each, as soon as it is there."""
    from vpo.optimize.optimizer import fallback_line, refusal_line
    from vpo.optimize.outputs import line_of
    from vpo.records import to_json

    with _open(_model(asked), options) as optimizer:
        for row, record in zip(rows, optimizer.stream([row.query for row in rows]), strict=True):
            if record.prompt is None or record.fell_back:
                line = refusal_line(record) if record.prompt is None else fallback_line(record)
                sys.stderr.write(f"vpo: {row.place}: {line}\n")
            sys.stdout.write(f"{line_of(to_json(record), whole=asked.json)}\n")
            sys.stdout.flush()
    return 0


def _write(model: str, options: "Options", rows: Sequence["Row"], journal: "Journal") -> int:
    """Every query's record into a file; a later start does what is missing."""
    from vpo.storage.ledger import spending_in
    from vpo.storage.progress import Bar

    done = 0
    try:
        with journal.started(rows) as done, spending_in(journal.spending):
            if done < len(rows):
                with _open(model, options) as optimizer, Bar("optimize", len(rows), done) as bar:
                    left = rows[done:]
                    for row, record in zip(left, optimizer.stream([row.query for row in left]), strict=True):
                        journal.append(row, record)
                        done += 1
                        bar.advance()
        counts = journal.finish()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{done} of {len(rows)} records are in {journal.path}") from None
    sys.stderr.write(f"{journal.output}: {len(rows)} records: {_summary(counts)}\n")
    return 0


def _summary(counts: Mapping[str, int]) -> str:
    """How many prompts came how: `3 as the model wrote them, 1 refined`."""
    named = {
        "sampled": "as the model wrote them",
        "refined": "refined",
        "query": "fell back to the query",
        "refused": "refused as unsafe",
    }
    return ", ".join(f"{counts[how]} {words}" for how, words in named.items() if counts.get(how))
