"""The client of the OpenAI Videos API against a real server that does what servers do wrong."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ROOT, SEES_TESTS
from tests.generator.video_server import Job, Trouble, VideoServer, paint, video_server
from tests.painters import fill_disk
from vpo.errors import UserError
from vpo.generator.server import ServerGenerator
from vpo.records import Clip, Failure, Prompt
from vpo.storage.ledger import LEDGER, Ledger
from vpo.video import clips

ASKED = {"frames": 5, "height": 32, "width": 48, "fps": 8.0}


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"p{n}", f"q{n}", f"query {n}", f"a dog {n}", "m") for n in range(count)]


def generator_of(server: VideoServer, **values) -> ServerGenerator:
    patient = {"timeout": 20.0, "call_timeout": 3.0, "look_every": 0.01}
    generator = ServerGenerator(**{"base_url": server.base_url, **ASKED, **patient, **values})
    generator.limits.backoff = type(generator.limits.backoff)(0.01, 0.05)
    return generator


def render(server: VideoServer, folder: Path, count: int = 1, seeds=None, **values) -> list[Clip | Failure]:
    generator = generator_of(server, **values)
    try:
        return generator.render(prompts(count), seeds or list(range(count)), folder)
    finally:
        generator.close()


def record(folder: Path) -> list[tuple[str, str, str | None]]:
    return [
        (line["event"], line["item"], line["job"])
        for line in map(json.loads, (folder / "jobs.jsonl").read_text().splitlines())
    ]


def problem(server: VideoServer, folder: Path, count: int = 1, **values) -> str:
    with pytest.raises(UserError) as caught:
        render(server, folder, count, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def first(*troubles: Trouble | None, verb: str = "POST"):
    """The first calls of a verb meet these troubles, the later ones none."""
    return lambda kind, number, fields: troubles[number] if kind == verb and number < len(troubles) else None


def test_a_request_is_sent_as_it_is_and_the_clip_is_what_came(tmp_path):
    with video_server() as server:
        values = {
            "model": "wan",
            "steps": 4,
            "guidance": 6.5,
            "negative_prompt": "blurry, Übel",
            "extra_body": {"flow_shift": 3.0},
        }
        (clip,) = render(server, tmp_path, seeds=[2**40 + 5], **values)
    assert server.made[0].fields == {
        "prompt": "a dog 0", "model": "wan", "size": "48x32", "width": "48", "height": "32", "num_frames": "5", "fps": "8",
        "num_inference_steps": "4", "guidance_scale": "6.5", "negative_prompt": "blurry, Übel", "flow_shift": "3", "seed": "5",
    }  # fmt: skip
    assert clip == Clip("p0", "p0", "q0", "query 0", "a dog 0", "p0.mp4", 2**40 + 5, 5, 8.0, 32, 48)
    assert (tmp_path / "p0.mp4").read_bytes() == paint(server.made[0].fields)
    assert record(tmp_path) == [("sending", "p0", None), ("made", "p0", "video_0"), ("downloaded", "p0", "video_0")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl", "p0.mp4"]


def test_what_is_left_to_the_server_is_not_sent_and_what_came_is_recorded(tmp_path):
    with video_server() as server:
        (clip,) = render(server, tmp_path, frames=None, height=None, width=None, fps=None)
        (other,) = render(server, tmp_path, omit=["seed", "size"], frames=9)
    assert server.made[0].fields == {"prompt": "a dog 0", "seed": "0"}
    assert (clip.frames, clip.height, clip.width, clip.fps) == (5, 32, 48, 8.0)
    assert set(server.made[1].fields) == {"prompt", "width", "height", "num_frames", "fps"}
    assert other.frames == 9


def test_no_more_jobs_at_once_than_allowed(tmp_path):
    with video_server(seconds=0.05) as server:
        assert all(isinstance(one, Clip) for one in render(server, tmp_path, 12, concurrency=3))
    assert server.most_at_once == 3
    assert len(server.made) == 12


def test_a_busy_server_is_asked_when_it_says(tmp_path):
    busy = Trouble(429, {"error": {"message": "too many requests"}}, {"Retry-After": "0.4"})
    with video_server(trouble=first(busy)) as server:
        done = render(server, tmp_path, 3, concurrency=1)
    assert all(isinstance(one, Clip) for one in done)
    posts = [moment for verb, moment in server.calls if verb == "POST"]
    assert posts[1] - posts[0] >= 0.4
    assert record(tmp_path)[:3] == [("sending", "p0", None), ("refused", "p0", None), ("sending", "p0", None)]
    assert len(server.made) == 3


def test_a_server_that_is_busy_for_very_long_ends_the_run(tmp_path):
    with video_server(trouble=lambda *_: Trouble(429, {}, {"Retry-After": "7200"})) as server:
        assert "it asks to wait 7200 seconds" in problem(server, tmp_path)


@pytest.mark.parametrize(
    ("trouble", "jobs"),
    [
        (Trouble(500, {"error": {"message": "engine died"}}), 1),
        (Trouble(504, b"<html>gateway</html>"), 1),
        (Trouble(200, b"<html>hello</html>"), 1),
        (Trouble(200, {"object": "video"}), 1),
        (Trouble(drop=True), 1),
        (Trouble(drop=True, made=True), 2),  # a job that nobody knows of
        (Trouble(200, {"id": "x"}, cut=True), 1),
    ],
)
def test_a_call_that_fails_is_repeated_and_each_is_in_the_record(tmp_path, trouble, jobs):
    with video_server(trouble=first(trouble, trouble) if jobs == 1 else first(trouble)) as server:
        # A server that has never answered and is not there at all would end the run.
        (clip,) = render(server, tmp_path)
    assert isinstance(clip, Clip)
    assert len(server.made) == jobs
    events = [event for event, _, _ in record(tmp_path)]
    assert events.count("sending") == server.count("POST")
    assert events[-2:] == ["made", "downloaded"]


def test_retries_have_an_end(tmp_path):
    with video_server(
        trouble=lambda verb, number, fields: Trouble(500, {"error": "dead"}) if verb == "POST" else None
    ) as server:
        (one,) = render(server, tmp_path, max_retries=2)
    assert (one.kind, one.attempts, one.retryable) == ("server_error", 3, True)
    assert "dead" in one.detail
    assert server.count("POST") == 3


def test_a_failed_job_is_a_failure_with_the_servers_words(tmp_path):
    def ends(job: Job) -> str:
        job.error = [
            {"code": "oom", "message": "CUDA out of memory"},
            {"message": "blocked by our content policy"},
            None,
        ][job.number]
        return "failed"

    with video_server(ends=ends) as server:
        done = render(server, tmp_path, 3, concurrency=1)
        assert [(one.kind, one.retryable) for one in done] == [
            ("job_failed", True),
            ("content_filter", False),
            ("job_failed", True),
        ]
        assert done[0].detail == "oom CUDA out of memory"
        assert [event for event, _, _ in record(tmp_path)].count("failed") == 3
        server.ends = lambda job: "completed"
        assert isinstance(render(server, tmp_path)[0], Clip)
    assert len(server.made) == 4  # the failed job is not asked for again


def test_a_server_that_was_restarted_is_asked_anew(tmp_path):
    with video_server(ends=lambda job: "forgotten" if job.number < 2 else "completed") as server:
        (clip,) = render(server, tmp_path)
    assert isinstance(clip, Clip)
    events = [(event, job) for event, _, job in record(tmp_path)]
    assert [one for one in events if one[0] != "sending"] == [
        ("made", "video_0"), ("forgotten", "video_0"), ("made", "video_1"), ("forgotten", "video_1"), ("made", "video_2"),
        ("downloaded", "video_2"),
    ]  # fmt: skip


def test_a_server_that_forgets_for_ever_is_a_failure(tmp_path):
    with video_server(ends=lambda job: "forgotten") as server:
        (one,) = render(server, tmp_path, max_retries=2)
    assert (one.kind, one.retryable) == ("forgotten", True)
    assert len(server.made) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_frames": "9"}, "frames 9, not 5"),
        ({"width": "64"}, "width 64, not 48"),
        ({"fps": "16"}, "fps 16, not 8"),
        ({"num_frames": "9", "height": "16"}, "frames 9, not 5, height 16, not 32"),
    ],
)
def test_a_clip_that_differs_from_what_was_asked_for_is_a_failure(tmp_path, change, words):
    with video_server(render=lambda fields: paint({**fields, **change})) as server:
        (one,) = render(server, tmp_path)
    assert (one.kind, one.retryable) == ("not_as_asked", False)
    assert words in one.detail
    assert not (tmp_path / "p0.mp4").exists()
    assert (tmp_path / "broken/p0.mp4").exists()
    assert record(tmp_path)[-1][0] == "not_as_asked"


@pytest.mark.parametrize(
    "trouble", [Trouble(200, b"half", cut=True), Trouble(500, {}), Trouble(drop=True), Trouble(200, b"no video")]
)
def test_a_download_that_fails_is_repeated(tmp_path, trouble):
    with video_server(trouble=first(trouble, trouble, verb="content")) as server:
        (clip,) = render(server, tmp_path)
    assert isinstance(clip, Clip)
    assert (server.count("content"), len(server.made)) == (3, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl", "p0.mp4"]


def test_a_clip_that_is_cut_at_the_server_is_a_failure(tmp_path):
    def half(fields):
        content = paint(fields)
        return content[: len(content) * 2 // 3]

    with video_server(render=half) as server:
        (one,) = render(server, tmp_path, max_retries=1)
    assert (one.kind, one.retryable) == ("unreadable", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl"]


def test_looks_at_a_job_may_fail(tmp_path):
    troubles = [Trouble(500, {}), Trouble(drop=True), Trouble(200, b"?"), Trouble(429, {}, {"retry-after": "0"})]
    with video_server(trouble=first(*troubles, verb="GET"), seconds=0.1) as server:
        (clip,) = render(server, tmp_path)
    assert isinstance(clip, Clip)
    assert len(server.made) == 1


def test_a_job_that_never_ends_is_deleted_and_a_failure(tmp_path):
    with video_server(ends=lambda job: "never" if job.number == 0 else "completed") as server:
        done = render(server, tmp_path, 2, concurrency=1, timeout=0.5)
    assert (done[0].kind, done[0].retryable) == ("timeout", True)
    assert "generator.timeout=0.5" in done[0].detail
    assert isinstance(done[1], Clip)
    assert server.deleted == ["video_0"]
    assert ("timeout", "p0", "video_0") in record(tmp_path)


def test_a_server_that_hangs_ends_the_run(tmp_path):
    with video_server(trouble=lambda *_: Trouble(hang=True)) as server:
        line = problem(server, tmp_path, call_timeout=0.2)
    assert "no answer" in line
    assert "raise generator.call_timeout" in line


def test_a_server_that_breaks_on_the_way_ends_the_run(tmp_path):
    """A bad request takes vLLM-Omni's engine down, and every call after it gets 504 (vllm-project/vllm-omni#4634)."""
    dead = lambda verb, number, fields: Trouble(504, b"") if verb == "POST" and number > 1 else None  # noqa: E731
    with video_server(trouble=dead) as server:
        line = problem(server, tmp_path, 40, concurrency=2, max_retries=1)
        assert "has failed 10 clips in a row" in line
        server.trouble = lambda *_: None
        assert all(isinstance(one, Clip) for one in render(server, tmp_path, 40))
    # What the first start had made is not made again. Of other clips a late request of the first start may be among the jobs.
    made = [job.fields["prompt"] for job in server.made]
    assert (made.count("a dog 0"), made.count("a dog 1"), len(set(made))) == (1, 1, 40)


