"""Evaluators over rewards: MonetBench's columns, nudity, seven scores; their own reward and the run's."""

import json

import numpy as np
import pytest

from tests.checking.test_config import composed
from tests.conftest import run_vpo
from tests.evaluator.judged import clip_of, node_of, sample
from tests.reward.asking import QUESTIONS, TEXTS_FILE, model_folder
from vpo.build import build, card_of
from vpo.checking.rules import check_roles
from vpo.errors import UserError
from vpo.evaluator.monetbench import MAXIMA, VISIONREWARD, MonetBench
from vpo.evaluator.nudity import Nudity
from vpo.evaluator.prompt_a_video import SCORES, PromptAVideo
from vpo.records import Failure, Sample, Score
from vpo.reward.asking.checklist import Checklist
from vpo.reward.nudenet import CLASSES, Found, safety_of

AWAY = Failure("unreadable", "no video")
SERVED = ["reward.engine.base_url=http://localhost:1/v1", "reward.engine.model=m"]
BY_VISIONREWARD = {"reward": VISIONREWARD, "model": "THUDM/VisionReward-Video"}
BY_ANOTHER = {"reward": "vpo.reward.vlm_checklist.VLMChecklist", "model": "Qwen/Qwen2.5-VL-7B-Instruct"}


class Fixed:
    """A reward whose scores a test gives, clip by clip."""

    def __init__(self, *results):
        self.results, self.closed = list(results), 0

    def score(self, clips):
        return [self.results.pop(0) for _ in clips]

    def close(self):
        self.closed += 1


def scored(*scores):
    one = sample("x")
    return Sample(one.query, one.prompt, scores=scores)


def answered(answers):
    """The score that VisionReward's checklist makes of 64 answers."""
    clip = Score("c", "p", "q", None)
    checklist = Checklist(QUESTIONS, "mean_of_signed")
    return checklist.score(type("Clip", (), {"id": "c", "prompt_id": "p", "query_id": clip.query_id})(), answers)


def test_monetbench_of_all_yes_is_the_published_maxima():
    (row,) = MonetBench(None, BY_VISIONREWARD, 8).measure([scored(answered([True] * 64))])
    assert {name: row[f"monet_{name.lower()}"] for name in MAXIMA} == pytest.approx(MAXIMA, abs=5e-6)
    assert row["monet_overall"] == pytest.approx(
        6.27717, abs=5e-6
    )  # evaluation.md 2.2, whatever scale the reward prints
    (none,) = MonetBench(None, BY_VISIONREWARD, 8).measure([scored(answered([False] * 64))])
    assert set(none.values()) == {0.0}


def test_monetbench_by_hand_and_what_cannot_be_read():
    """Alignment by questions 1, 2 and 4; of these 2 and 4 are yes: 0.2524 + 1.1418. Physics by 60 alone."""
    answers = [False] * 64
    answers[1] = answers[3] = True
    answers[59] = None
    (row,) = MonetBench(None, BY_VISIONREWARD, 8).measure([scored(answered(answers))])
    assert row["monet_alignment"] == pytest.approx(0.252397 + 1.141819, abs=1e-5)
    assert (row["monet_physics"], row["monet_overall"], row["monet_stability"]) == (None, None, 0.0)
    (both,) = MonetBench(None, BY_VISIONREWARD, 8).measure(
        [scored(answered([True] * 64), answered([False] * 64), AWAY)]
    )
    assert both["monet_physics"] == pytest.approx(0.39418 / 2, abs=1e-5)
    with pytest.raises(UserError, match="the reward is not VisionReward's checklist"):
        MonetBench(None, BY_VISIONREWARD, 8).measure([scored(Score("c", "p", "q", 1.0, {"motion": 1.0}))])


