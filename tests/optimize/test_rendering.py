"""Search by rendering: the sketch world's video model and reward decide between prompts that the judge finds fine."""

import dataclasses
import json

import pytest

from tests.optimize.test_optimizer import BROKEN
from vpo.build import build
from vpo.checking.composing import compose
from vpo.errors import UserError
from vpo.optimize.options import Options, described
from vpo.records import Clip, Prompt, Score
from vpo.seeding import seed_of

QUERY = "a white dog running in the forest"
# Both keep the query and tell enough; the first begins with 70 words of scenery, and the sketch world's video model reads 62.
SCENERY = (
    "The scene is lit by the midday sun, bringing open shade and fine detail. Thick leaves and old roots are all around, with soft "
    "moss between them and pale shadows on the ground. Every detail is easy to see, with a neat outline and clean edges. The picture "
    "has rich contrast, natural tones and a quiet mood, while light falls gently through the branches and small drops of water shine "
    "on the grass."
)
LATE = f"{SCENERY} In the forest a white dog is running, and the camera follows the dog smoothly."
EARLY = (
    "A white dog is running in the forest. The scene is lit by the midday sun, bringing open shade and fine detail. The camera is "
    "panning right smoothly, keeping the dog in view, and thick leaves and old roots are all around it."
)
VIDEO = {"search": "render", "n": 2, "generator": "sketch", "reward": "sketch"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def reward_alone(text: str, folder) -> float:
    """The reward of a text's clip, by the roles themselves."""
    config = compose().config
    prompt = Prompt("p", QUERY, QUERY, text, "m")
    (clip,) = build(config["generator"]).render([prompt], [seed_of("clip", 0, QUERY, 0)], folder)
    assert isinstance(clip, Clip)
    (score,) = build(config["reward"]).score([dataclasses.replace(clip, path=str(folder / clip.path))])
    assert isinstance(score, Score)
    return score.value


def test_of_prompts_that_pass_the_one_with_the_best_clip_is_taken(optimizer, tmp_path):
    alone = {text: reward_alone(text, tmp_path) for text in (LATE, EARLY)}
    assert alone[EARLY] > alone[LATE]
    with optimizer(LATE, EARLY, **VIDEO) as made:
        (record,) = made.optimize([QUERY])
    assert [one.problems for one in record.candidates] == [(), ()]
    assert {one.text: one.reward for one in record.candidates} == alone
    assert (record.prompt, record.how) == (EARLY, "sampled")
    assert record.clip == record.candidates[1].clip
    assert (tmp_path / record.clip).stat().st_size > 0
    described_beside = json.loads((tmp_path / record.clip).with_suffix(".json").read_text())
    assert described_beside["prompt"] == EARLY


def test_without_clips_the_judge_alone_decides(optimizer):
    with optimizer(LATE, EARLY, search="best_of_n", n=2, semantic=False) as made:
        (record,) = made.optimize([QUERY])
    assert record.prompt == LATE  # of equals the first
    assert record.clip is None
    assert {(one.clip, one.reward) for one in record.candidates} == {(None, None)}


def test_only_what_passes_is_rendered_and_equal_texts_once(optimizer, tmp_path):
    with optimizer("A red cat sleeps on a sofa.", EARLY, EARLY, **VIDEO | {"n": 3, "resamples": 0}) as made:
        (record,) = made.optimize([QUERY])
    wrong = next(one for one in record.candidates if one.text.lower()[2:] == "red cat sleeps on a sofa.")
    assert wrong.problems
    assert (wrong.clip, wrong.reward, wrong.not_shown) == (None, None, "")
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == len(
        {one.text for one in record.candidates if not one.problems}
    )
    assert len({one.reward for one in record.candidates if one.text == EARLY}) == 1


def test_a_prompt_without_a_usable_clip_stays_and_says_why(optimizer, monkeypatch):
    def away(self, prompts, seeds, folder):
        raise RuntimeError("the model is not a number")

    monkeypatch.setattr("vpo.sketch.generator.SketchGenerator.render", away)
    with optimizer(EARLY, LATE, **VIDEO) as made:
        (record,) = made.optimize([QUERY])
    assert record.prompt == EARLY
    assert record.clip is None
    assert [one.not_shown for one in record.candidates] == ["no clip (RuntimeError: the model is not a number)"] * 2


def test_a_refused_query_is_not_rendered(optimizer, tmp_path):
    with optimizer(BROKEN, BROKEN, **VIDEO | {"n": 1}) as made:
        (record,) = made.optimize(["a man stabs a woman with a knife"])
    assert record.prompt is None
    assert record.clip is None
    assert list((tmp_path / "clips").glob("*.mp4")) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"search": "render"}, "needs a video model and a reward"),
        ({"search": "render", "generator": "sketch"}, "needs a video model and a reward"),
        (VIDEO | {"generator": "sketchy"}, "did you mean sketch"),
        (VIDEO | {"overrides": ["generator.frame=3"]}, "did you mean generator.frames"),
        (VIDEO | {"overrides": ["seed=3"]}, "seed=3 is no value of the generator or the reward"),
        (VIDEO | {"reward": "visionreward"}, "reward.texts_file=.*no such file"),
        ({"generator": "sketch", "reward": "sketch"}, "search=none renders nothing"),
    ],
)
def test_what_cannot_be_rendered_is_a_line_before_any_model(optimizer, options, said):
    with pytest.raises(UserError, match=said):
        optimizer(**options)


def test_a_file_of_prompts_knows_what_rendered_them():
    assert described(Options(**VIDEO)) != described(Options(**VIDEO, overrides=["generator.fps=4"]))
    assert described(Options(**VIDEO)) == described(Options(**VIDEO, clips="elsewhere"))
