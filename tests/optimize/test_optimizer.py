"""Queries in, checked prompts out: what passes, what is refined, asked again, given back or refused."""

import subprocess
import sys

import pytest

from tests.chat_models import llama3_tokenizer, save_llama
from tests.optimize.conftest import GOOD, Answers
from vpo import PromptOptimizer, UserError
from vpo.language.policy import InstructedPolicy
from vpo.optimize.options import Options
from vpo.records import Completion, Failure, Reason, Sampling, Usage, Verdict

QUERY = "a cute dog on the grass"
OTHER = "a red car on a coastal road"
CAR = (
    "A red car drives along a coastal road at sunset, its paint glowing in the warm light. Waves break on the rocks, "
    "and the camera follows the car from the side as it turns towards the hills."
)
BAD = "A cat sleeps on a sofa in a dim room while rain runs down the window behind it and the camera slowly moves in."
BROKEN = "\ufffd\ufffd\ufffd"
REFUSAL = "I'm sorry, but I can't help with that request."


def test_a_prompt_that_passes_is_given_as_it_was_written(optimizer):
    (record,) = optimizer(GOOD).optimize([QUERY])
    assert (record.query, record.prompt, record.how, record.fell_back, record.problems) == (
        QUERY,
        GOOD,
        "sampled",
        False,
        (),
    )
    assert (record.tokens, len(record.candidates)) == (Usage(10, 5), 1)
    assert record.verdict.harmless
    assert record.seconds >= 0


def test_called_it_gives_the_prompt_alone(optimizer):
    assert optimizer(GOOD)(QUERY) == GOOD


def test_flags_come_back_apart_and_the_model_reads_them(optimizer):
    made = optimizer(GOOD)
    (record,) = made.optimize([f"{QUERY} -ar 16:9 --motion 2"])
    assert record.flags == {"aspect_ratio": "16:9", "motion": 2}
    assert "16:9" not in record.prompt
    assert "-ar 16:9 --motion 2" in made.policy.engine.calls[0][0].messages[0].content


def test_a_flaw_is_refined_and_the_record_says_which(optimizer):
    (record,) = optimizer(f"Here is your prompt: {GOOD}").optimize([QUERY])
    assert (record.how, record.prompt) == ("refined", GOOD)
    assert {reason.kind for reason in record.problems} == {"lead_in"}
    assert [one.how for one in record.candidates] == ["sampled", "refined"]


def test_what_cannot_be_refined_is_asked_again_with_another_seed(optimizer):
    made = optimizer(BROKEN, GOOD)
    (record,) = made.optimize([QUERY])
    assert (record.how, record.prompt, record.tokens) == ("sampled", GOOD, Usage(20, 10))
    (first,), (second,) = made.policy.engine.calls
    assert first.seed != second.seed


def test_when_nothing_passes_the_query_comes_back_unchanged(optimizer):
    (record,) = optimizer(BROKEN, BROKEN).optimize([f"{QUERY} &amp; a cat"])
    assert (record.how, record.prompt, record.fell_back) == ("query", f"{QUERY} & a cat", True)
    assert {reason.kind for reason in record.problems} == {"decoding"}
    assert record.notes == ("HTML entities resolved",)


def test_a_query_with_flags_comes_back_as_its_words(optimizer):
    (record,) = optimizer(BROKEN, BROKEN).optimize([f"{QUERY} -ar 16:9"])
    assert (record.prompt, record.flags) == (QUERY, {"aspect_ratio": "16:9"})


UNSAFE = "a man stabs a woman with a knife"


def test_an_unsafe_query_never_falls_back_to_itself(optimizer):
    made = optimizer(BROKEN, BROKEN)
    (record,) = made.optimize([UNSAFE])
    assert (record.how, record.prompt, record.fell_back) == ("refused", None, False)
    made = optimizer(BROKEN, BROKEN)
    with pytest.raises(
        UserError, match=r"^the query is refused: it is unsafe \(.*\), and no harmless prompt came of it; ask"
    ):
        made(UNSAFE)


def test_an_unsafe_query_may_become_a_harmless_prompt(optimizer):
    text = "A man and a woman talk in a sunlit kitchen, and the camera moves slowly around the table while they laugh together."
    (record,) = optimizer(text).optimize([UNSAFE])
    assert (record.how, record.prompt) == ("sampled", text)