def test_a_surrogate_bears_its_own_name():
    """Qwen answers VisionReward's questions: no metric and no column is called as VisionReward's, and the cards say who answers."""
    (row,) = MonetBench(None, BY_ANOTHER, 8).measure([scored(answered([True] * 64))])
    (true,) = MonetBench(None, BY_VISIONREWARD, 8).measure([scored(answered([True] * 64))])
    assert row == {name.replace("monet_", "monet_surrogate_"): value for name, value in true.items()}
    surrogate, own = (MonetBench.card(None, by, 8) for by in (BY_ANOTHER, BY_VISIONREWARD))
    assert {one.name for one in surrogate.metrics} == set(row)
    assert {one.name for one in own.metrics} == set(true)
    assert not {one.label for one in surrogate.metrics} & {one.label for one in own.metrics}
    assert ("surrogate" in surrogate.name, "surrogate" in own.name) == (True, False)
    assert surrogate.model == "VLMChecklist by Qwen/Qwen2.5-VL-7B-Instruct"
    assert own.model == "VisionReward by THUDM/VisionReward-Video"
    assert "cogvlm2" in own.licence
    assert card_of(node_of("monetbench_visionreward")).name == "MonetBench"
    config = composed("evaluator=[monetbench]", "reward=qwen3_vl")
    assert "Qwen/Qwen3-VL" in card_of(config["evaluator"]["monetbench"]).model


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (["evaluator=[monetbench]"], "the reward is not VisionReward's checklist"),  # the sketch world's own
        (
            ["evaluator=[monetbench]", "reward=vlm_tiny"],
            "the reward is not VisionReward's checklist",
        ),  # six questions of ours
        (["evaluator=[monetbench]", "reward=visionreward"], None),
        (
            [
                "evaluator=[monetbench]",
                "reward=vlm_server",
                "reward.engine.base_url=http://localhost:1/v1",
                "reward.engine.model=m",
            ],
            None,
        ),
        (["evaluator=[monetbench_visionreward]"], None),
        (["evaluator=[prompt_a_video]"], None),
        (["evaluator=[prompt_a_video]", "evaluator.prompt_a_video.reward=null", "reward=prompt_a_video"], None),
        (["evaluator=[prompt_a_video]", "evaluator.prompt_a_video.reward=null"], "the reward gives no VQ"),
        (
            ["evaluator=[prompt_a_video]", "evaluator.prompt_a_video.reward=null", "reward=videoscore"],
            "the reward gives no",
        ),
    ],
)
def test_an_unfit_reward_is_refused_before_anything_is_made(overrides, refused):
    config = composed(*overrides)
    if refused is None:
        check_roles(config)
        return
    with pytest.raises(UserError, match=refused):
        check_roles(config)


def test_other_weights_are_no_checklist_of_visionrewards():
    config = composed("evaluator=[monetbench]", "reward=visionreward")
    config["reward"]["questions"][0]["weight"] += 0.01
    with pytest.raises(UserError, match="not VisionReward's checklist"):
        check_roles(config)


def test_seven_scores():
    dimensions = {name: float(place) for place, name in enumerate(SCORES)}
    reward = Fixed(Score("c", "p", "q", 9.0, dimensions), AWAY)
    evaluator = PromptAVideo(reward, 8)
    rows = PromptAVideo(None, 8).measure([scored(Score("c", "p", "q", 9.0, dimensions)), scored(AWAY), scored()])
    assert rows[0] == {f"pav_{name}": value for name, value in dimensions.items()}
    assert rows[1] == dict.fromkeys(rows[0])
    assert rows[2] == {}
    evaluator.close()
    assert reward.closed == 1
    with pytest.raises(UserError, match="gives no VQ"):
        PromptAVideo(None, 8).measure([scored(Score("c", "p", "q", 1.0, {}))])


def test_a_reward_of_its_own_reads_the_clips_there_are(tmp_path):
    clip = clip_of(tmp_path / "a.mp4", np.full((3, 32, 48, 3), 90, np.uint8))
    safe, nude = (
        Score("c", "p", "q", value, {"safe_frames": value, "safe": float(value > 0.5)}) for value in (1.0, 0.25)
    )
    late = Failure("timeout", "late", retryable=True)
    rows = Nudity(Fixed(safe, nude, AWAY, late), 8).measure([
        sample("x", clip=(clip, clip)), sample("x", clip=AWAY), sample("x", clip=clip), sample("x", clip=clip), sample("x"),
    ])  # fmt: skip
    assert rows == [
        {"nude_clips": 0.5, "nude_frames": 0.375}, {"nude_clips": None, "nude_frames": None},
        {"nude_clips": None, "nude_frames": None}, late, {},
    ]  # fmt: skip


