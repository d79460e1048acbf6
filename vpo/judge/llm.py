"""A language model as judge, over any engine: VPO's critique and refinement (arXiv 2503.20491, Fig. 8), in our own words.

It reads a query and a prompt by the three principles and says yes or no to each, with a reason. The answer must have the form that the
template asks for, with all three principles (`vpo.judge.asking.verdicts`). Any other is a verdict of None for each of them, which is
counted and never a score.

Query, prompt and flaws are put into the templates as JSON (`vpo.language.quoting`), so that no text of a user ends its place, and an
engine of ours makes every turn's ids apart from those of the chat format. What a text says to the judge may still sway the judge: that
no form prevents.
"""

from collections.abc import Sequence

from vpo.interfaces import Engine
from vpo.judge.asking.naming import model_of
from vpo.judge.asking.refinements import read_refinement
from vpo.judge.asking.verdicts import UNREADABLE, read_verdict, unanswered
from vpo.judge.rules.helpfulness import refusal
from vpo.language.quoting import as_data
from vpo.language.serving.answers import without_thought
from vpo.records import Completion, Failure, Message, Prompt, Reason, Request, Sampling, Verdict
from vpo.seeding import seed_of
from vpo.templates import fill, read_template, template_hash

# Of how answers are asked for and read, besides the templates, whose hashes verdicts name: to be raised when verdicts can change.
VERSION = "2"


class LLMJudge:
    """Critiques and refines with a language model.

    Args:
        engine: where it runs.
        critique_template: name of the file in `vpo/templates` that asks for a verdict on {"query", "prompt"}.
        refine_template: name of the file that asks for a new prompt, from {"query", "prompt", "flaws"}.
        temperature: 0 for greedy.
        top_p: mass of the nucleus.
        max_new_tokens: longest answer.
        seed: of what is drawn, with the prompt's id.
    """

    def __init__(
        self,
        engine: Engine,
        critique_template: str = "critique",
        refine_template: str = "refine",
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_new_tokens: int = 512,
        seed: int = 0,
    ) -> None:
        self.engine, self.seed = engine, seed
        self.sampling = Sampling(temperature, top_p, max_new_tokens)
        self.critique_text, self.refine_text = read_template(critique_template), read_template(refine_template)
        self.name = f"llm {VERSION}, {model_of(engine)}, {critique_template} {template_hash(critique_template)[:8]}"

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
        """One verdict a prompt; a Failure where the engine gave none, or the judge refused or said nothing."""
        answers = self.engine.generate([self._request("critique", self.critique_text, one) for one in prompts])
        return [self._verdict(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | Failure | None]:
        """Each prompt without the flaws of its verdict, whoever gave it; None where the answer is of no use."""
        answers = self.engine.generate(
            [
                self._request("refine", self.refine_text, prompt, flaws=_flaws(verdict))
                for prompt, verdict in zip(prompts, verdicts, strict=True)
            ]
        )
        return [
            answer if isinstance(answer, Failure) else read_refinement(answer, prompt)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def _request(self, task: str, template: str, prompt: Prompt, **more: object) -> Request:
        data = as_data({"query": prompt.query, "prompt": prompt.text, **more})
        return Request(
            messages=(Message("user", fill(template, data)),),
            sampling=self.sampling,
            seed=seed_of(task, self.seed, prompt.id),
        )

    def _verdict(self, prompt: Prompt, answer: Completion | Failure) -> Verdict | Failure:
        if isinstance(answer, Failure):
            return answer
        text, _ = without_thought(answer.text)
        reading = read_verdict(text, (prompt.query, prompt.text), cut=answer.cut)
        if reading.empty:
            nothing = unanswered(text)
            if nothing is not None:
                return nothing
        declined = "" if reading.empty else refusal(prompt.text)
        reasons = reading.reasons + ((Reason("helpful", "refusal", declined),) if declined else ())
        return Verdict(
            prompt.id, **reading.answers, refusal=bool(declined), reasons=reasons, judge=self.name, raw=answer.text,
            usage=answer.usage,
        )  # fmt: skip


def _flaws(verdict: Verdict) -> list[dict[str, str]]:
    """What is wrong, for the refiner: the judge's reasons, or the names of the principles where it gave none."""
    named = [
        {"principle": one.aspect, "flaw": one.detail or one.kind} for one in verdict.reasons if one.kind != UNREADABLE
    ]
    aspects = [name for name in ("harmless", "accurate", "helpful") if getattr(verdict, name) is False]
    missing = [name for name in aspects if not any(one["principle"] == name for one in named)]
    return named + [{"principle": name, "flaw": f"the prompt is not {name}"} for name in missing]
