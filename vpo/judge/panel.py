"""Several judges on the same prompts: their common verdict, and how far they agree."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vpo.errors import UserError
from vpo.feedback.agreement import cohen_kappa, labelled_by_both
from vpo.interfaces import Judge
from vpo.judge.asking.verdicts import PRINCIPLES
from vpo.records import Failure, Prompt, Reason, Usage, Verdict, from_json, to_json
from vpo.storage.jsonio import dumps

VERSION = "1"
Votes = Mapping[str, Verdict | Failure]  # of one prompt, by the name of the judge


def majority(votes: Sequence[bool | None]) -> bool | None:
    """What more than half of all judges say; None where neither side has as many. A judge without an answer is on neither side."""
    for answer in (True, False):
        if 2 * sum(one is answer for one in votes) > len(votes):
            return answer
    return None


def unanimous(votes: Sequence[bool | None]) -> bool | None:
    """Yes where all judges say yes, no where one says no; None where a judge has no answer and none says no."""
    return False if False in votes else None if None in votes else True


RULES: dict[str, Callable[[Sequence[bool | None]], bool | None]] = {"majority": majority, "unanimous": unanimous}


class PanelJudge:
    """Asks several judges, and gives one verdict by a rule, principle by principle.

    A verdict's `raw` is JSON with what each judge has said; stage critique keeps `report` of them beside the verdicts.

    Args:
        judges: by name.
        rule: "majority" (more than half of all judges) or "unanimous" (one no is a no).

    Raises:
        UserError: There are fewer than two judges, or no such rule.
    """

    def __init__(self, judges: Mapping[str, Judge], rule: str = "majority") -> None:
        if len(judges) < 2:
            raise UserError("judge=panel needs two judges or more, as in judge.judges={rules: ..., llm: ...}")
        if rule not in RULES:
            raise UserError(f"judge.rule={rule} is none of {', '.join(RULES)}")
        self.judges, self.rule = dict(judges), rule

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
        """One verdict a prompt.

        A Failure where every judge has failed on it, or one for a reason that passes: the prompt is judged again then, so that no
        vote is lost for good.
        """
        said = {name: judge.critique(prompts) for name, judge in self.judges.items()}
        return [
            self._common(prompt, {name: verdicts[place] for name, verdicts in said.items()})
            for place, prompt in enumerate(prompts)
        ]

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | Failure | None]:
        """The first usable text of the judges, in their order; each is asked only where it found a flaw itself."""
        found: list[str | Failure | None] = [None] * len(prompts)
        votes = [votes_of(verdict) for verdict in verdicts]
        for name, judge in self.judges.items():
            own = {
                place: vote
                for place, one in enumerate(votes)
                if not isinstance(found[place], str)
                and isinstance(vote := one.get(name), Verdict)
                and _finds_flaw(vote)
            }
            answers = judge.refine([prompts[place] for place in own], list(own.values())) if own else []
            for place, answer in zip(own, answers, strict=True):
                found[place] = answer if answer is not None else found[place]
        return found

    def close(self) -> None:
        """Let go of all judges."""
        for judge in self.judges.values():
            close = getattr(judge, "close", None)
            if close is not None:
                close()

    @staticmethod
    def report(
        prompts: Sequence[Prompt], verdicts: Sequence[Verdict], failures: Mapping[str, Failure]
    ) -> dict[str, Any]:
        """{"agreement.json": how far the judges agree (`agreement`), and "failed": the prompts without a common verdict, with why}."""
        found = agreement({one.prompt_id: votes_of(one) for one in verdicts}, {one.id: one for one in prompts})
        failed = [{"prompt_id": name, "kind": one.kind, "detail": one.detail} for name, one in failures.items()]
        return {"agreement.json": {**found, "failed": failed}}

    def _common(self, prompt: Prompt, votes: Votes) -> Verdict | Failure:
        given = [one for one in votes.values() if isinstance(one, Verdict)]
        failed = {name: one for name, one in votes.items() if isinstance(one, Failure)}
        again = any(one.retryable for one in failed.values())
        if again or not given:
            details = "; ".join(f"{name}: {one.kind}, {one.detail}" for name, one in failed.items())
            return Failure("judges_failed", details, retryable=again)
        decide = RULES[self.rule]
        answers = {name: decide(list(answers_of(votes, name))) for name in PRINCIPLES}
        refusal = decide(list(answers_of(votes, "refusal"))) is True
        grades = [one.accuracy for one in given if one.accuracy is not None]
        usages = [one.usage for one in given if one.usage is not None]
        return Verdict(
            prompt.id, **answers, refusal=refusal, reasons=_reasons(votes, answers),
            accuracy=sum(grades) / len(grades) if grades else None,
            judge=f"panel {VERSION}, {self.rule} of {'; '.join(one.judge for one in given)}",
            raw=dumps({name: _kept(one) for name, one in votes.items()}), usage=_total(usages),
        )  # fmt: skip


def votes_of(verdict: Verdict) -> dict[str, Verdict | Failure]:
    """What each judge has said, by its name; nothing for a verdict that is no panel's."""
    try:
        kept = json.loads(verdict.raw or "{}")
        return {
            name: Failure(**one["failure"]) if "failure" in one else from_json(Verdict, one["verdict"])
            for name, one in kept.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def answers_of(votes: Votes, principle: str) -> list[bool | None]:
    """What each judge says to a principle; None for a judge that failed or could not be read."""
    return [getattr(one, principle) if isinstance(one, Verdict) else None for one in votes.values()]


def agreement(votes: Mapping[str, Votes], prompts: Mapping[str, Prompt] | None = None) -> dict[str, Any]:
    """How far judges agree, from their votes on each prompt.

    Args:
        votes: by the prompt's id.
        prompts: by their ids, whose texts stand with the disagreements; None for ids alone.

    Returns:
        {"pairs": one row for two judges and a principle, with `n` (prompts to which both answer), `agree` (their share with the same
        answer) and Cohen's `kappa` (None where it is not defined), "unanswered": prompts by judge and principle, failures
        among them, "failures": how often each judge failed on a prompt, by kind, "disagreements": one row for each prompt and
        principle with a yes and a no: query, prompt, the answers by judge, and the reasons of those who say no}.
    """
    names = list(dict.fromkeys(name for one in votes.values() for name in one))
    said = {
        (name, principle): [
            getattr(one[name], principle) if isinstance(one.get(name), Verdict) else None for one in votes.values()
        ]
        for name in names
        for principle in PRINCIPLES
    }
    pairs = []
    for first, second in itertools.combinations(names, 2):
        for principle in PRINCIPLES:
            both = labelled_by_both(said[first, principle], said[second, principle])
            pairs.append(
                {
                    "judges": [first, second],
                    "principle": principle,
                    "n": len(both),
                    "agree": sum(a == b for a, b in both) / len(both) if both else None,
                    "kappa": cohen_kappa(said[first, principle], said[second, principle]),
                }
            )
    return {
        "pairs": pairs,
        "unanswered": {name: {one: said[name, one].count(None) for one in PRINCIPLES} for name in names},
        "failures": {
            name: dict(Counter(vote.kind for one in votes.values() if isinstance(vote := one.get(name), Failure)))
            for name in names
        },
        "disagreements": [
            {
                "prompt_id": prompt_id,
                **_texts((prompts or {}).get(prompt_id)),
                "principle": principle,
                "answers": answers,
                "reasons": _details(votes[prompt_id], principle),
            }
            for place, prompt_id in enumerate(votes)
            for principle in PRINCIPLES
            if {True, False} <= set((answers := {name: said[name, principle][place] for name in names}).values())
        ],
    }


def _texts(prompt: Prompt | None) -> dict[str, str]:
    return {} if prompt is None else {"query": prompt.query, "prompt": prompt.text}


def _details(votes: Votes, principle: str) -> dict[str, list[str]]:
    """What each judge finds wrong with a prompt by a principle; judges without a reason are left out."""
    found = {
        name: [reason.detail or reason.kind for reason in one.reasons if reason.aspect == principle]
        for name, one in votes.items()
        if isinstance(one, Verdict)
    }
    return {name: details for name, details in found.items() if details}


def _finds_flaw(verdict: Verdict) -> bool:
    return verdict.refusal or False in (verdict.harmless, verdict.accurate, verdict.helpful)


def _reasons(votes: Votes, answers: Mapping[str, bool | None]) -> tuple[Reason, ...]:
    """The judges' reasons for what the panel finds broken, or could not decide."""
    every = (one for vote in votes.values() if isinstance(vote, Verdict) for one in vote.reasons)
    return tuple(dict.fromkeys(one for one in every if not answers.get(one.aspect)))


def _kept(vote: Verdict | Failure) -> dict[str, Any]:
    return {"failure" if isinstance(vote, Failure) else "verdict": to_json(vote)}


def _total(usages: Sequence[Usage]) -> Usage | None:
    if not usages:
        return None
    costs = [one.cost for one in usages if one.cost is not None]
    return Usage(
        sum(one.tokens_in for one in usages), sum(one.tokens_out for one in usages), sum(costs) if costs else None
    )
