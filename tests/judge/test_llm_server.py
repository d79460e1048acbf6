"""A language model as judge behind a server that misbehaves, and behind a real one."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.judge.asking import fenced
from tests.language.chat_server import Reply, chat_server, completion, error
from vpo.records import Prompt, Refinement, Verdict
from vpo.stages.context import Context
from vpo.stages.critique import Critique
from vpo.stages.refine import Refine
from vpo.storage.items import read_failures
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry, Store

pytest.importorskip("openai", reason="the extra `server` is not installed")
N = 60  # so that each kind of fault comes in both stages
COLOURS = ("red", "blue")
SCHEMA = {"id": "c", "object": "chat.completion", "result": {"verdict": "yes"}}
DECLINED = "I'm sorry, but I can't help with that."
# How an item is answered: so many times (None: always) in this way, then as it should be.
FAULTS = {
    "busy": (1, Reply(429, error("slow down"), {"Retry-After": "0"})),
    "broken": (1, Reply(500, error("out of luck"))),
    "always broken": (None, Reply(500, error("out of luck"))),
    "slow": (1, Reply(after=20.0)),
    "always slow": (None, Reply(after=20.0)),
    "cut off": (1, Reply(cut=True)),
    "always cut off": (None, Reply(cut=True)),
    "no JSON": (1, Reply(body='{"id": "c", "choices": [')),
    "never JSON": (None, Reply(body="<html>verdict: yes</html>")),
    "empty": (None, Reply(body=completion(""))),
    "refusal": (None, Reply(body=completion(DECLINED))),
    "wrong schema": (None, Reply(body=SCHEMA)),
    "prose": (None, Reply(body=completion("Yes, it is harmless, accurate and helpful: 3 of 3."))),
}
KINDS = tuple(FAULTS)
# What becomes of an item whose fault does not pass, in `critique` and in `refine`.
FAILED = {
    "always broken": "server_error",
    "always slow": "timeout",
    "always cut off": "cut_off",
    "never JSON": "bad_answer",
    "wrong schema": "bad_answer",
}


def fault_of(number: int, task: str) -> str | None:
    """Three of ten items are answered badly, each kind as often as any other."""
    places, shift = ((2, 5, 8), 0) if task == "critique" else ((1, 3, 7), 5)  # odd ones are flawed
    if number % 10 not in places:
        return None
    return KINDS[(number // 10 * 3 + places.index(number % 10) + shift) % len(KINDS)]


class Judging:
    """A server's replies: a judge that knows colours, and what happens on the way to it."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[int, str]] = Counter()
        self.paid: Counter[tuple[int, str]] = Counter()

    def __call__(self, number: int, body: dict) -> Reply:
        data = json.loads(re.search(r"^{.*?^}", body["messages"][-1]["content"], re.DOTALL | re.MULTILINE).group())
        task = "refine" if "flaws" in data else "critique"
        item = int(re.search(r"\d+", data["query"]).group())
        self.asked[item, task] += 1
        fault = fault_of(item, task)
        if fault is not None:
            times, reply = FAULTS[fault]
            if times is None or self.asked[item, task] <= times:
                self.paid[item, task] += (
                    reply.status == 200 and isinstance(reply.body, dict) and "choices" in reply.body
                )
                return reply
        self.paid[item, task] += 1
        return Reply(body=completion(honest(item, task)))


def honest(item: int, task: str) -> str:
    if task == "refine":
        return f"Car number {item} is red and drives along the coast."
    return fenced(accurate="no" if item % 2 else "yes")


def prompts() -> list[Prompt]:
    return [
        Prompt(f"p{n}", f"q{n}", f"a red car with the number {n}", f"A {COLOURS[n % 2]} car, number {n}.", "test")
        for n in range(N)
    ]


