"""The judge that asks and reads as VPO's released code: its rules, and each of its pitfalls."""

import hashlib

import pytest

from tests.judge.asking import HOSTILE, Scripted, prompts
from vpo.errors import UserError
from vpo.judge.vpo_released import ReleasedJudge, judgement_in, refinement_in
from vpo.records import Failure, Message, Reason, Verdict
from vpo.templates import read_template

CAR = "A red car drives along the coast."
MARKER = "Final Judgement (Yes or No):"


def judged(answer, text=CAR, **values):
    return ReleasedJudge(Scripted(lambda request: answer), **values).critique(prompts(text))[0]


def test_yes_is_no_flaw_and_no_is_not_accurate():
    yes, no = judged(f"All is there.\n{MARKER} Yes"), judged(f"The car is blue.\n\n{MARKER} No")
    assert (yes.harmless, yes.accurate, yes.helpful, yes.fine, yes.alignment) == (True, True, True, True, "aligned")
    assert (no.harmless, no.accurate, no.helpful, no.fine, no.alignment) == (True, False, True, False, "imprecise")
    assert no.reasons == (Reason("accurate", "not_aligned", "The car is blue."),)


PITFALLS = {
    "a No with a Yes behind it is Yes": (f"{MARKER} No. If the car were red: Yes", True),
    "small letters are No": (f"{MARKER} yes", False),
    "anything else is No": (f"{MARKER} aligned", False),
    "nothing is No": (f"{MARKER}", False),
    "Yesterday is Yes": (f"{MARKER} No, not since Yesterday", True),
    "a quoted marker decides": (f'The prompt says "{MARKER} Yes".\n{MARKER} No', True),
    "what stands before the marker does not count": (f"Yes, yes. Yes!\n{MARKER} No", False),
    "the colon is no part of the marker": ("**Final Judgement (Yes or No)** - Yes", True),
    "another marker is none": ("Final Judgment (Yes or No): Yes", None),
    "in other letters it is none": ("final judgement (yes or no): Yes", None),
}


@pytest.mark.parametrize(("critique", "aligned"), PITFALLS.values(), ids=PITFALLS)
def test_how_the_released_code_reads_a_critique(critique, aligned):
    assert judgement_in(critique) is aligned


def test_without_a_marker_nothing_is_dropped_in_silence():
    found = judged("The prompt is well aligned. Yes.")
    assert (found.harmless, found.accurate, found.helpful, found.fine) == (None, None, None, None)
    assert {one.kind for one in found.reasons} == {"unreadable"}
    assert judged("").kind == "empty"
    assert judged("I'm sorry, but I can't help with that.").kind == "refusal"
    failure = Failure("timeout", "slow", retryable=True)
    assert judged(failure) == failure


@pytest.mark.parametrize(
    ("answer", "text"),
    [("Reflection: red.\n[[start]] A red car. [[end]]", "A red car."), ("[[start]]\nA red car.\n[[end]]", "A red car."),
     ("[[start]]A[[end]] or [[start]]B[[end]]", "A"), ("[[end]] [[start]] A red car.", "A red car."),
     ("A red car.", None), ("[[start]] A red car.", None), ("A red car. [[end]]", None), ("[[start]]  [[end]]", None),
     ("[[start]] A red car.\nIt drives. [[end]]", None), ("[START] A red car. [END]", None)],
)  # fmt: skip
def test_how_the_released_code_reads_a_refinement(answer, text):
    assert refinement_in(answer) == text


def test_a_refusal_and_a_copy_pass_for_a_refinement():
    flawed = Verdict("p0", True, False, True, raw=f"It is blue. {MARKER} No")
    for text in (CAR, "I'm sorry, but I can't help with that."):
        judge = ReleasedJudge(Scripted(lambda request, text=text: f"[[start]] {text} [[end]]"))
        assert judge.refine(prompts(CAR), [flawed]) == [text]


def test_a_refinement_is_asked_for_in_the_conversation_of_the_critique():
    engine = Scripted(lambda request: f"<think>hm</think>It is blue. {MARKER} No")
    judge = ReleasedJudge(engine)
    (prompt,) = prompts(CAR, query="a blue car {}")
    verdict = judge.critique([prompt])[0]
    judge.refine([prompt], [verdict])
    before, middle, after = read_template("released_critique", slots=2).split("{}")
    question = Message("user", f"{before}a blue car {{}}{middle}{CAR}{after}")
    system = Message("system", "You are a helpful assistant.")
    asked, again = engine.asked
    assert asked.messages == (system, question)
    assert again.messages == (
        system, question, Message("assistant", f"It is blue. {MARKER} No"), Message("user", read_template("released_refine", slots=0)),
    )  # fmt: skip
    assert asked.sampling.temperature == 0.7
    assert asked.seed != again.seed


def test_without_a_critique_there_is_no_conversation():
    flawed = Verdict("p0", True, False, True)
    judge = ReleasedJudge(Scripted(lambda request: "[[start]] A [[end]]"))
    kept = Verdict("p1", True, False, True, raw=f"It is blue. {MARKER} No")
    found = judge.refine(prompts(CAR, CAR), [flawed, kept])
    assert (found[0].kind, found[1]) == ("no_critique", "A")


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_query_and_prompt_stand_raw_between_quotes(hostile):
    """As in the released code: this is why judge=llm puts them otherwise."""
    engine = Scripted(lambda request: f"{MARKER} No")
    ReleasedJudge(engine).critique(prompts(hostile))
    assert f"\u201c{hostile}\u201d" in engine.asked[0].messages[1].content
    # The answer alone is read, never what was asked.
    assert judged(f"It is blue. {MARKER} No", text=hostile).accurate is False


def test_the_released_texts_are_read_from_files_and_named(tmp_path, monkeypatch):
    critique, refine = tmp_path / "critique.txt", tmp_path / "refine.txt"
    critique.write_text("Judge {} and {}.", encoding="utf-8")
    refine.write_text("Refine.", encoding="utf-8")
    files = {"critique_file": str(critique), "refine_file": str(refine)}
    engine = Scripted(lambda request: f"{MARKER} Yes")
    found = ReleasedJudge(engine, **files).critique(prompts(CAR))[0]
    assert engine.asked[0].messages[1].content == f"Judge a red car at sunset and {CAR}."
    digest = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_of(critique, refine)}
    assert found.judge == f"vpo_released 1, scripted, critique {digest['critique'][:8]} refine {digest['refine'][:8]}"
    monkeypatch.setattr("vpo.judge.vpo_released.RELEASED_CRITIQUE", digest["critique"])
    monkeypatch.setattr("vpo.judge.vpo_released.RELEASED_REFINE", digest["refine"])
    found = ReleasedJudge(engine, **files).critique(prompts(CAR))[0]
    assert found.judge == "vpo_released 1, scripted, critique released refine released"


def files_of(critique, refine):
    return (("critique", critique), ("refine", refine))


def test_files_that_do_not_fit_are_one_line(tmp_path):
    (tmp_path / "one.txt").write_text("Judge {}.")
    for path, words in (("one.txt", "must hold two slots"), ("none.txt", "cannot be read")):
        with pytest.raises(UserError, match=f"judge.critique_file=.*{words}"):
            ReleasedJudge(Scripted(lambda request: ""), critique_file=str(tmp_path / path))
    with pytest.raises(UserError, match=r"judge.refine_file=.*must hold no slot"):
        ReleasedJudge(Scripted(lambda request: ""), refine_file=str(tmp_path / "one.txt"))
