"""What the guard lets pass, and what it repairs."""

import pytest

from tests.optimize.conftest import GOOD, TEMPLATE
from vpo.optimize.guard import Guard, tidied
from vpo.optimize.queries import read_query
from vpo.optimize.target import TargetModel
from vpo.records import Failure, Verdict

QUERY = read_query("a cute dog on the grass", 2000)


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
            "The prompt should be descriptive and vivid to facilitate high-quality video creation. " + GOOD,
            "template_echo",
        ),
        ("User Query: a cute dog on the grass " + GOOD, "template_echo"),
        (
            "Ein süßer Hund läuft über das Gras, und die Kamera folgt ihm mit einer ruhigen Bewegung. Dog grass.",
            "language",
        ),
        (GOOD + " \ufffd\ufffd", "unreadable"),
        (GOOD + " \x04", "unreadable"),
        (GOOD + " This video prompt captures the joy of the dog.", "talk"),
        (GOOD + " Here's how it can be edited to meet the above criteria.", "talk"),
        ("Title: A Dog. " + GOOD, "talk"),
        (GOOD + " This video is a gentle way to celebrate dogs.", "talk"),
        (f"{GOOD} {GOOD}", "repetition"),
        (GOOD + " GirlGirlGirlGirl.", "repetition"),
        (GOOD + " Very very very very green.", "repetition"),
    ],
)
def test_what_no_user_wants_is_named(guard, text, kind):
    assert kind in kinds(guard(), text)


def test_an_unsafe_prompt_does_not_pass(guard):
    (candidate,) = guard().check([QUERY], [GOOD + " A man stabs a woman with a knife."], "sampled", [False])
    assert "harmless" in {reason.aspect for reason in candidate.problems}


def test_talk_and_loops_are_taken_out_and_the_scene_stays(guard):
    text = f"This video prompt is what you asked for. {GOOD} GirlGirlGirlGirl stands there. {GOOD}"
    (candidate,) = guard().check([QUERY], [text], "sampled", [False])
    assert {reason.kind for reason in candidate.problems} >= {"talk", "repetition"}
    assert guard().refine([QUERY], [candidate]) == [GOOD]


def test_a_query_may_ask_for_what_sounds_like_talk_or_a_loop(guard):
    query = read_query("a screen that says PROMPT, go go go go, hahaha", 2000)
    assert kinds(guard(), "A screen says PROMPT, go go go go, hahaha.", query) == set()


def test_the_query_itself_may_hold_the_templates_words(guard):
    words = "the prompt should be descriptive and vivid to facilitate dogs"
    assert "template_echo" not in kinds(guard(), f"A sign says {words}.", read_query(f"a sign says {words}", 2000))


def test_a_cut_text_does_not_pass_and_loses_its_last_sentence(guard):
    text = GOOD + " In the distance a"
    (candidate,) = guard().check([QUERY], [text], "sampled", [True])
    assert {reason.kind for reason in candidate.problems} == {"cut"}
    assert guard().refine([QUERY], [candidate])[0] == GOOD


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


class Silent:
    """A judge that is away, or whose answer cannot be read."""

    def __init__(self, answer):
        self.answer = answer

    def critique(self, prompts):
        return [self.answer for _ in prompts]

    def refine(self, prompts, verdicts):
        return [None for _ in prompts]


@pytest.mark.parametrize(
    "answer", [Failure("timeout", "no answer in 60 s"), Verdict("p", None, True, True), Verdict("p", True, None, True)]
)
def test_what_was_not_judged_does_not_pass(answer):
    assert kinds(Guard(Silent(answer), TargetModel("none"), "keep", TEMPLATE), GOOD) == {"not_judged"}


def test_a_judge_that_gives_no_reasons_is_believed():
    """A language model may say no and nothing else."""
    guard = Guard(Silent(Verdict("p", True, False, True)), TargetModel("none"), "keep", TEMPLATE)
    assert kinds(guard, GOOD) == {"not_accurate"}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('"A dog runs."', "A dog runs."),
        ("A dog\n\nruns.", "A dog runs."),
        ('"Go", says a dog, "now"', '"Go", says a dog, "now"'),
        ("“A dog.”", "A dog."),
    ],
)
def test_quotes_around_all_of_it_and_line_ends_go(written, text):
    assert tidied(written) == text
