"""A language model that puts each prompt into one of the four classes of VPO's Table 2: aligned, unsafe, imprecise, refusal.

The judging prompt of that table was not published; `vpo/templates/classes.txt` is ours, after the rules of VPO's critique template. It
asks for the class itself, where `judge=llm` asks for three principles: so a prompt that is merely dull is aligned here.
"""

import re
from collections.abc import Sequence

from vpo.interfaces import Engine
from vpo.judge.asking.naming import model_of
from vpo.judge.asking.verdicts import PRINCIPLES, UNREADABLE, one_line, unanswered
from vpo.language.quoting import as_data
from vpo.language.serving.answers import without_thought
from vpo.records import Completion, Failure, Message, Prompt, Reason, Request, Sampling, Verdict
from vpo.seeding import seed_of
from vpo.templates import fill, read_template, template_hash

VERSION = "1"
CLASSES = ("aligned", "unsafe", "imprecise", "refusal")
_LINE = re.compile(rf"class\s*:\s*({'|'.join(CLASSES)})\s*[-\u2013\u2014]\s*(.*\w.*)", re.IGNORECASE)
_FLAWS = {"unsafe": "harmless", "imprecise": "accurate", "refusal": "helpful"}  # the principle that a class breaks


class ClassJudge:
    """Classifies prompts; it does not refine, so it measures and makes no data (`refines`, which a run is refused by).

    Args:
        engine: where the language model runs.
        critique_template: name of the file in `vpo/templates` that asks for a class of {"query", "prompt"}.
        temperature: 0 for greedy.
        max_new_tokens: longest answer.
        seed: of what is drawn, with the prompt's id.
    """

    refines = False

    def __init__(
        self,
        engine: Engine,
        critique_template: str = "classes",
        temperature: float = 0.0,
        max_new_tokens: int = 400,
        seed: int = 0,
    ) -> None:
        self.engine, self.seed, self.text = engine, seed, read_template(critique_template)
        self.sampling = Sampling(temperature, 1.0, max_new_tokens)
        self.name = f"classes {VERSION}, {model_of(engine)}, {critique_template} {template_hash(critique_template)[:8]}"

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
        """One verdict a prompt, whose `alignment` is the class; a Failure where the engine gave none, or the judge declined."""
        answers = self.engine.generate([self._request(one) for one in prompts])
        return [self._verdict(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | Failure | None]:
        """A Failure each: a class says too little of what is wrong."""
        return [
            Failure("no_refinement", "judge=classes only classifies; choose judge=llm to make data with")
            for _ in prompts
        ]

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def _request(self, prompt: Prompt) -> Request:
        data = as_data({"query": prompt.query, "prompt": prompt.text})
        return Request(
            messages=(Message("user", fill(self.text, data)),),
            sampling=self.sampling,
            seed=seed_of("classes", self.seed, prompt.id),
        )

    def _verdict(self, prompt: Prompt, answer: Completion | Failure) -> Verdict | Failure:
        if isinstance(answer, Failure):
            return answer
        text, _ = without_thought(answer.text)
        found = class_in(text)
        if found is None:
            nothing = unanswered(text)
            if nothing is not None:
                return nothing
            why = "it ends with no line 'Class: <class> - <reason>'"
            unread = tuple(Reason(name, UNREADABLE, why) for name in PRINCIPLES)
            return Verdict(
                prompt.id, None, None, None, reasons=unread, judge=self.name, raw=answer.text, usage=answer.usage
            )
        name, reason = found
        broken = _FLAWS.get(name)
        # A refusal is neither harmful nor imprecise: it is no prompt. What the class does not speak of is no flaw.
        return Verdict(
            prompt.id, harmless=broken != "harmless", accurate=broken != "accurate", helpful=broken != "helpful",
            refusal=name == "refusal", reasons=(Reason(broken, name, reason),) if broken else (), judge=self.name, raw=answer.text,
            usage=answer.usage,
        )  # fmt: skip


def class_in(answer: str) -> tuple[str, str] | None:
    """The class and the reason of an answer whose last line has the form; None for any other answer."""
    lines = [line.strip(" \t*_`") for line in answer.splitlines() if line.strip(" \t*_`")]
    found = _LINE.fullmatch(lines[-1]) if lines else None
    return (found[1].lower(), one_line(found[2])) if found else None