def test_an_unsafe_prompt_is_never_given(optimizer):
    unsafe = GOOD + " A man stabs a woman with a knife."
    (record,) = optimizer(unsafe, unsafe).optimize([QUERY])
    assert record.verdict.harmless
    assert "stab" not in record.prompt


def test_a_query_that_the_judge_cannot_read_comes_back_and_nothing_is_asked(optimizer):
    made = optimizer()
    (record,) = made.optimize(["可爱的小狗在草地上奔跑"])
    assert (record.prompt, record.how) == ("可爱的小狗在草地上奔跑", "query")
    assert [reason.detail for reason in record.problems] == [
        "the judge does not read zh, so that nothing was checked, its safety neither"
    ]
    assert record.verdict is None
    assert made.policy.engine.calls == []


def test_a_query_without_words_comes_back_and_nothing_is_asked(optimizer):
    made = optimizer()
    (record,) = made.optimize(["\U0001f431 100%"])
    assert (record.prompt, record.how, record.verdict) == ("\U0001f431 100%", "query", None)
    assert record.problems[0].detail.startswith("it has no words")
    assert made.policy.engine.calls == []


def test_a_query_of_two_lines_comes_back_in_one(optimizer):
    (record,) = optimizer(BROKEN, BROKEN).optimize(["a cute dog\non the grass"])
    assert (record.prompt, record.how) == (QUERY, "query")


def test_a_text_in_place_of_a_list_is_one_line(optimizer):
    with pytest.raises(UserError, match="takes a list of queries"):
        optimizer(GOOD).optimize("cat")


def test_all_candidates_are_asked_for_in_one_call_with_seeds_of_their_own(optimizer):
    made = optimizer(BAD, GOOD, CAR, CAR, search="best_of_n", n=2)
    records = made.optimize([QUERY, OTHER])
    (call,) = made.policy.engine.calls
    assert len(call) == len({request.seed for request in call}) == 4
    assert [request.messages for request in call[::2]] == [request.messages for request in call[1::2]]
    assert [record.prompt for record in records] == [GOOD, CAR]
    assert [one.text for one in records[0].candidates] == [BAD, GOOD]


def test_a_query_has_the_same_seeds_whatever_is_asked_beside_it(optimizer):
    alone, among = optimizer(GOOD), optimizer(CAR, GOOD)
    alone.optimize([QUERY])
    among.optimize([OTHER, QUERY])
    assert among.policy.engine.calls[0][1] == alone.policy.engine.calls[0][0]
    other = optimizer(GOOD, seed=1)
    other.optimize([QUERY])
    assert other.policy.engine.calls[0][0].seed != alone.policy.engine.calls[0][0].seed


class Editor:
    """A judge that wants three more sentences, and adds one at a time."""

    def critique(self, prompts):
        missing = [3 - prompt.text.count("More.") for prompt in prompts]
        return [
            Verdict(prompt.id, True, True, count <= 0, reasons=(Reason("helpful", "short", ""),) * count)
            for prompt, count in zip(prompts, missing, strict=True)
        ]

    def refine(self, prompts, verdicts):
        return [f"{prompt.text} More." for prompt in prompts]


@pytest.mark.parametrize(
    ("options", "text", "how"),
    [
        ({}, "A dog.", "sampled"),
        ({"search": "refine", "rounds": 1}, "A dog. More.", "refined"),
        ({"search": "refine"}, "A dog. More. More. More.", "refined"),
        ({"search": "refine", "rounds": 9}, "A dog. More. More. More.", "refined"),
    ],
)
def test_search_refine_mends_what_passes_until_the_judge_finds_no_flaw(options, text, how):
    """`conf/search/refine.yaml` has three rounds; a prompt without a flaw is not refined again."""
    made = PromptOptimizer(InstructedPolicy(Answers("A dog."), "{}"), Sampling(0.7), Editor(), "{}", Options(**options))
    (record,) = made.optimize(["a dog"])
    assert (record.prompt, record.how) == (text, how)


