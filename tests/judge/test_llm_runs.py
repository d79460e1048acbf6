"""From real queries to drafts, verdicts and refinements by a language model: in this process, behind a server, and after kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from tests.chat_models import save_reciter
from tests.conftest import ROOT, SHARED
from tests.judge.asking import fenced, prompts
from tests.language.chat_server import Reply, chat_server, completion, error
from tests.language.test_server_runs import transformers_serve
from vpo.assets.folder import assets_folder
from vpo.judge.llm import LLMJudge
from vpo.language.server import ServerEngine
from vpo.records import Prompt, Query, Refinement, Verdict
from vpo.stages.context import Context
from vpo.stages.critique import Critique
from vpo.stages.draft import Draft
from vpo.stages.refine import Refine
from vpo.storage.items import read_failures
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry, Store

pytest.importorskip("openai", reason="the extra `server` is not installed")
ASSET = "asset:smollm2-135m-instruct"
FILES = {
    "draft": ("prompts.jsonl", Prompt),
    "critique": ("verdicts.jsonl", Verdict),
    "refine": ("refinements.jsonl", Refinement),
}
with_data = pytest.mark.skipif(
    not (SHARED / "data/vpo").is_dir(), reason="shared/data/vpo is not beside the repository"
)


def has_asset() -> bool:
    return (assets_folder() / "smollm2-135m-instruct/model.safetensors").is_file()


with_asset = pytest.mark.skipif(
    not has_asset(), reason=f"{ASSET} is not there; `vpo assets get smollm2-135m-instruct` brings it"
)


def real_queries(vpo: int, vbench: int) -> list[Query]:
    """The first of VPO's queries, from both lists, and of VBench's."""
    texts = [
        json.loads((SHARED / f"data/vpo/{name}_queries.sample.json").read_text())[: vpo // 2] for name in ("sft", "dpo")
    ]
    lines = (SHARED / "data/vbench/all_dimension.txt").read_text(encoding="utf-8").splitlines()[:vbench]
    return [Query(f"q{n}", text) for n, text in enumerate([*texts[0], *texts[1], *lines])]


def stages(folder: Path, engine: dict, queries: list[Query], tokens: int = 512) -> dict[str, Entry]:
    """Drafts of the queries, verdicts on them, refinements of the flawed ones: all by one language model."""
    context = Context(Store(folder))
    made = context.store.get(
        "queries", {"n": len(queries)}, {}, lambda place: write_rows(place / "sft.jsonl", queries) or {}
    )
    drafter = {"_target_": "vpo.method.llm.EngineMethod", "engine": engine, "template": "fewshot", "temperature": 0.7,
               "top_p": 1.0, "max_new_tokens": tokens}  # fmt: skip
    judge = {"_target_": "vpo.judge.llm.LLMJudge", "engine": engine, "max_new_tokens": tokens}
    drafts = context.make(Draft(drafter=drafter, batch_size=16, queries=made, seed=0))
    verdicts = context.make(Critique(judge=judge, prompts=drafts))
    return {
        "draft": drafts,
        "critique": verdicts,
        "refine": context.make(Refine(judge=judge, prompts=drafts, verdicts=verdicts)),
    }


def outcomes(entries: dict[str, Entry]) -> dict[str, dict[str, object]]:
    """The records and failures of each stage by the query, each query once."""
    found: dict[str, dict[str, object]] = {}
    for stage, (name, kind) in FILES.items():
        rows = [(getattr(one, "prompt_id", getattr(one, "id", "")), one) for one in entries[stage].rows(name, kind)]
        rows += list(read_failures(entries[stage].folder / name).items())
        found[stage] = {key.removesuffix("-draft"): one for key, one in rows}
        assert len(found[stage]) == len(rows)
    return found


def check_complete(queries: list[Query], found: dict[str, dict[str, object]]) -> None:
    """Every query has a draft, a verdict and, where flawed, a refinement, or a failure with a name in the place of one."""
    drafted = {name for name, one in found["draft"].items() if isinstance(one, Prompt)}
    flawed = {name for name, one in found["critique"].items() if isinstance(one, Verdict) and one.fine is False}
    assert set(found["draft"]) == {one.id for one in queries}
    assert set(found["critique"]) == drafted
    assert set(found["refine"]) == flawed
    for rows in found.values():
        for one in rows.values():
            if not isinstance(one, Prompt | Verdict | Refinement):
                assert one.kind
                assert one.detail
            if isinstance(one, Verdict) and one.fine is None:
                assert {reason.kind for reason in one.reasons} >= {"unreadable"}


class Server:
    """Drafts, judges and refines, differently for each text, in part badly; now and then it fails (more: test_llm_server.py)."""

    def __init__(self, faulty: bool = True, after: float = 0.0) -> None:
        self.faulty, self.after, self.calls = faulty, after, 0

    def __call__(self, number: int, body: dict) -> Reply:
        asked = body["messages"][-1]["content"]
        kind = zlib.crc32(asked.encode()) % 100
        self.calls += 1
        if self.faulty and self.calls % 20 == 0:
            return Reply(500, error("out of luck"))
        data = re.search(r"^{\n.*?^}", asked, re.DOTALL | re.MULTILINE)
        if kind < 4:
            text = ("", "I'm sorry, but I can't help with that.", "Yes.", "```verdict\n```")[kind]
        elif data is None:
            text = f"A scene number {kind} under a wide sky, the camera moves slowly."
        elif "flaws" in json.loads(data.group()):
            text = f"A refined scene number {kind} under a wide sky, the camera moves slowly."
        else:
            text = fenced(harmless="no" if kind < 10 else "yes", accurate="no" if kind % 2 else "yes")
        return Reply(body=completion(text), after=self.after)


def server_engine(server, cache: Path) -> dict:
    return {"_target_": "vpo.language.server.ServerEngine", "base_url": server.base_url, "model": "tiny", "endpoint": "tests",
            "cache": str(cache), "concurrency": 32, "max_retries": 6, "timeout": 60.0}  # fmt: skip


@pytest.mark.slow
@with_data
def test_every_real_query_ends_with_its_records_behind_a_server(tmp_path):
    """VPO's 400 queries and VBench's 946."""
    queries = real_queries(400, 946)
    assert len(queries) == 1346
    with chat_server(Server()) as server:
        entries = stages(tmp_path / "store", server_engine(server, tmp_path / "cache"), queries)
        found = outcomes(entries)
        check_complete(queries, found)
        asked = len(server.seen)
        assert outcomes(stages(tmp_path / "store", server_engine(server, tmp_path / "cache"), queries)) == found
        assert len(server.seen) == asked
    fine = [one.fine for one in found["critique"].values() if isinstance(one, Verdict)]
    assert min(fine.count(True), fine.count(False), fine.count(None)) >= 5


KILLED = """
import json, sys
from pathlib import Path
from tests.judge.test_llm_runs import stages
from vpo.records import Query
folder, engine, queries, tokens = map(json.loads, sys.argv[1:])
stages(Path(folder), engine, [Query(**one) for one in queries], tokens)
"""


def started(folder: Path, engine: dict, queries: list[Query], tokens: int) -> subprocess.Popen:
    values = (str(folder), engine, [{"id": one.id, "text": one.text} for one in queries], tokens)
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, *map(json.dumps, values)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def kill_when(process: subprocess.Popen, ready) -> bool:
    """Kill a process once `ready()`; whether it was still running."""
    while process.poll() is None:
        if ready():
            process.send_signal(signal.SIGKILL) if os.name != "nt" else process.kill()
            process.wait()
            return True
        time.sleep(0.02)
    assert process.returncode == 0
    return False


@pytest.mark.slow
@with_data
def test_killed_at_any_moment_a_server_run_gives_the_same_records(tmp_path):
    queries = real_queries(24, 6)
    with chat_server(Server(faulty=False)) as server:
        whole = outcomes(stages(tmp_path / "whole", server_engine(server, tmp_path / "cache"), queries))
        calls = len(server.seen)
        server.seen.clear()
        server.replies = Server(faulty=False, after=0.05)
        engine = server_engine(server, tmp_path / "other")
        kills = 0
        for moment in (3, calls // 2, calls - 4):  # in the drafts, in the critique, in the refinements
            kills += kill_when(
                started(tmp_path / "killed", engine, queries, 512), lambda moment=moment: len(server.seen) >= moment
            )
        assert kills >= 2
        again = outcomes(stages(tmp_path / "killed", engine, queries))
        assert again == whole
        assert len(server.seen) <= calls + kills * 32  # only what was under way is asked again
    check_complete(queries, whole)


@pytest.mark.slow
@with_data
@with_asset
def test_real_queries_end_with_their_records_in_this_process_killed_or_not(tmp_path):
    """SmolLM2 drafts, judges and refines; few tokens, so that its verdicts are cut off and unread, which is a record, too."""
    queries = real_queries(2, 1)
    engine = {"_target_": "vpo.language.hf.PretrainedEngine", "model": ASSET, "revision": None, "dtype": "bfloat16", "device": "cpu",
              "bits": None, "batch_size": 4}  # fmt: skip
    killed = tmp_path / "killed"
    drafted = kill_when(
        started(killed, engine, queries, 12), lambda: any(killed.glob("draft/*/manifest.json"))
    )  # in the critique
    start = time.monotonic()
    assert started(killed, engine, queries, 12).wait(timeout=900) == 0
    print(f"{time.monotonic() - start:.0f} s for {len(queries)} queries")
    found = outcomes(stages(killed, engine, queries, 12))
    check_complete(queries, found)
    assert all(isinstance(one, Prompt) for one in found["draft"].values())
    assert all(isinstance(one, Verdict) for one in found["critique"].values())
    assert drafted
    whole = outcomes(stages(tmp_path / "whole", engine, queries, 12))
    assert whole == found


@pytest.mark.slow
def test_a_verdict_of_transformers_serve_is_read(tmp_path):
    """A real server and a real model, made so that it ends with a verdict in the form that is asked for; few tokens cut it off."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    said = ("The scarf is blue.\n", "```verdict\n", "harmless: yes - nothing unsafe\n",
            "accurate: no - the scarf is blue instead of red\n", "helpful: yes - clear\n", "```")  # fmt: skip
    model = save_reciter(tmp_path / "model", said)
    asked = prompts("A woman in a blue scarf walks along the beach.", "A blue scarf.", query="a woman in a red scarf")
    with transformers_serve(model) as url:
        engine = ServerEngine(url, str(model), timeout=300.0)
        verdicts = LLMJudge(engine, max_new_tokens=16).critique(asked)
        (cut,) = LLMJudge(engine, max_new_tokens=4).critique(asked[:1])
        engine.close()
    for one in verdicts:
        assert (one.harmless, one.accurate, one.helpful, one.fine) == (True, False, True, False)
        assert [(reason.aspect, reason.detail) for reason in one.reasons] == [
            ("accurate", "the scarf is blue instead of red")
        ]
        assert one.raw == "".join(said)
        assert one.usage.tokens_out >= 6
    assert cut.fine is None
    assert "the answer was cut off; raise max_new_tokens" in cut.reasons[0].detail


@pytest.mark.slow
@with_data
@with_asset
def test_real_queries_end_with_their_records_by_transformers_serve(tmp_path):
    """A real server of SmolLM2, asked by all three tasks."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    model = tmp_path / "smollm2"
    model.symlink_to(assets_folder() / "smollm2-135m-instruct")
    queries = real_queries(2, 1)
    with transformers_serve(model) as url:
        engine = {"_target_": "vpo.language.server.ServerEngine", "base_url": url, "model": str(model), "endpoint": "serve",
                  "cache": str(tmp_path / "cache"), "concurrency": 1, "timeout": 600.0}  # fmt: skip
        found = outcomes(stages(tmp_path / "store", engine, queries, 12))
    check_complete(queries, found)
    assert all(isinstance(one, Prompt) for one in found["draft"].values())
    assert all(one.usage.tokens_in > 300 for one in found["critique"].values())  # it has read the template
    # The server has gone: what it answered is there.
    again = outcomes(stages(tmp_path / "elsewhere", engine, queries, 12))
    assert again == found
