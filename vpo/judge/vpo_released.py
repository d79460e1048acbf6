"""A language model asked and read as VPO's released code does it, so that numbers can be compared with published ones.

Source: thu-coai/VPO at a2ffbe0, `src/gpt4o_infer.py` and `src/process_data.py`. One system line and one user turn ask for a critique,
which ends with "Final Judgement (Yes or No): ..."; the next turn of the same conversation asks for a refinement between `[[start]]`
and `[[end]]`. The released texts are not carried here. `released_critique.txt` and `released_refine.txt` in `vpo/templates` ask for
the same in our own words; name files with the released ones by `critique_file` and `refine_file` to ask exactly as VPO did, and
verdicts say which texts were used.

What the released code does and one would not expect, kept here:

- the judgement is "Yes" anywhere behind the first marker and before the second, so that "No. ... Yes" counts as Yes, "yes" in small
  letters counts as No, and a marker that the critique quotes before its own (from the prompt, say) decides;
- one judgement covers all rules. It is recorded as `accurate`, with harmless and helpful True, because it does not say which rule is
  broken: the share of `aligned` is that of Yes, and "unsafe" is never given;
- query and prompt stand raw between curly quotes: a text can leave its place there, and speak to the judge;
- the refinement is what stands between the first pair of marks: a refusal or a copy of the flawed prompt passes for a refinement;
- temperature 0.7: another seed is another verdict.

What it does otherwise than the released code:

- a critique without the marker, or a refinement without both marks, is dropped there without a count. Here the first is a verdict of
  None for all principles, the second is None, and both are counted;
- a refinement with a newline is dropped there only after one record a query has been kept, so that a query is lost although another
  of its refinements was usable. Here it is None at once, and the query's other refinements remain;
- there any error of the server drops the row; here it is tried again, and is a Failure in the end;
- thoughts in front of an answer are left out; GPT-4o wrote none.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vpo.errors import UserError
from vpo.interfaces import Engine
from vpo.judge.asking.naming import model_of
from vpo.judge.asking.verdicts import PRINCIPLES, UNREADABLE, one_line, unanswered
from vpo.language.serving.answers import without_thought
from vpo.records import Completion, Failure, Message, Prompt, Reason, Request, Sampling, Verdict
from vpo.seeding import seed_of
from vpo.templates import fill, read_template

VERSION = "1"
MARKER = "Final Judgement (Yes or No)"
START, END = "[[start]]", "[[end]]"
# sha256 of the released texts (1,405 and 261 characters).
RELEASED_CRITIQUE = "d33b084f1875dfd1ab92f51ac4183cd93e728f3d973227ea7bf077cfd6253f38"
RELEASED_REFINE = "0116f22bcf6e45f66f4c00b79d2f5f915fa00fdf0d636e81d5704b984fd65242"


class ReleasedJudge:
    """Critiques and refines as the released VPO code does.

    Args:
        engine: where the language model runs; VPO asked gpt-4o.
        critique_file: a text with two slots `{}`, for query and prompt; None for our own wording.
        refine_file: a text without a slot; None for our own wording.
        system: the system line; "" for none.
        temperature, top_p, max_new_tokens: how an answer is drawn.
        seed: of what is drawn, with the prompt's id.

    Raises:
        UserError: A file cannot be read, or has other slots.
    """

    def __init__(
        self,
        engine: Engine,
        critique_file: str | None = None,
        refine_file: str | None = None,
        system: str = "You are a helpful assistant.",
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_new_tokens: int = 1024,
        seed: int = 0,
    ) -> None:
        self.engine, self.seed = engine, seed
        self.sampling = Sampling(temperature, top_p, max_new_tokens)
        self.system = (Message("system", system),) if system else ()
        self.critique_text = (
            read_template("released_critique", slots=2)
            if critique_file is None
            else _read("critique_file", critique_file, slots=2)
        )
        self.refine_text = (
            read_template("released_refine", slots=0)
            if refine_file is None
            else _read("refine_file", refine_file, slots=0)
        )
        wordings = ((self.critique_text, RELEASED_CRITIQUE), (self.refine_text, RELEASED_REFINE))
        self.name = (
            f"vpo_released {VERSION}, {model_of(engine)}, critique {' refine '.join(_called(*one) for one in wordings)}"
        )

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
        """One verdict a prompt: Yes is a verdict without flaw, No one that is not accurate."""
        answers = self.engine.generate(
            [self._request("critique", prompt, (self._question(prompt),)) for prompt in prompts]
        )
        return [self._verdict(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | Failure | None]:
        """What stands between the marks, in the conversation of each verdict's critique."""
        places = [place for place, verdict in enumerate(verdicts) if verdict.raw]
        requests = [
            self._request("refine", prompts[place], self._turns(prompts[place], verdicts[place])) for place in places
        ]
        answers = dict(zip(places, self.engine.generate(requests), strict=True))
        nothing = Failure(
            "no_critique", "the verdict brings no critique, in whose conversation a refinement is asked for"
        )
        return [
            answer if isinstance(answer, Failure) else refinement_in(without_thought(answer.text)[0])
            for answer in (answers.get(place, nothing) for place in range(len(prompts)))
        ]

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def _question(self, prompt: Prompt) -> Message:
        return Message("user", fill(self.critique_text, prompt.query, prompt.text))

    def _turns(self, prompt: Prompt, verdict: Verdict) -> tuple[Message, ...]:
        critique, _ = without_thought(verdict.raw or "")
        return self._question(prompt), Message("assistant", critique), Message("user", self.refine_text)

    def _request(self, task: str, prompt: Prompt, turns: Sequence[Message]) -> Request:
        drawn = seed_of(task, self.seed, prompt.id)
        return Request(messages=(*self.system, *turns), sampling=self.sampling, seed=drawn)

    def _verdict(self, prompt: Prompt, answer: Completion | Failure) -> Verdict | Failure:
        if isinstance(answer, Failure):
            return answer
        text, _ = without_thought(answer.text)
        aligned = judgement_in(text)
        nothing = unanswered(text) if aligned is None else None
        if nothing is not None:
            return nothing
        if aligned is None:
            reasons = tuple(Reason(name, UNREADABLE, f"it holds no {MARKER!r}") for name in PRINCIPLES)
        else:
            said = one_line(text.split(MARKER)[0][-300:])
            reasons = () if aligned else (Reason("accurate", "not_aligned", said),)
        other = None if aligned is None else True
        return Verdict(
            prompt.id, other, aligned, other, reasons=reasons, judge=self.name, raw=answer.text, usage=answer.usage
        )


def judgement_in(critique: str) -> bool | None:
    """Whether "Yes" stands between the first marker and the next one or the end; None without a marker."""
    parts = critique.split(MARKER)
    return "Yes" in parts[1] if len(parts) > 1 else None


def refinement_in(answer: str) -> str | None:
    """The stripped text between the first marks; None where one is missing, or where it is empty or holds a newline."""
    if START not in answer or END not in answer:
        return None
    text = answer.split(START)[1].split(END)[0].strip()
    return None if not text or "\n" in text else text


def _read(key: str, path: str, slots: int) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"judge.{key}={path}: cannot be read ({' '.join(str(error).split())}); name a text file"
        ) from error
    if text.count("{}") != slots:
        wanted = "two slots {}, for query and prompt" if slots else "no slot {}"
        raise UserError(f"judge.{key}={path}: must hold {wanted}, found {text.count('{}')}")
    return text


def _called(text: str, released: str) -> str:
    """Which wording a text is: the released one, or its hash."""
    found = hashlib.sha256(text.encode()).hexdigest()
    return "released" if found == released else found[:8]