@pytest.mark.parametrize(
    ("values", "trouble", "words"),
    [
        (
            {},
            Trouble(401, {"error": {"message": "no"}}),
            "it wants a key; export one and name its variable, as in generator.api_key_env",
        ),
        ({}, Trouble(404, {"detail": "Not Found"}), "check generator.base_url"),
        ({}, Trouble(402, {}), "no credit is left"),
        (
            {},
            Trouble(400, {"detail": "extra fields not permitted: 'num_frames'"}),
            "leave it out: generator.omit=[num_frames]",
        ),
        (
            {"extra_body": {"boost": 1}},
            Trouble(422, {"detail": "unknown field `boost`"}),
            "take boost out of generator.extra_body",
        ),
    ],
)
def test_what_concerns_all_requests_is_one_line_with_the_cure(tmp_path, values, trouble, words):
    with video_server(trouble=lambda *_: trouble) as server:
        line = problem(server, tmp_path, 3, **values)
    assert words in line
    assert "engine" not in line.replace("Engine", "")


def test_nobody_there(tmp_path):
    with video_server() as server:
        pass
    assert "start it, as by `vllm serve <model> --omni`" in problem(server, tmp_path)


def test_a_refused_prompt_fails_alone(tmp_path):
    def trouble(verb, number, fields):
        if fields.get("prompt") == "a dog 1" and verb == "POST":
            return Trouble(400, {"error": {"message": "Your request was rejected by our safety system"}})
        return None

    with video_server(trouble=trouble) as server:
        done = render(server, tmp_path, 3)
    assert isinstance(done[0], Clip)
    assert isinstance(done[2], Clip)
    assert (done[1].kind, done[1].retryable) == ("content_filter", False)


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEO_KEY", "quite-a-secret-value")
    with video_server(key="quite-a-secret-value") as server:
        (clip,) = render(server, tmp_path, api_key_env="VIDEO_KEY")
        assert isinstance(clip, Clip)
        monkeypatch.setenv("VIDEO_KEY", "another-secret-value")
        line = problem(server, tmp_path, api_key_env="VIDEO_KEY", seeds=[9])
        assert "it does not know the key in VIDEO_KEY" in line
        assert "secret-value" not in line + (tmp_path / "jobs.jsonl").read_text()
    assert set(server.authorized[:3]) == {"Bearer quite-a-secret-value"}


