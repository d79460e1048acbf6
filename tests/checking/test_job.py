"""What `vpo run` and `vpo plan` check before Hydra or a stage does anything."""

import sys

import pytest
import yaml

from vpo.cli.entry import main

MARK = "marked.txt"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's folder with a package of his own, whose import and whose building leave a mark."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "markme").mkdir()
    (tmp_path / "markme/__init__.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / MARK)!r}).write_text('imported')\n"
        "class Film:\n    def __init__(self, **given): Path(" + repr(str(tmp_path / MARK)) + ").write_text('built')\n"
        "    needs_clips = False\n    def splits(self): return {}\n    def fingerprint(self): return ''\n"
        "    def map(self, work, items): return map(work, items)\n    def mirror(self, folder): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("markme", None)


def experiment(home, content):
    (home / "conf/experiment").mkdir(parents=True, exist_ok=True)
    (home / "conf/experiment/theirs.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))


TARGET = {"_target_": "markme.Film"}


@pytest.mark.parametrize("verb", [["run"], ["plan"], pytest.param(["run", "-m", "seed=1,2"], marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"judge": TARGET}, "_target_ markme.Film is not allowed"),
        ({"dataset": TARGET}, "_target_ markme.Film is not allowed"),
        ({"executor": TARGET}, "_target_ markme.Film is not allowed"),
        ({"logger": {"x": TARGET}}, "_target_ markme.Film is not allowed"),
        ({"evaluator": {"x": TARGET}}, "_target_ markme.Film is not allowed"),
        ({"method": {"x": {**TARGET, "label": "x"}}}, "_target_ markme.Film is not allowed"),
        ({"backbone": {"corpus": TARGET}}, "_target_ markme.Film is not allowed"),
        ({"backbone": {"template": [TARGET]}}, "markme|backbone.template"),
        ({"dataset": {"seed": "${oc.decode:'{_target_: markme.Film}'}"}}, "_target_ markme.Film is not allowed"),
        ({"sampling": {"k": TARGET}}, "sampling.k"),
        ({"trainer": {"strategy_options": {"x": TARGET}}}, "nothing is built from trainer.strategy_options.x"),
        ({"judge": TARGET, "build": {"allow": ["markme."]}}, r"build.allow=[markme.] stands in a file"),
        ({"hydra": {"callbacks": {"x": TARGET}}}, "hydra.callbacks would run code"),
        ({"hydra": {"job_logging": {"handlers": {"x": {"()": "markme.Film"}}}}}, "would run markme.Film"),
        ({"hydra": {"hydra_logging": {"formatters": {"x": {"class": "markme.Film"}}}}}, "would run markme.Film"),
        ({"hydra": {"job_logging": {"handlers": {"x": {"class": "logging.os.system"}}}}}, "would run logging.os.system"),
        ({"hydra": {"job_logging": {"handlers": {"x": {"class": "logging.Handler", "a": "ext://markme.Film"}}}}}, "would run markme"),
        ({"hydra": {"launcher": TARGET}}, "hydra.launcher._target_=markme.Film is no launcher"),
        ({"evil": TARGET, "hydra": {"launcher": {"_target_": "${evil._target_}"}}}, "hydra.launcher._target_=markme.Film"),
        ({"hydra": {"sweeper": {"params": {"x": "${oc.decode:'{_target_: markme.Film}'}"}}}}, "hydra.sweeper.params.x"),
        ({"hydra": {"job": {"env_set": {"PYTHONPATH": "/evil"}}}}, "env_set.PYTHONPATH decides which code is run"),
        ({"hydra": {"sweeper": {"params": {"build.allow": "[markme.]"}}}}, "on the command line only"),
    ],
)  # fmt: skip
def test_a_strangers_file_runs_nothing(verb, content, message, home, capfd):
    experiment(home, content)
    assert main([*verb, "experiment=theirs"]) == 2
    error = capfd.readouterr().err
    assert "vpo: " in error
    assert any(part in error for part in message.split("|"))
    assert "Traceback" not in error
    assert not (home / MARK).exists()


def test_what_is_trusted_on_the_command_line_is_planned_without_being_built(home, capfd):
    experiment(home, {"judge": {**TARGET, "anything": {"goes": 1}}, "executor": TARGET, "logger": {"x": TARGET}})
    assert main(["plan", "experiment=theirs", "build.allow=[markme.]", "seed=3"]) == 0, capfd.readouterr().err
    assert (home / MARK).read_text() == "imported"


def test_the_data_set_of_a_plan_is_built_after_the_check(home, capfd):
    (home / "conf/dataset").mkdir(parents=True)
    (home / "conf/dataset/theirs.yaml").write_text(yaml.safe_dump({**TARGET, "path": "q.json"}))
    assert main(["plan", "dataset=theirs", "build.allow=[markme.]", "judge._target_=os.system"]) == 2
    assert not (home / MARK).exists() or (home / MARK).read_text() == "imported"
    assert main(["plan", "dataset=theirs", "build.allow=[markme.]"]) == 0, capfd.readouterr().err
    assert (home / MARK).read_text() == "built"  # its fingerprint is a part of the keys


@pytest.mark.parametrize("node", [{"trust_remote_code": True}, {"options": [{"trust_remote_code": "yes"}]}])
def test_code_of_a_models_repository_is_never_trusted(node, home, capfd):
    (home / "conf/generator").mkdir(parents=True)
    (home / "conf/generator/theirs.yaml").write_text(yaml.safe_dump({**TARGET, **node}))
    assert main(["plan", "generator=theirs", "build.allow=[markme.]"]) == 2
    assert "trust_remote_code" in capfd.readouterr().err
