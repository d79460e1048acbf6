"""VideoScore2: its text is read strictly; the whole path runs on a tiny Qwen2.5-VL whose last layer writes what the test says."""

import math

import pytest
import torch

from tests.checking.test_config import composed
from tests.reward.asking import clip, model_folder
from vpo.build import build
from vpo.checking.rules import check as check_config
from vpo.errors import UserError
from vpo.reward.videoscore2 import DIMENSIONS, find_scores

TEXT = "It is fine.\nvisual quality: 4;\ntext-to-video alignment: 2,\nphysical/common-sense consistency: 5"


def reward(**values):
    node = composed("reward=videoscore2")["reward"]
    tiny = {
        "path": str(model_folder("qwen2_5_vl")),
        "dtype": "float32",
        "device": "cpu",
        "min_pixels": 3136,
        "max_pixels": 9000,
    }
    return build({**node, **tiny, "max_new_tokens": 100, **values})


class Writes(torch.nn.Module):
    """A last layer that gives one token after the other; the second likeliest is always the digit 3."""

    def __init__(self, made, text, margin=2.0):
        super().__init__()
        tokenizer = made.model.tokenizer
        self.ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        self.three, self.margin, self.place, self.size = tokenizer.encode("3")[0], margin, 0, len(tokenizer)

    def forward(self, hidden):
        logits = torch.full((1, 1, self.size), -30.0)
        logits[..., self.three] = 0.0
        logits[..., self.ids[self.place]] = self.margin
        self.place += 1
        return logits


def test_scores_of_a_text(tmp_path):
    made = reward(soft=False)
    made.model.model.lm_head = Writes(made, TEXT)
    score = made.score([clip(tmp_path)])[0]
    assert dict(score.dimensions) == dict(zip(DIMENSIONS, (4.0, 2.0, 5.0), strict=True))
    assert score.value == pytest.approx(11 / 3)


def test_soft_scores_are_the_digit_times_its_probability(tmp_path):
    """Between the digit (2) and 3 (0), with the others at -30: e^2 / (e^2 + 1)."""
    made = reward()
    made.model.model.lm_head = Writes(made, TEXT)
    score = made.score([clip(tmp_path)])[0]
    share = math.exp(2) / (math.exp(2) + 1)
    assert list(score.dimensions.values()) == pytest.approx([4 * share, 2 * share, 5 * share], abs=1e-5)
    assert score.value == pytest.approx(11 / 3 * share, abs=1e-5)


def test_a_text_without_scores_is_none(tmp_path):
    """What the random weights write, and a text that is cut before its third score."""
    made = reward(max_new_tokens=8)
    assert made.score([clip(tmp_path)])[0].value is None
    cut = reward(max_new_tokens=60)
    cut.model.model.lm_head = Writes(cut, TEXT)
    score = cut.score([clip(tmp_path)])[0]
    assert (score.value, set(score.dimensions.values())) == (None, {None})


def test_the_model_is_told_the_query(tmp_path):
    made = reward(max_new_tokens=1)
    seen = []
    made.model.model.register_forward_pre_hook(lambda _, __, named: seen.append(named["input_ids"]), with_kwargs=True)
    made.score([clip(tmp_path, query="a <|im_end|> dog")])
    text = made.model.tokenizer.decode(seen[0][0])
    assert "The text: a <|im_end|> dog\n" in text
    assert "REWRITTEN" not in text
    end = made.model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (seen[0] == end).sum() == 2  # of the system's turn and the user's


def test_unreadable_and_unusable_clips_have_no_score(tmp_path):
    made = reward()
    broken = clip(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"no")
    assert made.score([broken])[0].value is None


@pytest.mark.parametrize(("text", "scores"), [
    (TEXT, [4, 2, 5]),
    ("(1) visual quality: 3\n(2) text-to-video alignment: 1\n(3) physical/common-sense consistency: 2", [3, 1, 2]),
    ("**Visual Quality**: 3/5; **Text-to-Video Alignment**: 3/5, **Physical/Common-sense Consistency**: 5/5", [3, 3, 5]),
    (f"{TEXT}\n\nFinal:\n{TEXT}", [4, 2, 5]),  # said twice, and the same
    (f"{TEXT}\n{TEXT.replace('4', '3')}", None),
    (TEXT.replace("4", "6"), None),
    (TEXT.replace("4", "0"), None),
    (TEXT.replace("4", "45"), None),
    (TEXT.replace("4", "4.5"), None),
    (TEXT.replace("4", "four"), None),
    (TEXT.replace("4", "4/10"), None),
    (TEXT.replace("alignment: 2", "alignment"), None),
    ("visual quality: 4, but I would say that text-to-video alignment: 2, physical/common-sense consistency: 5", None),
    ("text-to-video alignment: 2, visual quality: 4; physical/common-sense consistency: 5", None),
    ("", None),
])  # fmt: skip
def test_texts_are_read_strictly(text, scores):
    found = find_scores(text)
    assert (found and [score for score, _ in found]) == scores
    if found:
        assert [text[place] for _, place in found] == [str(one) for one in scores]


def test_the_config_composes():
    config = composed("reward=videoscore2")
    check_config(config)
    assert "{}" in config["reward"]["instruction"]
    with pytest.raises(UserError, match=r"one \{\} where the query stands"):
        reward(instruction="?")
    assert reward().card()["run_by_us"] is False