def test_without_a_key_none_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service-0123456789")
    with video_server() as server:
        render(server, tmp_path)
    assert set(server.authorized) == {None}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"base_url": "http://here:1/v1/videos"}, "give that of the API: generator.base_url=http://here:1/v1"),
        ({"base_url": "here"}, "is no address of an API"),
        ({"base_url": "http://me:word@here/v1"}, "holds a name, a password"),
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "export NOT_SET_ANYWHERE"),
        ({"width": None}, "belong together"),
        ({"max_cost": 3.0}, "generator.max_cost needs generator.price"),
        ({"extra_body": {"seed": 3}}, "generator.extra_body.seed is set by vpo"),
        ({"omit": ["prompt"]}, "only size, width"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_work(values, words):
    with pytest.raises(UserError) as caught:
        ServerGenerator(**{"base_url": "http://here:1/v1", **ASKED, **values})
    assert words in str(caught.value)


def test_what_is_spent_is_counted_and_limited(tmp_path, monkeypatch):
    monkeypatch.setenv(LEDGER, str(tmp_path / "spending.jsonl"))
    (tmp_path / "clips").mkdir()
    with video_server() as server:
        line = problem(server, tmp_path / "clips", 5, price=0.5, max_cost=1.2, concurrency=1)
    assert "generator.max_cost=1.2 would be exceeded by the next clip (0.5)" in line
    assert len(server.made) == 2
    spent = Ledger(tmp_path / "spending.jsonl").spent
    assert (spent.requests, spent.cost, spent.unknown) == (2, 1.0, 0.0)


def interrupted(server: VideoServer, folder: Path, number: int) -> int:
    """Render in a process that gets a signal once three jobs are under way. Returns its exit code."""
    script = f"""
from pathlib import Path
from tests.generator.test_server import prompts
from vpo.generator.server import ServerGenerator
generator = ServerGenerator({server.base_url!r}, frames=5, height=32, width=48, look_every=0.02)
try:
    generator.render(prompts(3), [0, 1, 2], Path({str(folder)!r}))
finally:
    generator.close()
"""
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=SEES_TESTS, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while server.count("GET") < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(number)
    return child.wait(20)


@pytest.mark.skipif(os.name == "nt", reason="sends a SIGINT")
def test_an_interrupted_run_deletes_its_jobs(tmp_path):
    with video_server(ends=lambda job: "never") as server:
        assert interrupted(server, tmp_path, signal.SIGINT) != 0
        assert sorted(server.deleted) == ["video_0", "video_1", "video_2"]
    assert [event for event, _, _ in record(tmp_path)].count("deleted") == 3


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a SIGKILL")
def test_after_a_kill_the_jobs_under_way_are_asked_for_and_not_paid_twice(tmp_path):
    with video_server(seconds=1.0) as server:
        assert interrupted(server, tmp_path, signal.SIGKILL) != 0
        done = render(server, tmp_path, 3, fps=None)
    assert all(isinstance(one, Clip) for one in done)
    assert len(server.made) == 3
    assert server.deleted == []


def test_a_clip_that_was_downloaded_and_not_written_down_is_downloaded_again(tmp_path):
    with video_server() as server:
        render(server, tmp_path)
        (tmp_path / "p0.mp4").unlink()
        assert isinstance(render(server, tmp_path)[0], Clip)
        assert len(server.made) == 1
        server.restart()
        (tmp_path / "p0.mp4").unlink()
        assert isinstance(render(server, tmp_path)[0], Clip)
    assert len(server.made) == 2


@pytest.mark.parametrize("room", [0, 4096])
def test_a_full_disk_ends_the_stage_and_no_job_is_made_that_is_not_on_record(small_disk, room):
    """Without room for the record no job is asked for; without room for the clip its job is asked for again."""
    fill_disk(small_disk, room)
    with video_server() as server:
        with pytest.raises(OSError, match="No space left"):
            render(server, small_disk)
        assert len(server.made) == (1 if room else 0)
        assert not server.deleted
        assert not list(small_disk.glob(".*"))
        (small_disk / "filler").unlink()
        assert isinstance(render(server, small_disk)[0], Clip)
        assert len(server.made) == 1


def test_another_seed_is_another_job(tmp_path):
    with video_server() as server:
        render(server, tmp_path, seeds=[1])
        render(server, tmp_path, seeds=[2])
    assert [job.fields["seed"] for job in server.made] == ["1", "2"]


def test_a_torn_line_of_the_record_is_none(tmp_path):
    with video_server() as server:
        render(server, tmp_path)
        with (tmp_path / "jobs.jsonl").open("ab") as file:
            file.write(b'{"event": "for')
        assert isinstance(render(server, tmp_path, 2)[1], Clip)
    lines = (tmp_path / "jobs.jsonl").read_text().splitlines()
    assert lines.index('{"event": "for') == 3
    # The clip that was there is downloaded again, beside that of the second prompt.
    assert sorted(json.loads(line)["event"] for line in lines[4:]) == ["downloaded", "downloaded", "made", "sending"]


def test_a_notebooks_running_loop_is_no_obstacle(tmp_path):
    async def cell(server):
        return render(server, tmp_path)

    with video_server() as server:
        assert isinstance(asyncio.run(cell(server))[0], Clip)


def test_any_text_comes_as_it_is(tmp_path):
    text = 'a "dog"\r\n--boundary; name="seed"\n犬 🙂\x00 \ud83d'
    with video_server() as server:
        generator = generator_of(server)
        (clip,) = generator.render([Prompt("p", "q", "query", text, "m")], [0], tmp_path)
        generator.close()
    assert isinstance(clip, Clip)
    assert server.made[0].fields["prompt"] == text.replace("\ud83d", "�")


def _random_troubles(seed: int):
    """Of 30 in 100 calls something goes wrong, each of all the ways; which one depends on the call alone."""
    ways = [
        Trouble(429, {}, {"Retry-After": "0.05"}), Trouble(500, {}), Trouble(503, b"<html>"), Trouble(drop=True),
        Trouble(200, b"?"), Trouble(200, b"{}", cut=True), Trouble(drop=True, made=True),
    ]  # fmt: skip
    random = Random(seed)
    return lambda verb, number, fields: random.choice(ways) if random.random() < 0.3 and verb != "DELETE" else None


def _random_ends(seed: int):
    random = Random(seed)

    def ends(job: Job) -> str:
        if random.random() < 0.3:
            way = random.choice(["failed", "forgotten", "never", "frames", "cut"])
            if way == "frames":
                job.fields = {**job.fields, "num_frames": "9"}
            elif way == "cut":
                job.content = paint(job.fields)[:600]
            else:
                return way
        return "completed"

    return ends


def test_every_item_ends_as_a_clip_or_a_failure_whatever_the_server_does(tmp_path, monkeypatch):
    """Through the stage, with its retries, checks and clip store; the second run asks for nothing."""
    from tests.stages.test_render import entry_of, failures, records
    from tests.stages.test_render import prompts as texts
    from vpo.executor import worker
    from vpo.stages.context import Context
    from vpo.stages.render import Render
    from vpo.storage.store import Store

    monkeypatch.setattr(worker.Patience, "before", lambda self, attempt: 0.01)
    monkeypatch.setattr("vpo.language.serving.pace.Backoff.wait", lambda self, repetition, random: 0.02)
    with video_server(trouble=_random_troubles(1), ends=_random_ends(2)) as server:
        node = {
            "_target_": "vpo.generator.server.ServerGenerator", "base_url": server.base_url, "endpoint": "ours", **ASKED,
            "timeout": 1.5, "call_timeout": 1.0, "batch_size": 20, "max_retries": 4,
        }  # fmt: skip
        todo = texts(*(f"a dog {number}" for number in range(40)))
        stage = Render(generator=node, prompts=entry_of(tmp_path, todo), seed=0)
        folder = Context(Store(tmp_path / "store")).make(stage).folder / "clips"
        clips_made, failed = records(folder), failures(folder)
        assert len(clips_made) + len(failed) == 40
        assert {clip.id for clip in clips_made}.isdisjoint(failed)
        assert len(clips_made) >= 20
        kinds = "job_failed timeout unreadable not_as_asked server_error forgotten bad_answer cut_off unreachable"
        assert set(failed.values()) <= set(kinds.split())
        for clip in clips_made:
            assert (clip.status, clips.describe(folder / clip.path).frames) == ("ok", 5)
        # Every job stands in the record, or a request of which nobody knows what became of it.
        events = record(folder)
        known = {job for _, _, job in events if job}
        unknown = len(server.made) - len(known)
        assert unknown <= sum(event == "sending" for event, _, _ in events) - len(known)
        assert not list(folder.glob(".*"))
        posts = server.count("POST")
        other = Render(generator={**node, "base_url": "http://127.0.0.1:9/v1"},
                       prompts=entry_of(tmp_path, [one for one in todo if one.id not in failed]), seed=0, label="x")  # fmt: skip
        # The same prompts of another result: all come from the clip store, of a server that is not there any more.
        (tmp_path / "store/optimize/m").rename(tmp_path / "store/optimize/other")
        from dataclasses import replace

        other = replace(other, prompts=replace(other.prompts, key="other", folder=tmp_path / "store/optimize/other"))
        again = Context(Store(tmp_path / "store")).make(other).folder / "clips"
        assert len(records(again)) == len(clips_made)
        assert server.count("POST") == posts
