"""What a stranger types, right and wrong."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tests.conftest import ROOT, run_vpo
from vpo.checking.overrides import readable
from vpo.cli.arguments import Parser
from vpo.cli.entry import main
from vpo.errors import UserError
from vpo.runs import labels_of
from vpo.stages import STAGES
from vpo.targets import target_class


def test_help_names_every_stage_with_what_it_does(capsys):
    assert main(["run", "--help"]) == 0
    shown = capsys.readouterr().out
    for stage in STAGES:
        assert f"  {stage.name:<10} {stage.__doc__.splitlines()[0]}" in shown


def test_a_defect_in_any_verb_shows_no_secret(tmp_path):
    code = (
        "import sys; from vpo.cli import entry\n"
        "def broken(arguments): raise RuntimeError('sent Authorization: Bearer abcdef0123456789')\n"
        "entry.VERBS['table'] = broken; sys.argv = ['vpo', 'table']; sys.exit(entry.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "RuntimeError: sent Authorization" in done.stderr
    assert "abcdef0123456789" not in done.stderr.rpartition("RuntimeError")[2]


def test_help_is_there_at_once(tmp_path):
    started = time.monotonic()
    done = run_vpo("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "vpo run" in done.stdout
    assert time.monotonic() - started < 5  # a person's patience; that nothing heavy is imported is the next test


def test_help_and_the_package_import_nothing_heavy():
    code = "import sys, vpo, vpo.cli.entry; vpo.cli.entry.main(['--help']); print(sorted({m.split('.')[0] for m in sys.modules}))"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for heavy in (
        "torch",
        "transformers",
        "huggingface_hub",
        "hydra",
        "omegaconf",
        "wandb",
        "diffusers",
        "matplotlib",
        "numpy",
    ):
        assert f"'{heavy}'" not in modules, heavy


@pytest.mark.parametrize("verb", ["table", "evaluate", "store", "export", "push", "pull", "assets"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_a_verb_tells_its_usage(verb, flag, capsys):
    assert main([verb, flag]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"usage: vpo {verb} ")
    assert printed.err == ""


def test_help_of_a_verb_in_words(capsys):
    assert main(["help", "store"]) == 0
    assert capsys.readouterr().out.startswith("usage: vpo store ")
    assert main(["help"]) == 0
    assert capsys.readouterr().out.startswith("usage: vpo [-h] [-V] <verb>")


def test_help_of_run_names_vpo(tmp_path):
    done = run_vpo("run", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: vpo run [key=value ...]")
    assert "feedback: both, given, prompt_a_video, text, video" in done.stdout
    assert "--multirun" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "no verb 'rum', did you mean 'run'?"),
        (["run", "--hlp"], "unrecognized arguments: --hlp; `vpo run --help`"),
        (
            ["run", "-m", "--cfg", "job", "seed=0,1"],
            "run: argument -c/--cfg: not allowed with argument -m/--multirun; use",
        ),
        (["run", "jugde=rules"], "the config has no key jugde; did you mean judge?"),
        (
            ["run", "method=[original,foo]"],
            "method=foo is no choice of method; choose one of base_fewshot, cogvideox_style,",
        ),
        (["run", "evaluator=[saftey]"], "evaluator=saftey is no choice of evaluator; did you mean safety?"),
        pytest.param(["run", "method=original", "stop_after=dpo"], "this run has no stage dpo", marks=pytest.mark.slow),
        (["run", "judge=ruels"], "judge=ruels is no choice of judge; did you mean rules?"),
        (["run", "sampling.kk=3"], "the config has no key sampling.kk; did you mean sampling.k?"),
        (["run", "sampling.k=0"], "sampling.k=0 must be a whole number of at least 2"),
        pytest.param(
            ["run", "sampling.k=four"], "sampling.k=four must be a whole number, such as 4", marks=pytest.mark.slow
        ),
        pytest.param(
            ["run", "~seed"],
            "the config has no key seed, from which other keys take their value",
            marks=pytest.mark.slow,
        ),
        (["plan", "seed=99999999999"], "seed=99999999999 must be a whole number from 0 to 4294967295"),
        pytest.param(["plan", "+foo=1"], "there is no key foo", marks=pytest.mark.slow),
        (["run", "dataset=file"], "dataset.path must be given"),
        (["run", "dataset=file", "dataset.path=none.json"], "none.json: no such file or directory; set dataset.path"),
        (["run", "dataset=file", "dataset.path=broken.jsonl"], "broken.jsonl: line 7 is not JSON"),
        (["run", "experiment=smoke", "paths.store=/proc/nowhere"], "set paths.store to a folder that can be written"),
        (["store", "rm"], "store: argument action: invalid choice: 'rm' (choose from 'ls', 'prune'); use `vpo store"),
        (["table", "none"], "experiments/tables/none.yaml does not exist"),
        (["exprot", "runs/x"], "no verb 'exprot', did you mean 'export'?"),
        (["export", "runs/default/seed=1-1234abcd"], "no such folder; finished runs in .: none"),
        (
            ["push", "runs"],
            "the following arguments are required: <owner>/<name>; use `vpo push <folder> <owner>/<name>",
        ),
        (["pull", "owner/name", "revison=main"], "revison is unknown, did you mean revision?"),
        (["pull", "owner/name", "force=1"], "force=1 must be true or false"),
        (["run", "seed=[1"], "seed=[1 is no key=value that can be read (is a bracket or a quote not closed?)"),
        (["plan", "-m", "seed={1", "stop_after=queries"], "as in 'seed=\"a, b\"'"),
        (["plan", "dataset=file", "dataset.path=a,b.json"], "dataset.path=a,b.json"),
        pytest.param(["run", "dataset.test=a (1)"], "dataset.test=a (1) must be", marks=pytest.mark.slow),
        pytest.param(
            ["run", "dataset=file", "dataset.path=~/none here.json"],
            "/none here.json: no such file or directory",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_bad_input_is_one_line_with_the_cure_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "broken.jsonl").write_text('"a dog"\n' * 6 + '{"query": \n')
    done = run_vpo(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("vpo: ")
    assert message in line


@pytest.mark.parametrize(
    "name",
    [
        "~/q.json", "q[1].json", "a (1).json", "a=b.json", "it's.json", 'say "a".json', "a#b.json", "é ü 雨.json", "f(x).json",
        "a]b}.json", "q!.json", "a&b;c.json", "back\\slash'.json",
    ],
)  # fmt: skip
def test_a_path_is_taken_as_it_is_typed(tmp_path, monkeypatch, name):
    """Hydra's grammar has no word for these; a shell has removed the quotes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (key,) = OverridesParser.create().parse_overrides([readable(f"dataset.path={name}")])
    assert key.value() == name.replace("~", str(tmp_path))


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "seed=[1",
        "seed=1,2",
        "a={b:1",
        "a=${b}!",
        "a='b",
        "~seed",
        "+a=b",
        "a=choice(1,2",
        "dataset.path='q[1].json'",
    ],
)
def test_what_hydra_reads_and_what_may_mean_more_is_left_to_hydra(override):
    assert readable(override) == override


