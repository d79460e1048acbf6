"""A config that holds a secret is refused in one line that does not show it, and nothing is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vpo.checking.secrets import check_override_secrets, check_secrets
from vpo.cli.entry import main
from vpo.errors import UserError
from vpo.storage.store import stage_key

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cr3t-Pa55.word-0123"

FORMS = [
    f"+judge.api_key={SECRET}", f"judge.api_key={SECRET}", f"+judge.headers.Authorization='Bearer {SECRET}'",
    f"+judge={{api_key: {SECRET}}}", f"+judge.headers={{X-Api-Key: {SECRET}}}", f"+judge.url=https://me:{SECRET}@example.org/v1",
    f"+judge.url='https://example.org/v1?token={SECRET}'", f"+backbone.token={SECRET}", f"+logger.wandb.api_key={SECRET}",
    f"+judge.password={SECRET},{SECRET}2", f"+generator.cookie=[{SECRET}", f"+judge.api_key={SECRET}]", f"judge.token='{SECRET}",
    f"++my.own.client_secret={SECRET}", f"method.original.label=Bearer {SECRET}", f"+judge.headers=[[Authorization,{SECRET}]]",
]  # fmt: skip


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize("override", FORMS)
def test_an_override_with_a_secret_is_one_line_without_it(verb, override, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([verb, override]) == 2
    out, error = capfd.readouterr()
    assert SECRET not in out + error
    assert "holds a secret" in error
    assert "environment" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_with_a_secret_writes_no_multirun_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "-m", f"+judge.api_key={SECRET}", "seed=1,2"]) == 2
    assert SECRET not in "".join(capfd.readouterr())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["run"], ["plan"], ["run", "-m", "seed=1,2"], ["run", "--cfg", "job"]])
@pytest.mark.parametrize(
    "node",
    [
        {"api_key": SECRET}, {"headers": {"Authorization": f"Bearer {SECRET}"}}, {"url": f"http://me:{SECRET}@localhost/v1"},
        {"clients": [{"client": {"auth_token": SECRET}}]}, {"api_key": "${oc.env:A_VARIABLE}"},
    ],
)  # fmt: skip
def test_a_file_with_a_secret_is_refused_before_anything_is_written(arguments, node, tmp_path, monkeypatch, capfd):
    """In a user's own class, too: what it needs it reads from the environment."""
    monkeypatch.setenv("A_VARIABLE", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/generator").mkdir(parents=True)
    (tmp_path / "conf/generator/mine.yaml").write_text(yaml.safe_dump({"_target_": "mine.Film", **node}))
    assert main([*arguments, "generator=mine", "build.allow=[mine.]"]) == 2
    out, error = capfd.readouterr()
    assert SECRET not in out + error
    assert error.startswith("vpo: config: generator.")
    assert "holds a secret" in error
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_the_value_of_a_variable_is_a_secret_under_any_key(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    for override in (f"method.original.label={SECRET}", "method.original.label=${oc.env:HF_TOKEN}"):
        assert main(["plan", "method=[original]", override]) == 2
        error = capfd.readouterr().err
        assert SECRET not in error
        assert "method.original.label holds the value of the environment's HF_TOKEN" in error


def test_the_line_names_the_key_and_the_field_to_use():
    with pytest.raises(UserError, match=r"config: judge\.api_key holds a secret; .* a field such as api_key_env names"):
        check_secrets({"judge": {"api_key": SECRET}})
    with pytest.raises(UserError, match=r"config: engine\.headers\.X-Api-Key holds a secret; .* api_key_env names"):
        check_override_secrets([f"+engine.headers.X-Api-Key={SECRET}"])


def test_what_is_no_secret_passes():
    overrides = [
        "seed=1", "sampling.max_new_tokens=5", "+judge.api_key_env=OPENAI_API_KEY", "+judge.token=null", "dataset.path=a:b@c.json",
        "~logger.wandb", "method=[original,sft]", "+judge.url=https://example.org:80/v1", "+judge.api_key=", "+eos_token=x",
    ]  # fmt: skip
    check_override_secrets(overrides)


def test_no_key_depends_on_a_secret():
    nodes = [{"judge": {"api_key": one, "model": "m"}} for one in ("one", "two")]
    assert len({stage_key("critique", node, {}) for node in nodes}) == 1
    assert stage_key("critique", {"judge": {"api_key": "one", "model": "n"}}, {}) != stage_key("critique", nodes[0], {})


def test_hydras_own_error_hides_a_secret(tmp_path, monkeypatch, capfd):
    """Of a form that is not recognised as an override's secret beforehand."""
    monkeypatch.setenv("MY_TOKEN", "short-s3cr3t")
    monkeypatch.chdir(tmp_path)
    main(["plan", "judge.nope=[xx short-s3cr3t"])
    assert "s3cr3t" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_a_whole_run_leaves_no_value_of_the_environments_secrets(tmp_path):
    """A user's class that reads its key from the environment, shows it in its log and fails with it in its error."""
    (tmp_path / "leaky.py").write_text(
        "import logging, os\n"
        "from vpo.method.original import Original\n"
        "class Leaky(Original):\n"
        "    def __init__(self, fail):\n"
        "        self.fail = fail\n"
        "        logging.getLogger('vpo.leaky').warning('asked with %s', os.environ['LEAKY_API_KEY'])\n"
        "    def optimize(self, queries, seed):\n"
        "        if self.fail: raise RuntimeError('refused: Bearer ' + os.environ['LEAKY_API_KEY'])\n"
        "        return super().optimize(queries, seed)\n"
    )
    (tmp_path / "conf/method").mkdir(parents=True)
    (tmp_path / "conf/method/leaky.yaml").write_text(
        "# @package method.leaky\n_target_: leaky.Leaky\nfail: false\nlabel: Leaky\n"
    )
    environment = {**os.environ, "LEAKY_API_KEY": SECRET, "PYTHONPATH": f"{ROOT}:{tmp_path}", "WANDB_MODE": "offline"}
    common = [
        sys.executable, "-m", "vpo", "run", "experiment=smoke", "method=[original,leaky]", "evaluator=[alignment]",
        "logger=[csv,wandb]", "build.allow=[leaky.]",
    ]  # fmt: skip
    for fail, code in (("false", 0), ("true", 2)):
        done = subprocess.run(
            [*common, f"method.leaky.fail={fail}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        assert "***" in done.stderr
        assert SECRET not in done.stdout + done.stderr
    files = [path for folder in ("runs", "store") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert "asked with ***" in next((tmp_path / "runs").rglob("log.txt")).read_text()
    assert json.loads(next((tmp_path / "runs").rglob("results.json")).read_text())["methods"]
