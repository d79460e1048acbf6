"""The roles that work through workers: their real classes, configs, processes and scripts. What the scripts import of others (the
repository of Open-Sora, decord, the code of VisionReward) cannot be installed here, and small stand-ins answer to the same calls."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from tests.conftest import run_vpo
from tests.reward.asking import TEXTS_FILE
from tests.worker_environments.environments import made_environment
from vpo.build import build
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.records import Clip, Failure, Prompt
from vpo.storage.code_hash import code_of
from vpo.video.clips import read_mp4, write_mp4

STAND_INS = Path(__file__).parent / "stand_ins"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    made_environment(folder, "visionreward", STAND_INS / "visionreward")
    shutil.copytree(STAND_INS / "open_sora", made_environment(folder, "open_sora") / "repository")
    return folder


@pytest.fixture
def make(root, monkeypatch):
    """Builds the role of a choice, with changed values; it is closed with the test."""
    monkeypatch.setenv("VPO_WORKERS", str(root))
    built = []

    def role(choice: str, **changed):
        with initialize_config_module("vpo.conf", version_base="1.3"):
            config = OmegaConf.to_container(compose("config", overrides=[choice]), resolve=True)
        built.append(build(config[choice.partition("=")[0]] | changed))
        return built[-1]

    yield role
    for one in built:
        one.close()


def prompt(id: str, text: str) -> Prompt:
    return Prompt(id=id, query_id="q", query="a query", text=text, method="m")


def clip(id: str, path: Path, query: str = "a cat", **changed) -> Clip:
    facts = {"seed": 0, "frames": 17, "fps": 8.0, "height": 32, "width": 32} | changed
    return Clip(
        id=id, prompt_id=f"p-{id}", query_id="q", query=query, prompt="a rewritten prompt", path=str(path), **facts
    )


def test_open_sora_renders_clips_from_their_own_seeds(make, tmp_path):
    generator = make("generator=open_sora")
    prompts = [
        prompt("a", "A Cat."),
        prompt("A/B", "A Cat."),
        prompt("c", "w " * 310 + "end"),
        prompt("d", "gives nan"),
    ]
    clips = generator.render(prompts, [1, 1, 2, 3], tmp_path)
    assert [(one.status, one.truncated_tokens) for one in clips] == [
        ("ok", 0),
        ("ok", 0),
        ("ok", 14),  # 311 words and the 3 of the score, which is " aesthetic score: 6.5.", of which 300 are read
        ("non-finite", 0),
    ]
    for made in clips:
        assert (made.frames, made.fps, made.height, made.width) == (51, 24, 32, 48)
        assert (tmp_path / made.path).exists() == (made.status == "ok")
    first, second, third = (tmp_path / one.path for one in clips[:3])
    assert first.read_bytes() == second.read_bytes() != third.read_bytes()
    frames, fps = read_mp4(first)
    assert (frames.shape, fps) == ((51, 32, 48, 3), 24)
    again = generator.render([prompts[2], prompts[0]], [2, 1], tmp_path / "..")
    assert (tmp_path / ".." / again[1].path).read_bytes() == first.read_bytes()  # whatever was rendered before it
    assert generator.describe()["steps"] == 30


def test_wrong_settings_of_open_sora_name_the_config(make):
    with pytest.raises(UserError, match=r"generator: frames=49: Open-Sora 1\.2 makes 51, 102, 204, 408 frames"):
        make("generator=open_sora", frames=49)


@pytest.mark.parametrize(
    ("choice", "change", "message"),
    [
        ("generator=open_sora", "generator.frames=49", r"generator: frames=49: Open-Sora 1\.2 makes 51"),
        ("generator=open_sora", "generator.dtype=int8", "generator: dtype=int8 must be bf16, fp16 or fp32"),
        ("reward=visionreward", "reward.frames=0", "reward[.:] ?frames=0 must be"),
        ("reward=visionreward", "reward.scale=r01", r"reward\.scale=r01 is no scale"),
    ],
)
def test_wrong_values_are_found_when_a_config_is_composed(choice, change, message):
    with initialize_config_module("vpo.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=[choice, change]), resolve=True)
    with pytest.raises(UserError, match=message):
        check(config)


def test_a_run_needs_its_workers_before_anything_is_trained(tmp_path):
    done = run_vpo(
        "run",
        "experiment=smoke",
        "generator=open_sora",
        "reward=visionreward",
        f"reward.texts_file={TEXTS_FILE}",
        cwd=tmp_path,
        VPO_WORKERS=str(tmp_path / "w"),
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"vpo: workers: open_sora is not installed in {tmp_path / 'w'}; `vpo workers install open_sora`, or set $VPO_WORKERS\n"
    )
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_from_queries_to_dpo_through_workers(root, tmp_path):
    """The whole method, rendering by the script of Open-Sora and scoring by VisionReward's, with the stand-ins behind them."""
    done = run_vpo(
        "run", "experiment=smoke", "generator=open_sora", "reward=visionreward", f"reward.texts_file={TEXTS_FILE}",
        "method=[original,dpo]", cwd=tmp_path,
        VPO_WORKERS=str(root), timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = sorted((tmp_path / "store/score").glob("*/scores.jsonl"))
    rows = [json.loads(line) for path in scores for line in path.read_text().splitlines()]
    assert rows
    assert all(len(row["answers"]) == 64 for row in rows)
    (results,) = (tmp_path / "runs/smoke").glob("*/results.json")
    methods = json.loads(results.read_text())["methods"]
    assert set(methods) == {"original", "dpo"}


def test_what_names_a_clips_code_has_the_script_and_its_pins():
    files = code_of("render", {"generator": {"_target_": "vpo.generator.open_sora.OpenSora"}})
    assert {"vpo.workers.contract", "vpo.workers.open_sora", "vpo.workers.open_sora.script"} <= set(files)
    assert "vpo.workers.environment" not in files


QUESTIONS = [
    {"text": 'Does it show "[[prompt]]"?', "dimension": "Alignment", "weight": 2.0},
    {"text": "Is it bright?", "dimension": "Quality", "weight": 0.5},
    {"text": "Is it sharp?", "dimension": "Quality", "weight": 0.25},
    {"text": "Is the lighting accurate?", "dimension": "Safety", "weight": 0.0},
]
QUESTIONS = [one | {"id": at, "sub_dimension": "x", "level": 1} for at, one in enumerate(QUESTIONS, start=1)]


def test_visionreward_asks_its_questions_about_the_query(make, tmp_path):
    for name, level in (("light", 200), ("dark", 30)):
        write_mp4(np.full((17, 32, 32, 3), level, np.uint8), 8, tmp_path / f"{name}.mp4")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "light.mp4").read_bytes()[:600])
    reward = make("reward=visionreward", questions=QUESTIONS)
    light, dark, cut, broken = reward.score(
        [
            clip("light", tmp_path / "light.mp4"),
            clip("dark", tmp_path / "dark.mp4", query="a dog"),
            clip("cut", tmp_path / "cut.mp4"),
            clip("broken", tmp_path / "none.mp4", status="black"),
        ]
    )
    assert (light.answers, light.value) == ((True, True, False, None), 2.5)  # 2 for the cat, 0.5 for the light
    assert light.dimensions == {"Alignment": 2.0, "Quality": 0.5}
    assert (dark.answers, dark.value) == ((False, False, False, None), 0.0)
    for one in (cut, broken):
        assert (one.answers, one.value) == ((None,) * 4, None)
    assert (light.clip_id, light.prompt_id) == ("light", "p-light")
    assert reward.card()["maximum"] == 2.75

    reward.close()
    reward.worker.settings["line_end"] = False  # at which the stand-in's model fails, as a model may: that is no score
    (failed,) = reward.score([clip("light", tmp_path / "light.mp4")])
    assert isinstance(failed, Failure)
    assert failed.kind == "AssertionError"


@pytest.mark.slow  # it loads torch once more; of the alarm itself `Checklist` has tests of its own
def test_a_checklist_that_never_says_yes_is_an_alarm(make, tmp_path, caplog):
    write_mp4(np.full((17, 32, 32, 3), 30, np.uint8), 8, tmp_path / "dark.mp4")
    reward = make("reward=visionreward", texts_file=str(TEXTS_FILE))
    assert len(reward.checklist.questions) == 64
    dogs = [clip(str(at), tmp_path / "dark.mp4", query="a dog") for at in range(3)]
    with caplog.at_level(logging.WARNING):
        reward.score([clip("cat", tmp_path / "dark.mp4")])  # which has a yes
        assert not caplog.records
        scores = reward.score(dogs)
        reward.score(dogs)
    (record,) = caplog.records
    # Questions 15 to 20 are about lighting, and have no answer here: 58 of 64 have one.
    assert 'no answer of 58 about clip 0 decoded to "yes"' in record.getMessage()
    assert all(score.value is None for score in scores)  # these have a weight
