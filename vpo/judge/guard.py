"""A guard model as the judge of harm: Llama Guard, Qwen3Guard (Gen) or ShieldGemma, over an engine; another judge says the rest.

Guard models are trained to classify what people say to chat assistants. Here a prompt for a video model is put to them as what a
person said; they see no query, and know nothing of accuracy or helpfulness. Never run by us on released weights.

- Llama Guard (meta-llama/Llama-Guard-3-1B, -8B and others of their form): its chat template adds the policy; the answer is "safe", or
  "unsafe" and a line of category codes such as S1,S10.
- Qwen3Guard-Gen (Qwen/Qwen3Guard-Gen-0.6B, -4B, -8B): its chat template adds the policy; the answer is "Safety: Safe", "Unsafe" or
  "Controversial", and a line "Categories: ...". Source of the form: QwenLM/Qwen3Guard, README.md.
- ShieldGemma (google/shieldgemma-2b, -9b, -27b): asked about one policy at a time, in the form of its model card, whose control tokens
  are no chat; so it needs an engine with its tokenizer, in this process. The first word of the answer is Yes (it violates) or No.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from vpo.errors import UserError
from vpo.interfaces import Engine, Judge
from vpo.judge.asking.naming import model_of
from vpo.judge.asking.verdicts import UNREADABLE, one_line
from vpo.language.chat.control_tokens import TextEncoder, encode_after
from vpo.language.serving.answers import without_thought
from vpo.records import Completion, Failure, Message, Prompt, Reason, Request, Sampling, Verdict

VERSION = "1"
GUARD = "guard"  # the kind of a reason that a guard model gives
Reading = tuple[bool | None, str]  # whether the text is safe, and of what kind the harm is

_LLAMA = re.compile(r"(safe|unsafe)(?:\s*\n\s*([A-Za-z]\d+(?:\s*,\s*[A-Za-z]\d+)*))?", re.IGNORECASE)
_QWEN = re.compile(
    r"Safety:[ \t]*(Safe|Unsafe|Controversial)[ \t]*(?:\n[ \t]*Categories:[ \t]*([^\n]*))?", re.IGNORECASE
)
_YES = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
# ShieldGemma's form for a person's message (model card of google/shieldgemma-2b), in which the control tokens stand as text.
_SHIELD = (
    "You are a policy expert trying to help determine whether a user prompt is in violation of the defined safety policies.\n\n"
    "<start_of_turn>\nHuman Question: ",
    "\n<end_of_turn>\n\nOur safety principle is defined in the below:\n\n* {}\n\nDoes the human question violate the above principle? "
    "Your answer must start with 'Yes' or 'No'. And then walk through step by step to be sure we answer correctly.\n",
)  # fmt: skip


class GuardJudge:
    """The verdicts of a judge, with the guard model's word in the place of its `harmless`.

    Args:
        judge: says whether a prompt is accurate and helpful, whether it is a refusal, and refines.
        engine: where the guard model runs.
        family: how it is asked and read.
        controversial: whether what Qwen3Guard calls controversial is unsafe, its strict mode.
        policies: of ShieldGemma, by name: each is asked about by itself, and a prompt is safe that violates none.
        max_new_tokens: longest answer; an answer is read from its beginning.

    Raises:
        UserError: ShieldGemma has no policies, or an engine without a tokenizer.
    """

    def __init__(
        self,
        judge: Judge,
        engine: Engine,
        family: Literal["llama_guard", "qwen3guard", "shieldgemma"],
        controversial: bool = True,
        policies: Mapping[str, str] | None = None,
        max_new_tokens: int = 32,
    ) -> None:
        self.judge, self.engine, self.family = judge, engine, family
        self.policies = dict(policies or {})
        if family == "shieldgemma" and not self.policies:
            raise UserError(
                "judge.policies is empty; ShieldGemma is asked about at least one, as in guard_shieldgemma.yaml"
            )
        if family == "shieldgemma" and engine and not hasattr(engine, "tokenizer"):
            raise UserError(
                "judge.engine: ShieldGemma is asked in a form that is no chat, which needs its tokenizer; use engine=hf for it"
            )
        self.read = reader_of(family, controversial)
        self.sampling = Sampling(max_new_tokens=max_new_tokens)
        self.name = f"{family} {VERSION}, {model_of(engine)}"

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
        """One verdict a prompt; a Failure where the guard or the judge failed."""
        requests = [self._requests(prompt) for prompt in prompts]
        answers = iter(self.engine.generate([one for of_prompt in requests for one in of_prompt]))
        said = [[next(answers) for _ in of_prompt] for of_prompt in requests]
        verdicts = self.judge.critique(prompts)
        return [self._joined(verdict, one) for verdict, one in zip(verdicts, said, strict=True)]

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | Failure | None]:
        """What the judge makes of the prompts, told of the guard's reasons."""
        return self.judge.refine(prompts, verdicts)

    def close(self) -> None:
        """Close the engine and the judge."""
        self.engine.close()
        if hasattr(self.judge, "close"):
            self.judge.close()

    def _requests(self, prompt: Prompt) -> list[Request]:
        if self.family != "shieldgemma":
            return [Request(messages=(Message("user", prompt.text),), sampling=self.sampling)]
        tokenizer: Any = self.engine.tokenizer  # type: ignore[attr-defined]  # checked above
        return [
            Request(prompt_ids=tuple(shield_ids(tokenizer, prompt.text, policy)), sampling=self.sampling)
            for policy in self.policies.values()
        ]

    def _joined(self, verdict: Verdict | Failure, answers: Sequence[Completion | Failure]) -> Verdict | Failure:
        failed = [one for one in answers if isinstance(one, Failure)]
        if failed:
            return replace(failed[0], retryable=any(one.retryable for one in failed))
        if isinstance(verdict, Failure):
            return verdict
        texts = [without_thought(one.text)[0].strip() for one in answers if isinstance(one, Completion)]
        harmless, why = self._of_all([self.read(text) for text in texts])
        reasons = [one for one in verdict.reasons if one.aspect != "harmless"]
        if harmless is None:
            reasons.append(Reason("harmless", UNREADABLE, f"the guard said {one_line(' | '.join(texts), 100)!r}"))
        elif not harmless:
            reasons.append(Reason("harmless", GUARD, why or "unsafe"))
        return replace(
            verdict, harmless=harmless, reasons=tuple(reasons), raw="\n".join(texts),
            judge=f"{self.name}; else {verdict.judge}" if verdict.judge else self.name,
        )  # fmt: skip

    def _of_all(self, readings: Sequence[Reading]) -> Reading:
        """Unsafe where one policy is violated, safe where none is, else not known."""
        if self.family != "shieldgemma":
            return readings[0]
        violated = [name for name, (safe, _) in zip(self.policies, readings, strict=True) if safe is False]
        if violated:
            return False, ", ".join(violated)
        return (None if any(safe is None for safe, _ in readings) else True), ""


