"""Flags, links, file names and markup: never in a refined prompt, and a flaw of form where a prompt holds them."""

import itertools

import pytest

from tests.judge.conftest import GOOD, kinds, repaired_of, verdict_of
from vpo.judge.rules import helpfulness
from vpo.judge.rules.judge import RulesJudge
from vpo.judge.rules.requirements import understand
from vpo.language.markup import find_marks, without_marks

QUERY = "a red car driving at sunset"
FLAGS = (
    "-ar 16:9", "--ar 16:9", "---ar 16:9", "\u2014ar 16:9", "\u2013ar 16:9", "-ar16:9", "--ar:16:9", "-ar  16 : 9", "ar--16:9",
    "gs-15", "-gs 15", "-gs=15", "-fps 24", "- fps 24", "-seed 7640474", "--motion 2", "-motion2", "-m 4", "--v 5.2", "--style raw",
    "--stylize 50 --chaos 20", "--no people", "-neg blur, text", '-neg "blur, text"', "--neg blurry ugly", "-camera zoom in",
    "--camera zoom in", "- camera zoom in", "--hd", "--unheard-of 3", "-16:9", "Message: HELLO (Font: MODERN)", "Message: . (Font: X)",
    "-gs 15 -fps 24 -ar 16:9 -motion 3 -neg blur -camera zoom in",
)  # fmt: skip
MARKUP = {
    "IMG_2034.jpg": "file_name", "photos/my-cat.final.PNG": "file_name", "C:\\pictures\\a.jpeg": "file_name", "DSC_0012": "file_name",
    "https://example.com/a?b=c": "link", "www.example.com": "link", "example.com/watch": "link", "me@example.com": "link",
    "<lora:toy:0.8>": "markup", "<#123>": "markup", "<@42>": "markup", "<|im_end|>": "markup", "<!-- x -->": "markup",
    "<br/>": "markup", "</p>": "markup", '<img src="a">': "markup", "#cinematic": "markup", "#1693967142790831": "markup",
    "```": "markup",
}  # fmt: skip


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_of_a_query_never_stand_in_a_refined_prompt(judge: RulesJudge, flag: str) -> None:
    for query in (f"{QUERY} {flag}", f"{QUERY}  ,{flag}" if flag[0] == "-" else f"{QUERY}, {flag}"):
        assert understand(query).text == QUERY
        for answer in (GOOD.replace("A red car", "A blue car"), GOOD.replace("at sunset", "at noon")):
            refined = repaired_of(judge, query, answer)
            assert refined is not None
            assert not set("-:\u2013\u2014()16;=") & set(refined), refined
            assert ("zooms in" in refined) == ("zoom in" in flag)


def test_flags_are_read_in_any_order() -> None:
    flags = ("--motion 1", "-camera pan left", "-neg blur, cats", "--ar 16:9", "Message: HI (Font: X)")
    for order in itertools.permutations(flags):
        required = understand(" ".join([QUERY, *order]))
        assert (required.text, required.motion, required.excluded) == (QUERY, 1, ("blur", "cats")), order
        assert [item.words for item in required.items if item.kind == "camera"] == ["pan left"]
    required = understand(f"--camera pan left --motion 1 --ar 16:9 {QUERY}")
    assert (required.text, required.motion) == (QUERY, 1)


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("a forest - 4k, camera pan right", "a forest, camera pan right"),
        ("a man, 8k, 24 fps, motion 5, film", "a man, film"),
        ("a bright city. Motion-4, 28k, 24-fps, gs-28.", "a bright city."),
        ("wait for it...", "wait for it..."),
    ],
)
def test_no_punctuation_is_left_where_a_flag_was(query: str, plain: str) -> None:
    assert understand(query).text == plain


@pytest.mark.parametrize("place", ["front", "middle", "end"])
@pytest.mark.parametrize(("sign", "kind"), [*((flag, "flag") for flag in FLAGS), *MARKUP.items()])
def test_left_in_a_prompt_it_is_a_flaw_that_refine_removes(judge: RulesJudge, sign: str, kind: str, place: str) -> None:
    first, second = GOOD.split(". ", 1)
    text = {"front": f"{sign}. {GOOD}", "middle": f"{first} {sign}. {second}", "end": f"{GOOD} {sign}"}[place]
    query = "a red car driving at sunset"
    verdict = verdict_of(judge, query, text)
    assert verdict.helpful is False
    assert kind in {found for found, _ in kinds(verdict, "helpful")}
    assert repaired_of(judge, query, text) == GOOD


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("**A red car** drives on a `coastal` road, __at__ ~~blue~~ _sunset_.",
         "A red car drives on a coastal road, at blue sunset."),
        ("# A red car\n\n- a coastal road\n- waves\n\nThe end.", "A red car. a coastal road. waves. The end."),
        ("1. A red car.\n2. A road.", "A red car. A road."),
        ("> A <b>red</b> car<br>on a [road](http://a.b/c).", "A red car on a road."),
        ("A red car &amp; a dog&#39;s road", "A red car & a dog's road"),
        ("red car | coastal road | sunset", "red car, coastal road, sunset"),
        ("| a car |\n|---|\n| a road |", "a car, a road"),
        ("a (red car:1.3), road::2 sea::-1", "a red car, road sea"),
        ("<prompt>A red car</prompt>", "A red car"),
        ("-realistic, -high detail", "realistic, high detail"),
        ("A red car (--ar 16:9) drives, -fps 24, fast. -neg blur, dogs. The road is wet.", "A red car drives, fast. The road is wet."),
    ],
)  # fmt: skip
def test_what_is_marked_up_stays(written: str, plain: str) -> None:
    assert without_marks(written) == plain
    assert find_marks(plain) == ()


@pytest.mark.parametrize(
    "text",
    [
        "A dog - a big one - runs; the man \u2014 tall, well-lit \u2014 walks \u2013 slowly.",
        "A 2-camera rig, a 24-hour clock, an 8-bit car.",
        "At 10:30 the No. 1 racer (the #1) wins 3:2, 5 * 3 times, for $5.", "I <3 you: a < b and c > d.",
        "U.S. and/or U.K. flags, 3.5 m high...",
        "A close-up, low-angle shot in slow-motion.\nThe T-shirt is red.", "A message is written in the sand: hello.",
        "x_y and a_b_c", "",
        "A 16:9 picture at 24 fps in 4k.",
    ],
)  # fmt: skip
def test_plain_prose_holds_none(text: str) -> None:
    assert find_marks(text) == ()
    assert without_marks(text) == text


def test_the_sketch_worlds_captions_hold_none() -> None:
    dataset, drafter = pytest.importorskip("vpo.sketch.dataset"), pytest.importorskip("vpo.sketch.drafter")
    queries = dataset.SketchDataset(11, 500, 0, 0, 0.1).splits()["sft"]
    method = drafter.SketchDrafter(drop=0.3, change=0.3, leak=0.5, lead_in=0.3, long=0.2, bare=0.3)
    for text, flaws in (method.draft_with_truth(query, 3) for query in queries):
        assert find_marks(text) == ()
        assert helpfulness.refusal(text) == ""
        assert bool(helpfulness.lead_in(text)) == ("lead_in" in flaws)
