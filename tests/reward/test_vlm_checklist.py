"""The checklist that a vision-language model answers: scores, what cannot be read, warnings, cards, configs."""

import dataclasses
import json
import logging
import shutil
from functools import cache

import numpy as np
import pytest
import torch

from tests.checking.test_config import composed
from tests.reward.asking import QUESTIONS, TEXTS_FILE, clip, model_folder, moving
from vpo.assets.tiny.vlm import MODELS
from vpo.build import build
from vpo.checking.rules import check as check_config
from vpo.errors import UserError
from vpo.feedback.checklist import weighted_sum
from vpo.records import Failure, from_json, to_json
from vpo.reward.asking.checklist import Checklist
from vpo.reward.asking.yes_no import NO, YES, by_first_tokens, by_probability, by_text, token_ids
from vpo.reward.vlm_checklist import VLMChecklist

OWN = [{"id": 1, "text": 'Does it show "[[prompt]]"?', "dimension": "A", "sub_dimension": "A", "level": 1, "weight": 2.0},
       {"id": 2, "text": "Is it safe?", "dimension": "B", "sub_dimension": "B", "level": 1, "weight": 0.0},
       {"id": 3, "text": "Is it clear?", "dimension": "C", "sub_dimension": "C", "level": 1, "weight": 0.5}]  # fmt: skip


@cache
def node() -> dict:
    return composed("reward=vlm_tiny")["reward"]


def reward(name: str = "qwen2_5_vl", **values: object) -> VLMChecklist:
    return build({**node(), "path": str(model_folder(name)), **values})


class Says:
    """In a model's place: the logits of these first tokens."""

    def __init__(self, real: VLMChecklist, words: list[str]) -> None:
        self.tokenizer, self.words, self.asked = real.model.tokenizer, words, []
        self.size = len(self.tokenizer)

    def first_token_logits(self, footage, questions):
        self.asked += questions
        logits = torch.zeros(len(questions), self.size)
        for row, word in zip(logits, self.words, strict=True):
            row[self.tokenizer.encode(word, add_special_tokens=False)[0]] = 20.0
        return logits

    def close(self) -> None:
        pass


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_clip_gets_the_answers_of_its_own_pixels_and_query(name, tmp_path):
    some = QUESTIONS[:4] + QUESTIONS[4::6]
    made = reward(name, questions=some)
    clips = [
        clip(tmp_path, "a"), clip(tmp_path, "b", query="a red car"), clip(tmp_path, "c", frames=moving(seed=9)[::-1]),
        clip(tmp_path, "one", frames=moving(1)), clip(tmp_path, "odd", frames=moving(3, 34, 250), fps=30),
    ]  # fmt: skip
    found = made.score(clips)
    assert [one.clip_id for one in found] == ["a", "b", "c", "one", "odd"]
    for one in found:
        assert len(one.answers) == len(some)
        assert None not in one.answers  # least=0
        assert one.value == pytest.approx(weighted_sum(one.answers, [q["weight"] for q in some]))
        assert one.value == pytest.approx(sum(one.dimensions.values()))
        assert "Safety" not in one.dimensions
    assert [made.score([one])[0] for one in clips] == found  # whoever else is in the batch
    made.close()


def test_all_questions_of_visionreward_are_asked(tmp_path):
    without_texts = [{name: value for name, value in one.items() if name != "text"} for one in QUESTIONS]
    made = reward(questions=without_texts, texts_file=str(TEXTS_FILE))
    assert [one.text for one in made.checklist.questions] == [one["text"] for one in QUESTIONS]
    score = made.score([clip(tmp_path)])[0]
    assert len(score.answers) == 64
    assert score.value == pytest.approx(weighted_sum(score.answers, [q["weight"] for q in QUESTIONS]))


def test_the_original_query_is_asked_about(tmp_path):
    made = reward(questions=OWN)
    made.model = Says(made, ["yes", "No", "yes"])
    score = made.score([clip(tmp_path, query="  a dog\n")])[0]
    assert made.model.asked == ['Does it show "a dog"? Answer with yes or no.', "Is it safe? Answer with yes or no.",
                                "Is it clear? Answer with yes or no."]  # fmt: skip
    assert score.answers == (True, False, True)
    assert (score.value, dict(score.dimensions)) == (2.5, {"A": 2.0, "C": 0.5})
    assert from_json(type(score), json.loads(json.dumps(to_json(score)))) == score