def test_paths_of_all_kinds_work_in_a_run(tmp_path):
    place = "~/it's [1] (ü).json"
    (tmp_path / place[2:]).write_text(json.dumps([f"a dog number {number}" for number in range(9)]), encoding="utf-8")
    given = ["dataset=file", "dataset.sft=4", "dataset.dpo=2", "dataset.test=3", f"dataset.path={place}"]
    done = run_vpo("run", "experiment=smoke", *given, "stop_after=queries", cwd=tmp_path, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "runs").rglob("config.yaml")
    assert yaml.safe_load(record.read_text(encoding="utf-8"))["dataset"]["path"] == str(tmp_path / place[2:])


def test_overrides_may_stand_on_both_sides_of_flags(tmp_path):
    done = run_vpo("run", "seed=3", "--cfg", "job", "-p", "seed", "rounds=2", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip().splitlines()[-1]) == (0, "3"), done.stderr


def test_options_in_either_spelling(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, yes in enumerate((["yes=true"], ["--yes"], ["--yes=true"])):
        (tmp_path / f"s{number}/draft/0a.partial").mkdir(parents=True)
        where = f"paths.store=s{number}" if number else f"--paths.store=s{number}"
        assert main(["store", "prune", where, "yes=false"]) == 0
        assert main(["store", *yes, "prune", where]) == 0
        assert "deleted 0 B in 1 results" in capsys.readouterr().out
        assert not list((tmp_path / f"s{number}/draft").glob("*.partial"))


@pytest.mark.parametrize("given", [["batch_size=3"], ["--batch_size=3"], ["--batch_size", "3"], ["batch-size=3"]])
def test_an_option_may_be_called_as_in_python_and_a_text_keeps_its_words(given):
    parser = Parser("x", usage="vpo x", description="")
    parser.add_argument("query")
    parser.option("batch-size", "", type=int, dest="batch_size")
    parser.option("api_key", "")
    read = parser.parse(["the word batch_size glows", "api_key=k", *given])
    assert (read.query, read.batch_size, read.api_key) == ("the word batch_size glows", 3, "k")


def test_a_home_folder_is_found_where_the_shell_leaves_it_to_us(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "store").mkdir()
    assert main(["store", "ls", "paths.store=~/store", "--paths.runs", "~/runs"]) == 0


# A locale without letters beyond ASCII, which Python is not to take for UTF-8.
POSIX = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "vpo"],
        ["-c", "import sys; from vpo.cli.entry import main; sys.exit(main())"],
    ],
)
@pytest.mark.slow
def test_a_posix_locale_and_names_that_are_not_ascii(tmp_path, command):
    """Names of the folder, the file and a key's value; what is printed, too."""
    here = tmp_path / "prüfung"
    here.mkdir()
    (here / "anfragen-ü.txt").write_text("".join(f"ein Hund läuft {number}\n" for number in range(9)), encoding="utf-8")
    given = ["dataset=file", "dataset.sft=4", "dataset.dpo=2", "dataset.test=3", "dataset.path=anfragen-ü.txt"]
    done = subprocess.run(
        [sys.executable, *command, "run", "experiment=smoke", *given, "paths.store=läger", "stop_after=draft"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT), **POSIX},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    (record,) = (here / "runs").rglob("config.yaml")
    assert yaml.safe_load(record.read_text(encoding="utf-8"))["dataset"]["path"] == "anfragen-ü.txt"
    assert any("läuft" in rows.read_text(encoding="utf-8") for rows in (here / "läger").glob("queries/*/*.jsonl"))


