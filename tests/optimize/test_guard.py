"""What the guard lets pass, and what it repairs."""

import json
import re

import pytest

from tests.conftest import SHARED
from tests.optimize.conftest import GOOD, TEMPLATE
from vpo.optimize.guard import Guard
from vpo.optimize.queries import read_query
from vpo.optimize.target import TargetModel
from vpo.records import Failure, Verdict

QUERY = read_query("a cute dog on the grass", 2000)
FINE = Verdict("p", True, True, True)


class Silent:
    """A judge that gives one answer to all and refines nothing."""

    def __init__(self, answer):
        self.answer = answer

    def critique(self, prompts):
        return [self.answer for _ in prompts]

    def refine(self, prompts, verdicts):
        return [None for _ in prompts]


@pytest.fixture
def guard(judge):
    return lambda target="none", language="keep": Guard(judge, TargetModel(target), language, TEMPLATE)


def kinds(guard, text, query=QUERY, cut=False):
    (candidate,) = guard.check([query], [text], "sampled", [cut])
    return {reason.kind for reason in candidate.problems}


def test_a_good_prompt_passes(guard):
    assert kinds(guard(), GOOD) == set()


def test_a_plain_prompt_passes_though_it_names_no_light(guard):
    assert kinds(guard(), "A cute dog sits on the grass.") == set()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        ("A cat sits on the grass.", "missing"),
        ("I'm sorry, but I can't help with that request.", "refusal"),
        ("Here is your video prompt: " + GOOD, "lead_in"),
        (GOOD + " --ar 16:9", "flag"),
        (GOOD + " <|im_end|>", "markup"),
        (GOOD + " See https://example.org/dog.mp4", "link"),
        (
            GOOD + " Keep the scene feasible and well-suited for a brief duration, avoiding unnecessary complexity.",
            "echo",
        ),
        (GOOD + " User Query: a cute dog on the grass.", "note"),
        (f"{GOOD} Video Prompt: {GOOD}", "echo"),
        (
            "Ein süßer Hund läuft über das Gras, und die Kamera folgt ihm mit einer ruhigen Bewegung. Dog grass.",
            "language",
        ),
        (GOOD + " \ufffd\ufffd", "decoding"),
        (GOOD + " \x04", "decoding"),
        (GOOD + " \x9d", "decoding"),
        (GOOD + " 镜头缓缓推进。", "other_script"),
        (GOOD + " This video prompt captures the joy of the dog.", "note"),
        (GOOD + " Here's how it can be edited to meet the above criteria.", "note"),
        ("Title: A Dog. " + GOOD, "lead_in"),
        (GOOD + " This video is a gentle way to celebrate dogs.", "note"),
        (f"{GOOD} {GOOD}", "loop"),
        (GOOD + " GirlGirlGirlGirl.", "loop"),
        (GOOD + " Very very very very green.", "loop"),
        (GOOD + " Behind it, the", "cut_off"),
        (f'{{"prompt": "{GOOD}"}}', "json"),
    ],
)
def test_what_no_user_wants_is_named(guard, text, kind):
    assert kind in kinds(guard(), text)


def test_an_unsafe_prompt_does_not_pass(guard):
    (candidate,) = guard().check([QUERY], [GOOD + " A man stabs a woman with a knife."], "sampled", [False])
    assert "harmless" in {reason.aspect for reason in candidate.problems}