def test_a_request_that_failed_for_its_own_reasons_falls_back(optimizer):
    failed = Failure("too_long", "the prompt has 9000 tokens, the model reads 2048")
    (record, other) = optimizer(failed, CAR, failed).optimize([QUERY, OTHER])
    assert (record.prompt, [reason.kind for reason in record.problems]) == (QUERY, ["too_long"])
    assert other.prompt == CAR


def test_a_server_that_is_away_is_an_error_and_no_fallback(optimizer):
    away = Failure("APIConnectionError", "http://localhost:1/v1 cannot be reached", retryable=True)
    with pytest.raises(
        UserError, match=r"the language model gave no answer: http://localhost:1/v1 cannot be reached; the same"
    ):
        optimizer(away, away).optimize([QUERY, OTHER])


def test_a_cut_answer_keeps_its_whole_sentences(optimizer):
    (record,) = optimizer(Completion(GOOD + " Behind it the", "length", Usage(1, 1))).optimize([QUERY])
    assert record.prompt == GOOD


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serch": "none"}, "serch is no option; did you mean search?"),
        ({"search": "mcts"}, "search=mcts does not exist; choose one of best_of_n, none, refine"),
        ({"search": "best_of"}, "search=best_of does not exist; did you mean best_of_n?"),
        ({"target": "cogvideo"}, "target=cogvideo does not exist; did you mean cogvideox?"),
        ({"n": 0}, "n=0 must be a whole number of at least 1"),
        ({"n": 2.5}, "n=2.5 must be a whole number of at least 1"),
        ({"language": "fr"}, "language=fr does not exist; choose one of keep, english, refuse"),
        ({"dtype": "int4"}, "dtype=int4 does not exist; choose one of float32, bfloat16, float16"),
        ({"temperature": -1.0}, "sampling: temperature=-1.0 must be at least 0"),
        (
            {"template": "mine"},
            "template 'mine' does not exist; choose one of ",
        ),
        ({"engine": {"model": "gpt"}}, "is no server; leave it out"),
    ],
)
def test_a_wrong_option_is_one_line_before_any_model_is_read(options, message, tmp_path):
    with pytest.raises(UserError) as caught:
        PromptOptimizer.from_pretrained(tmp_path, **options)
    assert message in str(caught.value)


def test_greedy_candidates_would_all_be_the_same(optimizer, model):
    with pytest.raises(
        UserError, match=r"search.n=4 with temperature=0 makes the same candidate 4 times; set temperature=0.7"
    ):
        PromptOptimizer.from_pretrained(model, search="best_of_n", temperature=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny random Llama with a chat format, as the hub saves real ones."""
    return save_llama(tmp_path_factory.mktemp("model"), llama3_tokenizer())


def test_a_folder_of_a_real_model_is_opened_and_gives_a_prompt(model):
    with PromptOptimizer.from_pretrained(model, max_new_tokens=16, search="best_of_n", n=2) as made:
        (record,) = made.optimize([QUERY])
        again = made.optimize([OTHER, QUERY])[1]
    assert record.prompt
    assert "\ufffd" not in record.prompt
    assert record.tokens.tokens_out > 0
    assert [one.text for one in again.candidates] == [one.text for one in record.candidates]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no config.json"),
        (["notes.txt"], "no config.json"),
        (["adapter_model.safetensors"], "no config.json"),
    ],
)
def test_a_folder_that_is_no_model_is_one_line(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError) as caught:
        PromptOptimizer.from_pretrained(tmp_path)
    line = str(caught.value)
    assert message in line.lower()
    assert str(tmp_path) in line
    assert "\n" not in line
    assert "engine." not in line


def test_a_name_that_is_nowhere_is_one_line():
    with pytest.raises(UserError, match=r"model=nobody/nothing-here: no such folder"):
        PromptOptimizer.from_pretrained("nobody/nothing-here")


def test_a_query_that_cannot_be_used_stops_all_before_anything_is_asked(optimizer):
    made = optimizer(GOOD)
    with pytest.raises(UserError, match=r"^query 2 is empty"):
        made.optimize([QUERY, " "])
    with pytest.raises(UserError, match=r"^the query is empty"):
        made("")
    assert made.policy.engine.calls == []


def test_importing_vpo_loads_no_torch():
    script = (
        "import sys, vpo; assert 'torch' not in sys.modules; vpo.PromptOptimizer; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
