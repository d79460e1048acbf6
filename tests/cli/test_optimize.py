"""`vpo optimize` in processes of its own, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.chat_models import llama3_tokenizer, save_llama
from tests.conftest import ROOT, run_vpo

QUERIES = [f"a cute dog number {number} runs on the grass -ar 16:9" for number in range(24)]
QUICK = ("max-new-tokens=8", "resamples=0")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny random Llama with a chat format."""
    return f"model={save_llama(tmp_path_factory.mktemp('model'), llama3_tokenizer())}"


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def optimize(*arguments, cwd, **named):
    return run_vpo("optimize", *arguments, cwd=cwd, **named)


def started(cwd, *arguments):
    """The command, running; it is given its own group, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "vpo", "optimize", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_lines(path, count, process):
    end = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_query_gives_one_line_on_standard_output(tmp_path, model):
    done = optimize("a cute dog on the grass -ar 16:9", model, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or done.stderr.startswith(
        "vpo: no prompt passed the checks, so the query comes back as it is ("
    )
    assert done.stdout.count("\n") == 1
    assert "dog" in done.stdout
    assert "16:9" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_json_gives_the_record(tmp_path, model):
    done = optimize("a cute dog on the grass -ar 16:9", "--json", model, *QUICK, cwd=tmp_path)
    record = json.loads(done.stdout)
    assert record["flags"] == {"aspect_ratio": "16:9"}
    assert record["query"] == "a cute dog on the grass -ar 16:9"
    assert {"prompt", "verdict", "candidates", "tokens", "seconds", "fell_back", "how", "problems"} <= set(record)


@pytest.mark.slow
def test_standard_input_gives_a_line_each(tmp_path, model):
    done = subprocess.run(
        [sys.executable, "-m", "vpo", "optimize", "-", model, *QUICK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input="a cute dog\n\na red car\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [word in line for word, line in zip(("dog", "car"), done.stdout.splitlines(), strict=True)] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_batch_goes_on_after_its_process_was_ended(tmp_path, model, number):
    """What was written stays, nothing is missing and nothing is there twice; the records are those of an undisturbed start."""
    (tmp_path / "q.txt").write_text("\n".join(QUERIES))
    command = ("input=q.txt", "output=p.jsonl", model, "batch-size=1", "max-new-tokens=60", "resamples=1")
    process = started(tmp_path, *command)
    wait_for_lines(tmp_path / "p.jsonl", 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "Traceback" not in errors
    before = (tmp_path / "p.jsonl").read_bytes()
    kept = before[: before.rindex(b"\n") + 1]
    assert 3 <= kept.count(b"\n") < len(QUERIES)
    if number == signal.SIGINT:
        count = kept.count(b"\n")
        assert f"{count} of {len(QUERIES)} records are in p.jsonl; the same command goes on from here" in errors
    done = optimize(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.jsonl").read_bytes().startswith(kept)
    assert [one["query"] for one in records(tmp_path / "p.jsonl")] == QUERIES
    if number == signal.SIGKILL:
        whole = optimize(*command[:1], "output=whole.jsonl", *command[2:], cwd=tmp_path)
        assert whole.returncode == 0, whole.stderr
        texts = [[one["prompt"] for one in records(tmp_path / name)] for name in ("p.jsonl", "whole.jsonl")]
        assert texts[0] == texts[1]


def test_no_model_says_which_command_gets_one(tmp_path):
    done = optimize("a cute dog", cwd=tmp_path, VPO_ASSETS=str(tmp_path / "none"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "vpo assets get smollm2-135m-instruct" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no query"),
        (("",), "the query is empty"),
        ((" \t",), "the query is empty"),
        (("dog " * 5000,), "the query has 20,000 characters, more than max-chars=2000"),
        (("--", "--ar 16:9"), "holds nothing but"),
        (("Ein Hund läuft im Regen über eine Straße", "language=refuse"), "is not English (de)"),
        (("a", "cute", "dog"), '3 queries; put one into quotes ("a cute dog")'),
        (("a dog", "input=q.txt"), "a query and an input; give one of them"),
        (("input=gone.txt",), "gone.txt: no such file"),
        pytest.param(("a dog", "model=."), "no config.json", marks=pytest.mark.slow),
        pytest.param(("a dog", "model=/nowhere"), "model=/nowhere: no such folder", marks=pytest.mark.slow),
        pytest.param(("a dog", "model=runs/default/gone"), "no such folder", marks=pytest.mark.slow),
        (("a dog", "model=x", "target=sora"), "target=sora does not exist; choose one of"),
        (("a dog", "model=x", "n=many"), "invalid int value: 'many'"),
        (("a dog", "modle=x"), "modle is unknown, did you mean model?"),
        (("a dog", "model=x", "output=p.xlsx"), "unknown suffix '.xlsx'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, words):
    done = optimize(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_refused_query_prints_nothing_and_ends_with_2(tmp_path, model):
    """Eight bytes of a random model are no prompt, and what the query asks for is not given back."""
    done = optimize("a man stabs a woman to death with a knife", model, *QUICK, "--json", cwd=tmp_path)
    record = json.loads(done.stdout)
    assert record["prompt"] is None or "stab" not in record["prompt"]
    assert done.returncode == (2 if record["prompt"] is None else 0)


def test_help_names_the_kinds_of_models(tmp_path):
    done = optimize("--help", cwd=tmp_path)
    assert done.returncode == 0
    for words in ("CCCCCC/VPO-2B", "http://localhost:8000/v1", "search", "cogvideox      reads 226 tokens"):
        assert words in done.stdout
