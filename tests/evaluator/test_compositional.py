"""Compositional questions: how they are read, shares by hand, questions that a data set brings, and a local model of a true class."""

import json

import pytest

from tests.conftest import run_vpo
from tests.evaluator.judged import clip_of, node_of, sample
from tests.judge.asking import Scripted
from tests.language.chat_server import Reply, chat_server, completion
from tests.reward.asking import model_folder
from tests.reward.test_vlm_server import pictures, plain
from vpo.build import build, card_of
from vpo.evaluator.compositional import Question, questions_in
from vpo.records import Completion, Failure

THREE = "attribute: Is the dog red?\nspatial: Is the cat on the left of the dog?\nspatial: Is the moon above?"
AWAY = Failure("refused", "no clip")


def made(answer, **values):
    engine = Scripted(answer)
    return build({**node_of("compositional"), **values}, engine=engine), engine


def answering(questions, yes=("red",)):
    """The writer's questions, and yes to those that hold one of some words."""

    def answer(request):
        text = request.messages[0].content
        if not request.messages[0].images:
            return questions
        return "I see it.\nAnswer: " + ("yes" if any(word in text for word in yes) else "no")

    return answer


@pytest.fixture
def clip(tmp_path):
    return clip_of(tmp_path / "clip.mp4", plain((90, 120, 60), 10))


def test_questions_are_lines_of_the_form_or_none():
    for text, due in {
        THREE: ["attribute", "spatial", "spatial"],
        "- numeracy: Are there exactly two dogs?": ["numeracy"],
        "none": [],
        "None.": [],
        "attribute: Is it red?\nattribute: Is it red?": ["attribute"],
        "\n".join(f"numeracy: Are there {n} dogs?" for n in range(12)): ["numeracy"] * 8,
    }.items():
        assert [one.kind for one in questions_in(Completion(text, "stop"))] == due, text
    for text in ("Here are some questions:\n" + THREE, "attribute: red dog", "colour: Is it red?", ""):
        assert questions_in(Completion(text, "stop")).kind == "no_questions", text
    assert questions_in(Completion(THREE, "length")).kind == "no_questions"
    assert questions_in(Completion("attribute: Is it red?", "stop")) == [Question("attribute", "Is it red?")]


def test_shares_of_yes_by_kind(clip):
    """Of one attribute question yes, of two spatial ones yes and no: 2 of 3 in all."""
    evaluator, engine = made(answering(THREE, ("red", "moon")))
    (row,) = evaluator.measure([sample("x", query="a red dog", clip=clip)])
    assert row == {
        "compositional": pytest.approx(2 / 3), "compositional_attribute": 1.0, "compositional_spatial": 0.5, "questions_unread": 0.0,
    }  # fmt: skip
    assert row.answers["questions"] == THREE
    yes, no = "I see it.\nAnswer: yes", "I see it.\nAnswer: no"
    asked = [(name.partition(":")[0], said) for name, said in row.answers.items() if name != "questions"]
    assert asked == [("clip 1, attribute", yes), ("clip 1, spatial", no), ("clip 1, spatial", yes)]
    assert len(engine.asked) == 4
    assert all(
        '"query"' not in one.messages[0].content for one in engine.asked[1:]
    )  # who answers does not know the query
    assert card_of(node_of("compositional")).metric_of("compositional_spatial").name == "compositional"


def test_several_clips_and_what_was_not_made(clip):
    evaluator, _ = made(answering(THREE, ("red", "moon")))
    both, none, nothing = evaluator.measure([sample("x", clip=(clip, AWAY)), sample("x", clip=AWAY), sample("x")])
    assert both["compositional_spatial"] == 0.5
    assert none == dict.fromkeys(("compositional", "compositional_attribute", "compositional_spatial"))
    assert nothing == {}


def test_a_query_without_questions_has_no_number_and_bad_questions_have_failed(clip):
    assert made(answering("none"))[0].measure([sample("x", clip=clip)]) == [{}]
    (bad,) = made(answering("I cannot."))[0].measure([sample("x", clip=clip)])
    assert (bad, bad.answers) == ({"compositional": None}, {"questions": "I cannot."})


