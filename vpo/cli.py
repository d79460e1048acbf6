"""The command line: `vpo <verb> [hydra overrides]`. It is light; what a verb needs is imported when the verb runs."""

import difflib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vpo import __version__
from vpo.arguments import Usage
from vpo.errors import Terminated, UserError

HELP = """\
vpo: train a language model to rewrite text-to-video queries into prompts, and measure that it helped

  vpo run  [key=value ...]          the whole method; finished stages are taken from the store
  vpo run -m key=a,b [...]          a sweep: every combination, shared stages once
  vpo plan [key=value ...]          the stages of a run, which are done, and whether training fits into memory
  vpo table <name|file.yaml> [...]  a table over runs, from their results
  vpo store ls | prune              what is stored, how large, who uses it
  vpo export <run> [policy=dpo]     the trained model for plain transformers, with a model card
  vpo push <folder> <owner>/<name>  to the Hugging Face Hub, private unless public=true
  vpo pull <owner>/<name>           from there, as a backbone

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
    """Run a verb.

    Returns:
        The exit code: 0 done, 1 a defect of ours (with its traceback), 2 bad input (one line), 128 + a signal's number where
        that ended it (one line).
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"vpo {__version__}\n")
        return 0
    verb, rest = arguments[0], arguments[1:]
    try:
        if verb not in VERBS:
            near = difflib.get_close_matches(verb, VERBS, n=1)
            raise UserError(
                f"no verb {verb!r}{f', did you mean {near[0]!r}?' if near else ''}; `vpo --help` lists them"
            )
        return VERBS[verb](rest)
    except Usage as usage:
        sys.stdout.write(f"usage: {usage}\n")
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


def _run(arguments: list[str]) -> int:
    from vpo.signals import answer_outside_of_training

    answer_outside_of_training()  # before what takes seconds to import
    from vpo.job import run_job

    return _with_hydra("vpo run", run_job, arguments)


def _plan(arguments: list[str]) -> int:
    from vpo.job import plan_job

    with tempfile.TemporaryDirectory() as gone:  # a plan leaves nothing, Hydra's multirun.yaml of a sweep neither
        return _with_hydra("vpo plan", plan_job, _and(f'hydra.sweep.dir="{gone}"', arguments))


def _table(arguments: list[str]) -> int:
    from vpo.report import table_command

    return table_command(arguments)


def _store(arguments: list[str]) -> int:
    from vpo.housekeeping import store_command

    return store_command(arguments)


def _export(arguments: list[str]) -> int:
    from vpo.export import export_command

    return export_command(arguments)


def _push(arguments: list[str]) -> int:
    from vpo.hub import push_command

    return push_command(arguments)


def _pull(arguments: list[str]) -> int:
    from vpo.hub import pull_command

    return pull_command(arguments)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "run": _run, "plan": _plan, "table": _table, "store": _store, "export": _export, "push": _push, "pull": _pull
}  # fmt: skip


def _with_hydra(program: str, task: Callable[..., None], arguments: list[str]) -> int:
    """Let Hydra compose (or sweep) and call the task; errors become one line, and the other jobs of a sweep go on."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from vpo.job import announced

    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise to us: Hydra's own report is a paragraph and exit code 1
    own = Path.cwd() / "conf"
    if own.is_dir() and not (own / "config.yaml").exists() and not any("hydra.searchpath" in one for one in arguments):
        arguments = _and(f'hydra.searchpath=["file://{own}"]', arguments)
    task = announced(task, _check_flags(program, arguments))
    sys.argv = [program, *arguments]
    codes: list[int] = []
    try:
        hydra.main(version_base="1.3", config_path="pkg://vpo.conf", config_name="config")(_guarded(task, codes))()
    except (HydraException, OmegaConfBaseException) as error:
        from vpo.hints import one_line

        return _complain(one_line(error))
    return max(codes, default=0)


def _and(override: str, arguments: list[str]) -> list[str]:
    """One override more, beside the others: argparse takes no overrides on both sides of a flag such as `-m` or `--cfg job`."""
    at = next((at for at, one in enumerate(arguments) if "=" in one and not one.startswith("-")), 0)
    return [*arguments[:at], override, *arguments[at:]]


def _check_flags(program: str, arguments: list[str]) -> list[str]:
    """The overrides. Raises UserError on flags that Hydra refuses; left to itself it prints its usage, or a traceback."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> None:
        raise UserError(f"{message}; `{program} --help` and `{program} --hydra-help` tell what there is")

    parser = get_args_parser()
    parser.error = refuse
    told = parser.parse_args(arguments)
    modes = [f"--{name}" for name in ("run", "multirun", "cfg", "info") if getattr(told, name)]
    if len(modes) > 1:
        refuse(f"{' and '.join(modes)} do not go together")
    return told.overrides


def _guarded(task: Callable[..., None], codes: list[int]) -> Callable[..., None]:
    """The task with its failure told at once and kept for the exit code.

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
            from vpo.hints import one_line

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