@pytest.mark.parametrize(
    ("kinds", "answer"),
    [
        ({"lead_in"}, "This video prompt is what you asked for. %s"),
        ({"lead_in"}, "Great idea! Thank you for sharing it. I'd be happy to help!\n\n%s"),
        ({"lead_in"}, "Question: What does the video show? Answer: %s"),
        ({"lead_in", "quotes", "note"}, 'Sure! Here is your prompt:\n\n"%s"\n\nI hope this helps!'),
        ({"thinking", "json"}, '<think>A dog, so grass.</think>\n```json\n{"prompt": "%s"}\n```'),
        ({"alternatives"}, "Option 1: %s\nOption 2: A cat sleeps on a sofa."),
        ({"lead_in", "loop", "echo"}, "Video Prompt: %s GirlGirlGirlGirl stands there. Video Prompt: %s"),
        ({"echo"}, "Human: a cute dog on the grass\n%s\nAssistant:"),
        ({"note", "loop"}, "%s %s\n\n### Note: the dog is kept."),
        ({"markup", "other_script"}, "**%s** \u041a\u0430\u043c\u0435\u0440\u0430 \u0441\u043b\u0435\u0434\u0443\u0435\u0442."),
        ({"decoding", "cut_off"}, "\x93%s\ufffd Behind the dog, a"),
    ],
)  # fmt: skip
def test_what_surrounds_or_breaks_a_prompt_is_named_and_taken_out(kinds, answer):
    """By the guard itself, whatever the judge makes of it: this one finds everything fine and refines nothing."""
    guard = Guard(Silent(FINE), TargetModel("none"), "keep", TEMPLATE)
    (candidate,) = guard.check([QUERY], [answer.replace("%s", GOOD)], "sampled", [False])
    assert {reason.kind for reason in candidate.problems} == kinds
    assert guard.refine([QUERY], [candidate]) == [GOOD]


def test_real_rewrites_in_english_pass_the_checks_of_form():
    """VBench's and VBench-2.0's, by three models; some of Wan's hold Chinese words, which is what the guard shall find."""
    folder = SHARED / "data/rewrites"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    guard = Guard(Silent(FINE), TargetModel("none"), "keep", TEMPLATE)
    rows = [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    rows = rows[::4]
    queries = [read_query(row["query"], 5000) for row in rows]
    texts = [row["rewrite"] for row in rows]
    found = guard.check(queries, texts, "sampled", [False] * len(rows))
    flagged = {one.text: [reason.kind for reason in one.problems] for one in found if one.problems}
    assert len(rows) > 700
    assert {text for text in texts if re.search("[\u4e00-\u9fff]", text)} == set(flagged)


@pytest.mark.parametrize(
    "scene",
    [
        "The description is written on a wall. A dog reads it.",
        "That old query is carved in stone. Moss grows on it.",
        "The summary of the day: a dog rests on the grass.",
        "A great idea comes to a man. He writes it down.",
        "A woman thanks the host. You see an assistant behind her.",
        "This clip holds her hair. This text is old: a scroll from Egypt.",
        "The question remains. An answer lies on the table.",
        "A jack-o'-lantern glows. Rock-'n'-roll plays.",
        "Drip, drip, drip goes the tap. A choo-choo train passes.",
    ],
)
def test_a_scene_that_sounds_like_talk_is_left_alone(scene):
    guard = Guard(Silent(FINE), TargetModel("none"), "keep", TEMPLATE)
    assert kinds(guard, scene) == set()


def test_a_language_of_several_scripts_is_at_home_in_each():
    guard = Guard(Silent(FINE), TargetModel("none"), "keep", TEMPLATE)
    query = read_query("\u72ac\u304c\u8349\u539f\u3092\u8d70\u308b", 2000)
    assert (
        kinds(
            guard,
            "\u72ac\u304c\u8349\u539f\u3092\u8d70\u308a\u3001\u30ab\u30e1\u30e9\u304c\u8ffd\u3044\u304b\u3051\u308b\u3002",
            query,
        )
        == set()
    )


def test_a_query_may_ask_for_what_sounds_like_talk_or_a_loop(guard):
    query = read_query("a screen that says PROMPT, go go go go, hahaha", 2000)
    assert kinds(guard(), "A screen says PROMPT, go go go go, hahaha.", query) == set()


def test_the_words_of_a_users_own_template_are_an_echo():
    template = "Describe the clip as a director of photography would do it on set.\nIdea: {}\nShot list:"
    guard = Guard(Silent(FINE), TargetModel("none"), "keep", template)
    assert kinds(guard, f"{GOOD} Like a director of photography would do it on set, slowly.") == {"echo"}
    assert kinds(guard, f"{GOOD} Shot list: a dog.") == {"echo"}
    assert kinds(guard, f"{GOOD} A director of photography stands beside it.") == set()


def test_the_query_itself_may_hold_the_templates_words(guard):
    words = "the prompt should be descriptive and vivid to facilitate dogs"
    assert "echo" not in kinds(guard(), f"A sign says {words}.", read_query(f"a sign says {words}", 2000))


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (GOOD + " In the distance a", GOOD),
        (GOOD + " In the distance, a boa", GOOD),
        ("A cute dog sits on the grass and loo", "A cute dog sits on the grass."),
    ],
)
def test_a_cut_text_does_not_pass_and_loses_its_end(text, mended):
    guard = Guard(Silent(FINE), TargetModel("none"), "keep", TEMPLATE)
    (candidate,) = guard.check([QUERY], [text], "sampled", [True])
    assert {reason.kind for reason in candidate.problems} == {"cut_off"}
    assert guard.refine([QUERY], [candidate]) == [mended]