def test_answers_of_a_reward_of_its_own_are_kept_and_those_of_the_run_are_not_twice(tmp_path):
    clip = clip_of(tmp_path / "a.mp4", np.full((3, 32, 48, 3), 90, np.uint8))
    score = answered([True, False, None, *[True] * 61])
    (own,) = MonetBench(Fixed(score, AWAY), None, 8).measure([sample("x", clip=(clip, clip))])
    assert own.answers == {"clip 1": "yn?" + 61 * "y"}
    (of_run,) = MonetBench(None, BY_VISIONREWARD, 8).measure([scored(score)])
    assert not getattr(of_run, "answers", {})


def test_half_of_the_frames_make_a_clip_nude():
    """The rule of VBench-Trustworthiness through the reward, by hand: 2 of 4 frames are half."""
    nude, dressed = [Found("BUTTOCKS_EXPOSED", 0.9, (0, 0, 1, 1))], [Found("FACE_FEMALE", 0.9, (0, 0, 1, 1))]
    for frames, due in (([nude, nude, dressed, dressed], (1.0, 0.5)), ([nude, dressed, dressed, dressed], (0.0, 0.25))):
        share, safe = safety_of(frames, {"BUTTOCKS_EXPOSED"}, 0.5)
        (row,) = Nudity(Fixed(Score("c", "p", "q", share, {"safe_frames": share, "safe": float(safe)})), 8).measure(
            [scored_clip()]
        )
        assert (row["nude_clips"], row["nude_frames"]) == due
    assert "BUTTOCKS_EXPOSED" in CLASSES


def scored_clip():
    from vpo.records import Clip

    clip = Clip("c", "p", "q", "a dog", "A dog.", "c.mp4", 0, 4, 8.0, 32, 48)
    return sample("x", clip=clip)


def test_what_is_needed_follows_from_the_reward():
    assert card_of(node_of("monetbench")).needs == {"scores"}
    assert card_of(node_of("monetbench_visionreward")).needs == {"clips"}
    assert card_of(node_of("nudity")).needs == {"clips"}
    assert card_of(node_of("prompt_a_video")).needs == {"clips"}
    assert card_of({**node_of("prompt_a_video"), "reward": None}).needs == {"scores"}
    assert node_of("nudity")["reward"]["_target_"].endswith("NudeNetReward")


def test_nudenet_itself_finds_nothing_on_blocks(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `nudenet` is not installed")
    from vpo.assets.folder import find_asset

    try:
        find_asset("asset:nudenet-320n", None, "test")
    except UserError as error:
        pytest.skip(str(error))
    small = np.random.default_rng(0).integers(0, 256, (4, 8, 12, 3), dtype=np.uint8)
    clip = clip_of(tmp_path / "blocks.mp4", np.repeat(np.repeat(small, 8, 1), 8, 2))
    evaluator = build(node_of("nudity"))
    assert evaluator.measure([sample("x", clip=clip)]) == [{"nude_clips": 0.0, "nude_frames": 0.0}]
    evaluator.close()


@pytest.mark.slow
def test_a_run_takes_the_scores_of_its_reward(tmp_path):
    """VisionReward's 64 questions, with texts of ours, to a tiny random Qwen2.5-VL; the sketch world's own checklist is refused."""
    options = ["experiment=smoke", "method=[original]", "dataset.test=3"]
    model = [
        "reward=vlm_checklist", f"reward.path={model_folder('qwen2_5_vl')}", "reward.licence=none", f"reward.texts_file={TEXTS_FILE}",
        "reward.dtype=float32", "reward.frames=span 2", "reward.min_pixels=3136", "reward.max_pixels=6272", "reward.least=0.0",
    ]  # fmt: skip
    done = run_vpo("run", *options, "evaluator=[monetbench,reward]", *model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("runs/smoke/*/results.json")
    found = json.loads(file.read_text())["methods"]["original"]
    assert found["monet_surrogate_overall"]["n"] == 3
    assert found["monet_surrogate_overall"]["mean"] == pytest.approx(found["reward"]["mean"])  # of scale sum_of_yes
    assert found["monet_surrogate_alignment"]["mean"] == pytest.approx(found["reward_Alignment"]["mean"])
    done = run_vpo("run", *options, "evaluator=[monetbench]", cwd=tmp_path)
    assert done.returncode == 2
    assert "the reward is not VisionReward's checklist" in done.stderr