def test_what_a_terminal_cannot_show_is_escaped(tmp_path):
    done = run_vpo("store", "ls", "paths.store=läger", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (2, "vpo: store: l\\xe4ger is no folder; set paths.store\n")


def test_an_argument_that_is_not_utf8_is_one_line(tmp_path):
    command = [sys.executable, "-m", "vpo", "run", "dataset=file", b"dataset.path=\xe9.txt"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"is not UTF-8 text" in done.stderr


def test_a_label_that_the_user_gave_stands():
    with initialize_config_module("vpo.conf", version_base="1.3"):
        for given, due in (
            ([], {"sft": "SFT", "dpo": "DPO"}),
            (["objective=ipo"], {"dpo": "IPO"}),
            (["objective=ipo", "method.dpo.label=Ours"], {"dpo": "Ours"}),
            (["objective=grpo", "method.sft.label=Baseline"], {"sft": "Baseline", "grpo": "GRPO"}),
            (["objective.label=Mine"], {"dpo": "Mine"}),
        ):
            config = OmegaConf.to_container(compose("config", overrides=given), resolve=True)
            assert labels_of(config).items() >= due.items(), given


def test_a_class_that_is_not_there_is_one_line(caplog):
    with pytest.raises(UserError) as raised:
        target_class({"_target_": "vpo.judge.rules.judge.Nope"})
    assert str(raised.value).startswith("_target_ vpo.judge.rules.judge.Nope cannot be imported: ")
    assert "\n" not in str(raised.value)
    assert not caplog.records


def test_one_failing_job_of_a_sweep_does_not_stop_the_others(tmp_path):
    done = run_vpo("run", "-m", "experiment=smoke", "stop_after=queries", "dataset.test=0,8", cwd=tmp_path)
    assert done.returncode == 2
    assert "the split 'test' is empty" in done.stderr
    assert "stopped after queries" in done.stderr
    jobs = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert jobs == ["[1/2] dataset.test=0", "[2/2] dataset.test=8"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "store"}


@pytest.mark.slow
def test_the_plan_of_a_sweep_leaves_nothing(tmp_path):
    done = run_vpo(
        "plan", "-m", "experiment=smoke", "stop_after=queries", "feedback=text,both", "seed=1,2", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    jobs = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert jobs[1] == "[2/4] feedback=text seed=2"
    assert len(jobs) == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["here", 'it\'s "mine" [ü], {a}'])
def test_configs_of_the_user_join_the_search_path(tmp_path, name):
    (tmp_path / name / "conf/experiment").mkdir(parents=True)
    (tmp_path / name / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 42\n")
    done = run_vpo("run", "experiment=mine", "--cfg", "job", cwd=tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert "seed: 42" in done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder(tmp_path):
    """Configs, templates and the judge's word lists travel with the package."""
    copy = tmp_path / "source"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "store", "runs", "build"))
    pip = [sys.executable, "-m", "pip"]
    quiet = {"check": True, "capture_output": True}
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, copy], **quiet)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "site", wheel], **quiet)
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "vpo", "run", "experiment=smoke"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((empty / "runs").rglob("table.md"))
    where = subprocess.run(
        [sys.executable, "-c", "import vpo.conf; print(vpo.conf.__file__)"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert str(tmp_path / "site") in where.stdout


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_was_finished_stays(tmp_path, small_disk):
    done = run_vpo("run", "experiment=smoke", f"paths.store={small_disk}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vpo: ")]
    assert "no space left on device" in line
    assert "Traceback" not in done.stderr
    assert list(small_disk.glob("queries/*/manifest.json"))