def test_an_answer_that_is_neither_is_none_and_counted(tmp_path, caplog):
    made = reward(questions=OWN, least=0.05)
    made.model = Says(made, ["yes", "video", "No"])
    assert made.score([clip(tmp_path)])[0].answers == (True, None, False)
    assert made.score([clip(tmp_path)])[0].value == 2.0  # the question without weight may be missing
    made.model.words = ["video", "yes", "yes"]
    assert (score := made.score([clip(tmp_path)])[0]).value is None
    assert dict(score.dimensions) == {"A": None, "C": 0.5}
    made.close()
    assert "3 of 9 answers were neither yes nor no" in caplog.text


def test_a_model_that_never_says_yes_raises_the_alarm_once(tmp_path, caplog):
    made = reward(questions=OWN)
    made.model = Says(made, ["no", "No", "NO"])
    with caplog.at_level(logging.WARNING):
        scores = made.score([clip(tmp_path, "a"), clip(tmp_path, "b")])
    assert [one.value for one in scores] == [0.0, 0.0]
    assert len(caplog.records) == 1
    assert 'no answer of 3 about clip a decoded to "yes"' in caplog.text
    assert "loaded wrongly" in caplog.text


def test_the_scale_of_visionrewards_script(tmp_path):
    made = reward(questions=OWN, scale="mean_of_signed")
    made.model = Says(made, ["yes", "yes", "no"])
    assert made.score([clip(tmp_path)])[0].value == pytest.approx((2.0 - 0.5) / 2)  # two questions have a weight
    assert (made.card()["maximum"], made.card()["scale"]) == (1.25, "-1.25 to 1.25")


def test_clips_that_cannot_be_read_have_no_score(tmp_path):
    made = reward(questions=OWN)
    paths = {name: clip(tmp_path, name) for name in ("empty", "cut", "gone", "fine")}
    (tmp_path / "empty.mp4").write_bytes(b"")
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 3])
    (tmp_path / "gone.mp4").unlink()
    black = clip(tmp_path, "black", frames=np.zeros((4, 64, 64, 3), np.uint8))
    unusable = dataclasses.replace(paths["fine"], id="unusable", status="frozen")
    strip = clip(tmp_path, "strip", frames=np.full((2, 2, 600, 3), 90, np.uint8))
    *unread, thin, fine = made.score(
        [paths["empty"], paths["cut"], paths["gone"], black, unusable, strip, paths["fine"]]
    )
    assert all(one.value is None and one.answers == (None,) * 3 for one in unread)
    assert isinstance(thin, Failure)
    assert "one side is more than 200 times the other" in thin.detail
    assert None not in fine.answers


def test_a_query_that_fills_the_models_positions_is_a_failure(tmp_path):
    made = reward(questions=OWN)
    failed, fine = made.score([clip(tmp_path, "long", query="dog " * 20000), clip(tmp_path, "short")])
    assert isinstance(failed, Failure)
    assert failed.kind == "too_long"
    assert "and the model reads 32768" in failed.detail
    assert fine.value is not None


@pytest.mark.parametrize(("values", "message"), [
    ({"questions": []}, "reward.questions is empty"),
    ({"scale": "percent"}, "reward.scale=percent is no scale"),
    ({"frames": "every 3"}, "reward.frames=every 3 names no frames"),
    ({"questions": [{"id": 1, "text": "?"}]}, r"reward.questions\[0\]: dimension is missing"),
    ({"questions": [{**OWN[0], "note": 1}]}, r"reward.questions\[0\]: note is no part of a question"),
    ({"questions": [{**OWN[0], "weight": "2"}]}, "its weight a number"),
    ({"path": "/nowhere"}, "reward.path=/nowhere: no such folder"),
])  # fmt: skip
def test_bad_values_are_refused_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as caught:
        reward(**values)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_yes_is_refused(tmp_path):
    folder = shutil.copytree(model_folder("qwen2_5_vl"), tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="no token for 'yes'"):
        reward(path=str(folder))