def judged(folder: Path, server, cache: Path) -> dict[str, Entry]:
    """Both stages, as a run makes them."""
    context = Context(Store(folder))
    engine = {
        "_target_": "vpo.language.server.ServerEngine", "base_url": server.base_url, "model": "tiny", "endpoint": "tests",
        "concurrency": 8, "timeout": 2.0, "max_retries": 1, "cache": str(cache),
    }  # fmt: skip
    judge = {"_target_": "vpo.judge.llm.LLMJudge", "engine": engine}
    made = context.store.get("draft", {"n": N}, {}, lambda place: write_rows(place / "prompts.jsonl", prompts()) or {})
    verdicts = context.make(Critique(judge=judge, prompts=made))
    return {"critique": verdicts, "refine": context.make(Refine(judge=judge, prompts=made, verdicts=verdicts))}


def outcomes(entries: dict[str, Entry]) -> dict[str, dict[str, object]]:
    """What became of each item, by stage and id; an item that is there twice is an error."""
    files = {"critique": ("verdicts.jsonl", Verdict), "refine": ("refinements.jsonl", Refinement)}
    found = {}
    for stage, (name, kind) in files.items():
        rows = [(one.prompt_id, one) for one in entries[stage].rows(name, kind)]
        rows += list(read_failures(entries[stage].folder / name).items())
        found[stage] = dict(rows)
        assert len(found[stage]) == len(rows)
    return found


@pytest.mark.slow
def test_every_item_ends_judged_or_failed_and_the_second_run_pays_nothing(tmp_path):
    server_side = Judging()
    with chat_server(server_side) as server:
        found = outcomes(judged(tmp_path / "store", server, tmp_path / "cache"))
        asked = len(server.seen)
        # At least 30 % of the items met a fault, so that nothing below holds for want of one.
        assert sum(fault_of(n, "critique") is not None for n in range(N)) == 0.3 * N

        assert set(found["critique"]) == {f"p{n}" for n in range(N)}
        for n in range(N):
            verdict, fault = found["critique"][f"p{n}"], fault_of(n, "critique")
            if fault in ("empty", "refusal") or fault in FAILED:
                assert verdict.kind == FAILED.get(fault, fault)
                assert verdict.detail
                assert "\n" not in verdict.detail
            elif fault == "prose":
                assert (verdict.harmless, verdict.accurate, verdict.helpful, verdict.fine) == (None, None, None, None)
                assert "no fence" in verdict.reasons[0].detail
            else:
                assert isinstance(verdict, Verdict), (fault, verdict)
                assert (verdict.harmless, verdict.accurate, verdict.helpful) == (True, n % 2 == 0, True)

        flawed = [n for n in range(N) if n % 2 and getattr(found["critique"][f"p{n}"], "fine", None) is False]
        assert set(found["refine"]) == {f"p{n}" for n in flawed}
        seen = Counter()
        for n in flawed:
            result, fault = found["refine"][f"p{n}"], fault_of(n, "refine")
            seen[fault] += 1
            if fault in FAILED:
                assert result.kind == FAILED[fault]
            elif fault in ("empty", "refusal", "prose"):
                assert result.text is None
            else:
                assert isinstance(result, Refinement), (fault, result)
                assert result.text == honest(n, "refine")
        assert set(seen) == {*KINDS, None}

        # The same again: all is there. In another store, only what was never answered is asked again, and is not counted twice.
        assert outcomes(judged(tmp_path / "store", server, tmp_path / "cache")) == found
        assert len(server.seen) == asked
        paid = dict(server_side.paid)
        again = outcomes(judged(tmp_path / "elsewhere", server, tmp_path / "cache"))
        assert {key for key, count in server_side.paid.items() if count != paid.get(key)} == set()
        assert max(server_side.paid.values()) == 1
        assert {
            stage: {name: getattr(one, "kind", one) for name, one in rows.items()} for stage, rows in again.items()
        } == {stage: {name: getattr(one, "kind", one) for name, one in rows.items()} for stage, rows in found.items()}
