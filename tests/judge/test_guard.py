"""Guard models: how their answers are read, true classes with random weights, and verdicts beside another judge's."""

import pytest
from transformers import Gemma2Config, LlamaConfig, Qwen3Config

from tests.chat_models import chatml_tokenizer
from tests.checking.test_config import composed
from tests.judge.asking import Scripted, prompts
from tests.tiny_models import build as tiny_model
from vpo.build import build
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.judge.guard import GuardJudge, llama_guard_says, qwen3guard_says, shield_ids, shieldgemma_says
from vpo.language.hf import HFEngine
from vpo.records import Failure

GOOD = (
    "A red car drives along a quiet coastal road at sunset, its paint glowing in the warm golden light while small waves roll onto "
    "the beach below. The camera follows slowly from behind in a wide shot."
)


def rules():
    return build(composed()["judge"])


def judged(answer, *texts, family="llama_guard", **more):
    engine = Scripted(answer)
    judge = GuardJudge(rules(), engine, family, **more)
    return judge.critique(prompts(*texts)), engine


@pytest.mark.parametrize(
    ("answer", "due"),
    [
        ("safe", (True, "")),
        ("unsafe\nS1,S10", (False, "S1,S10")),
        ("unsafe", (False, "")),
        ("UNSAFE\n s9", (False, "s9")),
        ("safety first", (None, "")),
        ("not safe", (None, "")),
        ("I cannot judge this. safe", (None, "")),
        ("", (None, "")),
    ],
)
def test_llama_guards_answers(answer, due):
    assert llama_guard_says(answer) == due


@pytest.mark.parametrize(
    ("answer", "strict", "loose"),
    [
        ("Safety: Safe\nCategories: None", (True, ""), (True, "")),
        ("Safety: Unsafe\nCategories: Violent, Jailbreak", (False, "Violent, Jailbreak"), (False, "Violent, Jailbreak")),
        ("Safety: Controversial\nCategories: Politically Sensitive Topics", (False, "Politically Sensitive Topics"), (True, "")),
        ("Safety: Unsafe", (False, ""), (False, "")),
        ("It is unsafe.", (None, ""), (None, "")),
        ("Safety: Perhaps", (None, ""), (None, "")),
    ],
)  # fmt: skip
def test_qwen3guards_answers(answer, strict, loose):
    assert (qwen3guard_says(answer, True), qwen3guard_says(answer, False)) == (strict, loose)


def test_shieldgemmas_answers():
    assert [shieldgemma_says(one)[0] for one in ("Yes, it does.", " No", "no.", "Nothing", "Perhaps yes", "")] == [
        False, True, True, None, None, None,
    ]  # fmt: skip


def test_the_guard_says_harm_and_the_judge_the_rest():
    plain = rules().critique(prompts(GOOD, "car"))
    assert [one.harmless for one in plain] == [True, True]
    (bad, short), engine = judged(
        lambda one: "unsafe\nS2" if "sunset" in one.messages[-1].content else "safe", GOOD, "car"
    )
    assert [one.messages[0].content for one in engine.asked] == [GOOD, "car"]
    assert (bad.harmless, bad.accurate, bad.helpful) == (False, plain[0].accurate, plain[0].helpful)
    assert bad.alignment == "unsafe"
    assert [(one.aspect, one.kind, one.detail) for one in bad.reasons if one.aspect == "harmless"] == [
        ("harmless", "guard", "S2")
    ]
    assert (short.harmless, short.accurate, short.helpful) == (True, plain[1].accurate, plain[1].helpful)
    assert bad.judge.startswith("llama_guard 1, scripted; else ")


def test_what_cannot_be_read_is_none_and_a_failure_stays_one():
    (odd,), _ = judged(lambda _: "Hm.", GOOD)
    assert (odd.harmless, odd.alignment) == (None, None)
    assert odd.reasons[-1].kind == "unreadable"
    late = Failure("timeout", "late", retryable=True)
    (failed,), _ = judged(lambda _: late, GOOD)
    assert failed == late


class Reading(Scripted):
    """An engine with a tokenizer, which ShieldGemma's form needs."""

    def __init__(self, answer, tokenizer):
        super().__init__(answer)
        self.tokenizer = tokenizer


def test_shieldgemma_is_asked_about_each_policy_and_one_violation_is_enough():
    tokenizer = chatml_tokenizer()
    policies = {"violence": "no blood", "hate": "no hate"}

    def answer(request):
        return "Yes" if "no hate" in tokenizer.decode(request.prompt_ids) else "No"

    engine = Reading(answer, tokenizer)
    (verdict,) = GuardJudge(rules(), engine, "shieldgemma", policies=policies).critique(prompts(GOOD))
    assert len(engine.asked) == 2
    assert (verdict.harmless, verdict.reasons[-1].detail) == (False, "hate")
    for said, due in ((["No", "No"], True), (["No", "Maybe"], None), (["Maybe", "Yes"], False)):
        answers = iter(said)
        engine = Reading(lambda _, answers=answers: next(answers), tokenizer)
        (verdict,) = GuardJudge(rules(), engine, "shieldgemma", policies=policies).critique(prompts(GOOD))
        assert verdict.harmless is due, said


def test_a_text_writes_no_control_token():
    tokenizer = chatml_tokenizer()
    ids = shield_ids(tokenizer, "A car<|im_end|> drives", "no blood")
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in ids
    text = tokenizer.decode(ids)
    assert "Human Question: A car" in text
    assert text.index("Human Question") < text.index("no blood") < text.index("Does the human question violate")


@pytest.mark.parametrize(
    ("family", "kind", "more"),
    [
        ("llama_guard", LlamaConfig, {}),
        ("qwen3guard", Qwen3Config, {"head_dim": 8}),
        ("shieldgemma", Gemma2Config, {"head_dim": 8, "attn_implementation": "eager"}),
    ],
)
def test_true_classes_with_random_weights_answer_and_are_not_believed(family, kind, more):
    """What random weights say is noise: no verdict may come of it but by its form, and none is invented."""
    tokenizer = chatml_tokenizer()
    model = tiny_model(kind, vocab_size=len(tokenizer), max_position_embeddings=2048, **more)
    judge = GuardJudge(rules(), HFEngine(model, tokenizer), family, policies={"hate": "no hate"}, max_new_tokens=4)
    for verdict in judge.critique(prompts(GOOD, "car")):
        assert judge.read(verdict.raw)[0] == verdict.harmless
        assert verdict.accurate is not None
    judge.close()


def test_configs_compose_and_faults_are_one_line():
    for name, family in (
        ("guard_llama", "llama_guard"),
        ("guard_qwen3", "qwen3guard"),
        ("guard_shieldgemma", "shieldgemma"),
    ):
        config = composed(f"judge={name}", "judge.engine.model=org/guard")
        check(config)
        assert config["judge"]["family"] == family
        assert config["judge"]["judge"]["_target_"].endswith("RulesJudge")
    served = composed("judge=guard_llama", "engine@judge.engine=server", "judge.engine.base_url=http://localhost:1/v1",
                      "judge.engine.model=guard")  # fmt: skip
    check(served)
    assert served["judge"]["engine"]["_target_"].endswith("ServerEngine")
    with pytest.raises(UserError, match=r"judge\.policies is empty"):
        GuardJudge(rules(), Reading(str, None), "shieldgemma")
    with pytest.raises(UserError, match=r"use engine=hf for it"):
        GuardJudge(rules(), Scripted(str), "shieldgemma", policies={"a": "b"})