def test_the_card_names_what_a_number_depends_on():
    card = reward(questions=QUESTIONS).card()
    assert card["note"] == "checklist surrogate: the 29 weights were fitted on VisionReward's own answers"
    assert card["model"] == "qwen2_5_vl"  # the folder's name, not its place
    assert card["maximum"] == pytest.approx(6.27717, abs=1e-5)
    assert card["scale"] == "0 to 6.27717"
    assert len(card["questions"]) == 64
    assert {"input", "frames", "score", "better", "licence", "cannot_see"} <= card.keys()
    json.dumps(card)


def test_ways_to_write_yes_and_no():
    tokenizer = reward().model.tokenizer
    yes, no = token_ids(tokenizer, YES, "x"), token_ids(tokenizer, NO, "x")
    assert {tokenizer.decode([one]) for one in yes} == {"yes", "Yes", "YES", " yes", " Yes", " YES"}
    assert {tokenizer.decode([one]) for one in no} == {"no", "No", "NO", " no", " No", " NO"}


def test_the_likelier_answer():
    assert by_probability(0.3, 0.2, 0.05) is True
    assert by_probability(0.2, 0.2, 0.05) is False  # not greater
    assert by_probability(0.02, 0.02, 0.05) is None
    assert by_probability(float("nan"), 0.5, 0.0) is None
    # "yes" 0.2 + " Yes" 0.2 against "No" 0.3: the sum decides
    assert by_first_tokens({"yes": 0.2, " Yes": 0.2, "No": 0.3, "Well": 0.1}, 0.05) is True
    assert by_first_tokens({"\u0120no": 0.3, "yes": 0.1, "not": 0.5}, 0.05) is False
    assert by_first_tokens({"Nope": 0.9, "yesterday": 0.1}, 0.05) is None


@pytest.mark.parametrize(("text", "answer"), [
    ("yes", True), ("Yes.", True), (" NO\n", False), ("**Yes**", True), ('"no"', False), ("No, it is blurry.", False),
    ("Yes: it is", True), ("Yes\nbecause", True), ("Not really", None), ("yesterday", None), ("No idea", None), ("", None),
    ("The answer is yes", None), ("yes no", None), ("I cannot tell", None),
])  # fmt: skip
def test_answers_as_texts(text, answer):
    assert by_text(text) is answer


@pytest.mark.parametrize("name", ["vlm_checklist", "qwen3_vl", "internvl", "llava_onevision", "vlm_tiny"])
def test_the_configs_compose_and_describe_what_their_class_takes(name):
    config = composed(f"reward={name}")
    check_config(config)
    node = config["reward"]
    assert node["_target_"] == "vpo.reward.vlm_checklist.VLMChecklist"
    if name == "vlm_tiny":
        assert node["texts_file"] is None
        assert all("[[prompt]]" in one["text"] for one in node["questions"] if one["dimension"] == "Alignment")
        return
    assert len(node["questions"]) == 64
    checklist = Checklist(node["questions"], node["scale"], str(TEXTS_FILE))
    assert checklist.texts("a [[prompt]] dog")[0] == QUESTIONS[0]["text"].replace("[[prompt]]", "a [[prompt]] dog")
    assert checklist.texts("x")[4:] == [one["text"] for one in QUESTIONS[4:]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"reward.texts_file=.*texts.txt: no such file or directory; put VisionReward_Video/VisionReward_video_qa.txt"),
        (b"one line\n", r"texts.txt: it has no line for question 2; put .*VisionReward_video_qa.txt"),
        (b"one\n\nthree\n", r"texts.txt: it has no line for question 2"),
        (b"\xff\xfe\n", r"texts.txt: no text in UTF-8"),
    ],
)  # fmt: skip
def test_texts_that_are_not_there_are_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "texts.txt").write_bytes(content)
    questions = [{name: value for name, value in one.items() if name != "text"} for one in QUESTIONS[:3]]
    with pytest.raises(UserError, match=message):
        Checklist(questions, "sum_of_yes", str(tmp_path / "texts.txt"))