def test_an_answer_that_cannot_be_read_leaves_its_kind_unknown(clip):
    def answer(request):
        if not request.messages[0].images:
            return THREE
        return "Hm." if "moon" in request.messages[0].content else "Answer: yes"

    (row,) = made(answer)[0].measure([sample("x", clip=clip)])
    assert (row["compositional"], row["compositional_attribute"], row["compositional_spatial"]) == (None, 1.0, None)
    assert row["questions_unread"] == pytest.approx(1 / 3)


def test_a_data_set_may_bring_the_questions_and_failures_that_pass_are_failures(clip):
    own = {"questions": [{"kind": "numeracy", "text": "Are there exactly two dogs?"}]}
    evaluator, engine = made(answering("none", ("two",)))
    assert evaluator.measure([sample("x", clip=clip, meta=own)])[0]["compositional_numeracy"] == 1.0
    assert len(engine.asked) == 1
    late = Failure("timeout", "late", retryable=True)
    assert made(lambda _: late)[0].measure([sample("x", clip=clip)]) == [late]


def test_split_batches_equal_one(clip):
    evaluator, _ = made(answering(THREE))
    many = [sample("x", query=f"a red dog {n}", clip=clip) for n in range(3)]
    assert evaluator.measure(many) == [row for one in many for row in evaluator.measure([one])]
    assert evaluator.measure([]) == []


def test_pictures_go_to_the_server_and_text_to_the_writer(clip):
    def answer(_, body):
        if isinstance(body["messages"][0]["content"], str):
            return Reply(body=completion("attribute: Is it green?"))
        frames, text = pictures(body)
        green = frames[..., 1].mean() > frames[..., 0].mean()
        assert "Is it green?" in text
        return Reply(body=completion(f"Answer: {'yes' if green else 'no'}"))

    with chat_server(answer) as server:
        evaluator = build(node_of("compositional", server))
        (row,) = evaluator.measure([sample("x", clip=clip)])
        evaluator.close()
    assert row["compositional"] == 1.0


def test_a_local_model_is_asked_alike_and_its_noise_is_no_answer(clip):
    engine = {
        "_target_": "vpo.reward.asking.engine.VisionEngine", "model": str(model_folder("qwen2_5_vl")), "revision": None,
        "dtype": "float32", "device": "cpu", "min_pixels": 3136, "max_pixels": 6272,
    }  # fmt: skip
    own = {"questions": [{"kind": "attribute", "text": "Is it red?"}]}
    evaluator = build({**node_of("compositional"), "engine": engine, "max_new_tokens": 4})
    (row,) = evaluator.measure([sample("x", clip=clip, meta=own)])
    evaluator.close()
    assert row == {"compositional": None, "compositional_attribute": None, "questions_unread": 1.0}


@pytest.mark.slow
def test_a_run_with_a_local_model_counts_its_noise_as_failed(tmp_path):
    """A random Qwen2.5-VL in this process judges clips in three ways: what it says cannot be read, and is counted as that."""
    chosen = [
        "method=[original,sketch_fewshot]",
        "evaluator=[winrate_clips,clip_safety,compositional]",
        "dataset.test=2",
    ]
    engine = [
        "engine=vlm", f"engine.model={model_folder('qwen2_5_vl')}", "engine.dtype=float32", "engine.min_pixels=3136",
        "engine.max_pixels=6272",
    ]  # fmt: skip
    short = [
        f"evaluator.{name}.{key}" for name in ("winrate_clips", "clip_safety", "compositional")
        for key in ("max_new_tokens=3", "shown.frames=span 2", "shown.min_pixels=3136", "shown.max_pixels=6272")
    ]  # fmt: skip
    done = run_vpo("run", "experiment=smoke", *chosen, *engine, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("runs/smoke/*/results.json")
    results = json.loads(file.read_text())
    for of_method in results["methods"].values():
        for name in ("clip_winrate", "clip_unsafe", "compositional"):
            assert (of_method[name]["mean"], of_method[name]["n"], of_method[name]["n_failed"]) == (None, 0, 2), name
        assert of_method["clip_unread"]["mean"] == 1.0
    assert "qwen2_5_vl" in results["evaluators"]["clip_safety"]["about"]
