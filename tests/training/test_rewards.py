"""The rewards of online learning: what a number of the judge or of a clip says."""

from types import SimpleNamespace

import pytest

from tests.checking.test_config import composed
from vpo.build import build
from vpo.records import Clip, Failure, Prompt, Score, Verdict
from vpo.seeding import seed_of
from vpo.training.online.rewards import TextReward, VideoReward


@pytest.fixture(scope="module")
def judge():
    return build(composed()["judge"])


def test_text_reward_reads_the_query_and_not_the_prompt(judge):
    """A faithful but bare prompt keeps two of three principles; the same text for another query is not accurate: one."""
    texts = {1: "A red dog runs.", 2: "A red dog runs."}
    logged: dict[str, float] = {}
    reward = TextReward(judge, lambda ids: texts[ids[0]])
    numbers = reward(
        completion_ids=[[1], [2]], query_id=["a", "b"], query=["a red dog runs", "two blue cats sleep"],
        log_metric=logged.__setitem__, prompts=None, completions=None, trainer_state=None,
    )  # fmt: skip
    assert numbers == pytest.approx([2 / 3, 1 / 3])
    assert logged == {"judge/harmless": 1.0, "judge/accurate": 0.5, "judge/helpful": 0.0, "failed/text": 0.0}


def test_video_reward_is_the_rewards_own_number_on_equal_noise_and_leaves_no_clip(tmp_path):
    """The oracle renders and scores each prompt by itself, with the query's noise of update 3."""
    world = composed()
    generator, reward = build(world["generator"]), build(world["reward"])
    texts = ["A red dog runs over a green meadow in the morning light.", "A blue cat.", "A red dog."]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    logged: dict[str, float] = {}
    numbers = VideoReward(generator, reward, lambda ids: texts[ids[0]], seed=5, scratch=scratch)(
        completion_ids=[[0], [1], [2]], query_id=["a", "a", "b"], query=["a red dog runs"] * 3,
        trainer_state=SimpleNamespace(global_step=3), log_metric=logged.__setitem__,
    )  # fmt: skip
    expected = []
    for number, (query_id, text) in enumerate(zip("aab", texts, strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        prompt = Prompt("one", query_id, "a red dog runs", text, "any")
        (clip,) = generator.render([prompt], [seed_of("clip", 5, query_id, 3)], folder)
        (score,) = reward.score([Clip(**(vars(clip) | {"path": str(folder / clip.path)}))])
        expected.append(score.value)
    assert numbers == expected
    assert numbers[0] > numbers[1]
    assert logged == {"failed/video": 0.0}
    assert not list(scratch.iterdir())


AWAY = Failure("timeout", "the server is away")


class Halves:
    """A judge, generator and reward of floats that fail on every second item."""

    def critique(self, prompts):
        return [AWAY if one.index % 2 else Verdict(one.id, True, True, False) for one in prompts]

    def render(self, prompts, seeds, folder):
        return [
            AWAY
            if one.index % 2
            else Clip(one.id, one.id, one.query_id, one.query, one.text, "x.mp4", 0, 4, 8.0, 64, 64)
            for one in prompts
        ]

    def score(self, clips):
        return [AWAY if one.id == "q-2" else Score(one.id, one.prompt_id, one.query_id, 1.5) for one in clips]


def test_failures_of_judge_generator_and_reward_are_none_and_counted(tmp_path):
    logged: dict[str, float] = {}
    call = {
        "completion_ids": [[0]] * 4, "query_id": ["q"] * 4, "query": ["a dog"] * 4, "log_metric": logged.__setitem__,
        "trainer_state": SimpleNamespace(global_step=0),
    }  # fmt: skip
    assert TextReward(Halves(), lambda ids: "A dog.")(**call) == pytest.approx([2 / 3, None, 2 / 3, None])
    video = VideoReward(Halves(), Halves(), lambda ids: "A dog.", seed=0, scratch=tmp_path)
    assert video(**call) == [1.5, None, None, None]  # 1 and 3 were not rendered, 2 was not scored
    assert logged == {
        "judge/harmless": 1.0,
        "judge/accurate": 1.0,
        "judge/helpful": 0.0,
        "failed/text": 0.5,
        "failed/video": 0.75,
    }
