"""A language model that writes new prompts from the best ones so far and their scores (Prompt-A-Video's prompt evolution)."""

import re
from collections.abc import Mapping, Sequence

from vpo.interfaces import Engine
from vpo.language.answers import unwrap
from vpo.language.quoting import as_line
from vpo.records import Completion, Evolved, Failure, Family, Message, Request, Sampling
from vpo.seeding import seed_of
from vpo.templates import read_template

TAGGED = re.compile(r"<PROMPT>(.*?)</PROMPT>", re.DOTALL | re.IGNORECASE)
# Labels of the templates: a model that goes on with another query and its scores has ended its prompt.
LABEL = re.compile(r"\b(?:Query|Better):|\bTried \(overall ")
TAG = re.compile(r"<\s*/?\s*PROMPT\s*>", re.IGNORECASE)


class EngineRewriter:
    """Asks any engine with a template, which holds the slot `{}` for the query and the prompts that were tried.

    Args:
        engine: where the language model runs.
        template: name of the file in `vpo/templates`; `{children}` in it becomes the number of prompts that are asked for.
        together: one answer with all new prompts, each between <PROMPT> and </PROMPT>, as Prompt-A-Video asks; an answer with another
            number of them is a Failure. Else one answer for each, which smaller models can give: the prompt in it is what the tags
            hold, or what is left without quotes, announcements and notes.
        scores: whether the parts of the reward are shown beside the overall score.
        temperature: above 0, or answers to one request are equal.
        top_p: mass of the nucleus.
        max_new_tokens: longest answer.
    """

    batch_size = 16  # families at once

    def __init__(
        self,
        engine: Engine,
        template: str,
        together: bool,
        scores: bool,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
    ) -> None:
        self.engine, self.template, self.together, self.scores = engine, read_template(template), together, scores
        self.sampling = Sampling(temperature, top_p, max_new_tokens)

    def rewrite(self, families: Sequence[Family], n: int, seed: int) -> list[list[str] | Failure]:
        """Up to n new prompts a family; see `vpo.interfaces.Rewriter`."""
        answers = 1 if self.together else n
        asked = [
            Request(
                (self._turn(one, n),),
                sampling=self.sampling,
                seed=seed_of("evolve", seed, one.query.id, one.generation, k),
            )
            for one in families
            for k in range(answers)
        ]
        written = self.engine.generate(asked)
        groups = [written[start : start + answers] for start in range(0, len(written), answers)]
        return [self._all(own[0], n) if self.together else _one_each(own) for own in groups]

    def close(self) -> None:
        """Free the language model's memory."""
        self.engine.close()

    def _turn(self, family: Family, n: int) -> Message:
        """The user's turn. The number goes in first: a query may hold what looks like a slot."""
        wanted = str(n) if self.together else "1"
        return Message("user", self.template.replace("{children}", wanted).replace("{}", shown(family, self.scores), 1))

    def _all(self, answer: Completion | Failure, n: int) -> list[str] | Failure:
        if isinstance(answer, Failure):
            return answer
        found = tagged(answer.text)
        if len(found) == n:
            return found
        return Failure("wrong_number", f"{len(found)} prompts between tags in the answer, and {n} were asked for")


def shown(family: Family, scores: bool) -> str:
    """The query and the prompts that were tried for it, the best last, each on a line of its own, which it cannot leave."""
    tried = [family.original, *reversed(family.parents)]
    return "\n".join(
        [
            f"Query: {as_line(one_line(family.query.text))}",
            *(f"Tried ({_scores(one, scores)}): {as_line(one_line(one.text))}" for one in tried),
        ]
    )


def tagged(answer: str) -> list[str]:
    """What stands between the tags of an answer, without what is empty or comes again."""
    return list(dict.fromkeys(filter(None, (one_line(one) for one in TAGGED.findall(answer)))))


def one_line(text: str) -> str:
    """A text without line breaks and tags: in a template it cannot leave its place, and as a prompt it needs none."""
    return " ".join(TAG.sub(" ", text).split())


def _scores(one: Evolved, parts: bool) -> str:
    dimensions: Mapping[str, float | None] = one.dimensions if parts else {}
    named = {"overall": one.value, **dimensions}
    return ", ".join(f"{name} {'?' if value is None else f'{value:.2f}'}" for name, value in named.items())


def _one_each(answers: Sequence[Completion | Failure]) -> list[str] | Failure:
    """The prompt of each answer; a Failure where no answer has one."""
    found = []
    for one in answers:
        if isinstance(one, Completion):
            inner = tagged(one.text) or [one_line(unwrap(LABEL.split(one.text, maxsplit=1)[0]).prompt)]
            found.append(inner[0])
    texts = list(dict.fromkeys(filter(None, found)))
    if texts:
        return texts
    failed = next((one for one in answers if isinstance(one, Failure)), None)
    return failed or Failure("no_prompt", "no answer has a prompt in it")
