"""A checklist over real HTTP: the server opens the pictures that it is sent and answers from their pixels."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from tests.checking.test_config import composed
from tests.language.chat_server import Reply, chat_server, completion, error
from tests.reward.asking import QUESTIONS, clip
from tests.reward.test_vlm_checklist import OWN
from vpo.build import build
from vpo.checking.rules import check as check_config
from vpo.errors import UserError
from vpo.language.chat.messages import message_ids
from vpo.language.serving.calls import Dialect, image_url
from vpo.records import Failure, Message, Request, from_json, to_json


def pictures(body):
    """The pictures of a request, float (n, H, W, 3), and its question."""
    *images, text = body["messages"][0]["content"]
    head = "data:image/jpeg;base64,"
    assert all(one["type"] == "image_url" and one["image_url"]["url"].startswith(head) for one in images)
    opened = [Image.open(io.BytesIO(base64.b64decode(one["image_url"]["url"].removeprefix(head)))) for one in images]
    return np.stack([np.asarray(one) for one in opened]).astype(float), text["text"]


def says(word, logprobs=None):
    """An answer; `logprobs` are {token: probability} of the first token."""
    body = completion(word)
    if logprobs is not None:
        likeliest = [{"token": token, "logprob": math.log(value), "bytes": None} for token, value in logprobs.items()]
        body["choices"][0]["logprobs"] = {"content": [{**likeliest[0], "top_logprobs": likeliest}]}
    return Reply(body=body)


def red_says_yes(_, body):
    """Yes where the first picture is red: by a sum of two tokens against the likeliest one, "No"."""
    frames, _ = pictures(body)
    red = frames[0, ..., 0].mean() > frames[0, ..., 2].mean()
    return says("No", {"No": 0.4, "Yes": 0.3 if red else 0.1, " yes": 0.2 if red else 0.1})


def plain(colour, count=4):
    return np.broadcast_to(np.array(colour, np.uint8), (count, 64, 96, 3)).copy()


def reward(server, **values):
    node = composed("reward=vlm_server", f"reward.engine.base_url={server.base_url}", "reward.engine.model=tiny",
                    "reward.engine.cache=null", "reward.frames=span 4")["reward"]  # fmt: skip
    return build({**node, "questions": OWN, "min_pixels": 3136, **values})


def test_frames_are_sent_as_pictures_and_answers_read_from_the_first_token(tmp_path):
    with chat_server(red_says_yes) as server:
        made = reward(server)
        red, blue = made.score([
            clip(tmp_path, "red", frames=plain((200, 40, 40))), clip(tmp_path, "blue", query="a cat", frames=plain((40, 40, 200))),
        ])  # fmt: skip
        made.close()
    assert red.answers == (True, True, True)
    assert blue.answers == (False, False, False)
    assert (red.value, blue.value) == (2.5, 0.0)
    assert len(server.bodies) == 6
    for body in server.bodies:
        frames, _ = pictures(body)
        assert frames.shape == (4, 56, 84, 3)  # 64 x 96 in multiples of 28: round(2.29) = 2, round(3.43) = 3
        assert body["temperature"] == 0
        assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
        assert "seed" not in body
    texts = sorted(pictures(body)[1] for body in server.bodies)
    assert 'Does it show "a cat"? Answer with yes or no.' in texts
    assert 'Does it show "a dog runs"? Answer with yes or no.' in texts


def test_without_probabilities_the_text_is_read(tmp_path, caplog):
    words = {"show": "Yes.", "safe": "I cannot tell.", "clear": "no"}
    with chat_server(lambda _, body: says(next(words[one] for one in words if one in pictures(body)[1]))) as server:
        made = reward(server)
        score = made.score([clip(tmp_path)])[0]
        made.close()
    assert score.answers == (True, None, False)
    assert score.value == 2.0
    assert "1 of 3 answers were neither yes nor no" in caplog.text


def test_a_thought_before_the_answer_is_no_answer(tmp_path):
    with chat_server(lambda *_: says("<think>No way?</think>Yes", {"<think>": 0.9, "no": 0.1})) as server:
        assert reward(server).score([clip(tmp_path)])[0].answers == (True, True, True)


def test_unlikely_answers_are_none(tmp_path):
    with chat_server(lambda *_: says("The", {"The": 0.9, "yes": 0.02, "no": 0.01})) as server:
        assert reward(server).score([clip(tmp_path)])[0].answers == (None, None, None)


def test_a_server_that_refuses_logprobs_says_what_to_leave_out(tmp_path):
    def refuse(_, body):
        if "logprobs" in body:
            return Reply(400, error("Unknown parameter: 'top_logprobs'.", param="top_logprobs"))
        return says("yes")

    with chat_server(refuse) as server:
        with pytest.raises(UserError, match=r"engine\.omit=\[logprobs\]"):
            reward(server).score([clip(tmp_path)])
        node = composed("reward=vlm_server", f"reward.engine.base_url={server.base_url}", "reward.engine.model=tiny",
                        "reward.engine.cache=null", "reward.engine.omit=[logprobs]")["reward"]  # fmt: skip
        assert build({**node, "questions": OWN}).score([clip(tmp_path)])[0].value == 2.5


def test_a_request_that_fails_fails_the_clip_and_no_other(tmp_path):
    def filtered(_, body):
        return (
            Reply(400, error("content_filter", code="content_filter")) if "a cat" in pictures(body)[1] else says("yes")
        )

    with chat_server(filtered) as server:
        bad, good = reward(server).score([clip(tmp_path, "bad", query="a cat"), clip(tmp_path, "good")])
    assert isinstance(bad, Failure)
    assert bad.kind == "content_filter"
    assert bad.detail.startswith("1 of 3 questions: ")
    assert good.value == 2.5


def test_unreadable_clips_are_not_asked_about(tmp_path):
    with chat_server(lambda *_: says("yes")) as server:
        broken = clip(tmp_path, "broken")
        (tmp_path / "broken.mp4").write_bytes(b"no video")
        score, fine = reward(server).score([broken, clip(tmp_path, "fine")])
    assert score.answers == (None,) * 3
    assert fine.value == 2.5
    assert len(server.bodies) == 3


def test_answers_are_paid_once_and_the_cache_keeps_no_pictures(tmp_path):
    with chat_server(red_says_yes) as server:
        node = composed("reward=vlm_server", f"reward.engine.base_url={server.base_url}", "reward.engine.model=tiny",
                        f"reward.engine.cache={tmp_path / 'answers'}")["reward"]  # fmt: skip
        one = clip(tmp_path, "one", frames=plain((200, 40, 40)))
        first = build({**node, "questions": OWN}).score([one])
        assert build({**node, "questions": OWN}).score([one]) == first
        assert len(server.bodies) == 3
        build({**node, "questions": OWN}).score([clip(tmp_path, "two", frames=plain((200, 60, 40)))])
        assert len(server.bodies) == 6  # other pictures are another request
    kept = list((tmp_path / "answers").rglob("*.json"))
    assert len(kept) == 6
    assert max(path.stat().st_size for path in kept) < 6000
    assert "sha256" in kept[0].read_text()


def test_what_text_requests_are_sent_is_unchanged():
    """Byte for byte: the keys of answers that were paid are made of it."""
    dialect = Dialect("tiny", {}, (), "max_tokens")
    call = dialect.call(Request(messages=(Message("user", "Hi"),)))
    assert json.dumps(call.asked("x")) == json.dumps({
        "endpoint": "x", "path": "chat/completions",
        "body": {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 512, "temperature": 0.0,
                 "top_p": 1.0},
        "draw": None,
    })  # fmt: skip


def test_a_picture_may_be_a_file(tmp_path):
    Image.fromarray(plain((1, 2, 3), 1)[0]).save(tmp_path / "a.png")
    url = image_url(str(tmp_path / "a.png"))
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2]) == (tmp_path / "a.png").read_bytes()
    with pytest.raises(UserError, match="cannot be read"):
        image_url(str(tmp_path / "b.png"))
    with pytest.raises(UserError, match="is no picture's file"):
        image_url(str(tmp_path / "a.txt"))


def test_requests_with_pictures_travel_as_json():
    request = Request(messages=(Message("user", "?", ("data:a", "b.png")),), top_logprobs=3)
    assert from_json(Request, json.loads(json.dumps(to_json(request)))) == request
    old = {"messages": [{"role": "user", "content": "?"}], "prompt_ids": [], "seed": 1}
    assert from_json(Request, old).messages[0].images == ()


def test_a_language_model_in_this_process_takes_no_pictures():
    with pytest.raises(ValueError, match="a turn has images"):
        message_ids(None, [Message("user", "?", ("data:a",))])


def test_the_config_composes_and_its_faults_name_the_rewards_own_keys():
    values = ["reward=vlm_server", "reward.engine.base_url=http://localhost:1/v1", "reward.engine.model=tiny"]
    config = composed(*values)
    check_config(config)
    assert len(config["reward"]["questions"]) == len(QUESTIONS)
    assert config["reward"]["engine"]["_target_"] == "vpo.language.server.ServerEngine"
    assert config["engine"] != config["reward"]["engine"]
    with pytest.raises(UserError, match=r"reward\.engine\.omit=\[model\]"):
        check_config(composed(*values, "reward.engine.omit=[model]"))
    with pytest.raises(UserError, match=r"reward\.quality=0"):
        build({**config["reward"], "quality": 0})