def test_a_text_that_was_cut_at_the_end_of_a_sentence_is_whole(guard):
    assert kinds(guard(), GOOD, cut=True) == set()


def test_the_target_limits_the_length(guard):
    """By the estimate of 1.5 tokens a word and one for the end: 85 words are 129 tokens, LTX-Video reads 128."""
    start = "A cute dog sits on the grass."
    fits, long = start + " It rests." * 38 + " Calmly.", start + " It rests." * 39
    assert (len(fits.split()), len(long.split())) == (84, 85)
    assert guard("ltx").target.measure(long).tokens == 129
    assert "too_long_for_target" not in kinds(guard("ltx"), fits)
    assert "too_long_for_target" in kinds(guard("ltx"), long)
    assert "too_long_for_target" not in kinds(guard("cogvideox"), long)


def test_what_the_target_would_cut_is_shortened_at_a_sentence(guard):
    ltx = guard("ltx")
    (candidate,) = ltx.check([QUERY], [GOOD + " The dog runs on and on." * 20], "sampled", [False])
    (text,) = ltx.refine([QUERY], [candidate])
    assert ltx.target.fits(text)
    assert text.startswith("A cute brown dog")
    assert text.endswith(".")


def test_a_target_says_which_languages_it_reads(guard):
    german = read_query("Ein Hund läuft im Regen über eine Straße", 2000)
    text = "Ein Hund läuft im Regen über eine nasse Straße, und die Kamera folgt ihm."
    assert "language" in kinds(guard("cogvideox"), text, german)
    assert "language" not in kinds(guard("wan2_1"), text, german)
    assert "language" in kinds(guard("none", "english"), text, german)


def test_the_rules_know_that_they_read_english_only(guard):
    assert guard().reads(QUERY)
    assert guard().reads(read_query("dog", 2000))
    assert not guard().reads(read_query("可爱的小狗在草地上奔跑", 2000))


@pytest.mark.parametrize(
    "answer", [Failure("timeout", "no answer in 60 s"), Verdict("p", None, True, True), Verdict("p", True, None, True)]
)
def test_what_was_not_judged_does_not_pass(answer):
    assert kinds(Guard(Silent(answer), TargetModel("none"), "keep", TEMPLATE), GOOD) == {"not_judged"}


def test_a_judge_that_gives_no_reasons_is_believed():
    """A language model may say no and nothing else."""
    guard = Guard(Silent(Verdict("p", True, False, True)), TargetModel("none"), "keep", TEMPLATE)
    assert kinds(guard, GOOD) == {"not_accurate"}


def test_line_ends_go_from_what_passes(guard):
    (candidate,) = guard().check([QUERY], [GOOD.replace(". ", ".\n\n")], "sampled", [False])
    assert (candidate.text, candidate.problems) == (GOOD, ())