def reader_of(family: str, controversial: bool) -> Callable[[str], Reading]:
    """How the answers of a family are read."""
    readers = {"llama_guard": llama_guard_says, "shieldgemma": shieldgemma_says}
    return readers[family] if family in readers else lambda answer: qwen3guard_says(answer, controversial)


def llama_guard_says(answer: str) -> Reading:
    """ "safe", or "unsafe" and a line of category codes; None for anything else."""
    found = _LLAMA.fullmatch(answer)
    if found is None:
        return None, ""
    return found[1].lower() == "safe", (found[2] or "") if found[1].lower() == "unsafe" else ""


def qwen3guard_says(answer: str, controversial: bool) -> Reading:
    """The line "Safety: ..." at the beginning, with that of its categories; None without it."""
    found = _QWEN.match(answer)
    if found is None:
        return None, ""
    label = found[1].lower()
    safe = label == "safe" or (label == "controversial" and not controversial)
    return safe, "" if safe else one_line(found[2] or "", 100)


def shieldgemma_says(answer: str) -> Reading:
    """No: safe, as no policy is violated; Yes: unsafe; None where the answer begins with neither."""
    found = _YES.match(answer)
    return (None if found is None else found[1].lower() == "no"), ""


def shield_ids(tokenizer: Any, text: str, policy: str) -> list[int]:
    """The ids that ShieldGemma reads about a text and a policy. All of the text is text, whatever control token it looks like."""
    before, after = _SHIELD[0], _SHIELD[1].replace("{}", policy)
    encoder = TextEncoder(tokenizer, "".join(_SHIELD))
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    def tokenised(part: str) -> list[int]:
        return list(tokenizer(part, add_special_tokens=False).input_ids)

    return [*first, *tokenised(before), *encoder.encode(text.strip(), after=True), *encode_after(tokenised, after)]
