"""The guard: every prompt is checked before a user gets it, and repaired where that can be done."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from vpo.interfaces import Judge
from vpo.judge.rules import helpfulness, repairs
from vpo.language.identify import language_of
from vpo.language.markup import find_marks
from vpo.optimize.queries import UserQuery
from vpo.optimize.records import Candidate
from vpo.optimize.target import TargetModel
from vpo.optimize.wording import ends, repetition_in, sentences_of, talk_in, without_talk
from vpo.records import Failure, Prompt, Reason, Verdict

_ECHO_WORDS = 7  # that in a row are the template's and not the query's
_LABEL = re.compile(r"^\s*([A-Z][\w ]{2,30}):", re.M)
_WORD = re.compile(r"\w+")
_SHOWN = 60
_UNREADABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]"
)  # bytes that are no text, and control characters
UNREADABLE, CUT, LEAD_IN, TALK, REPETITION = "unreadable", "cut", "lead_in", "talk", "repetition"


class Guard:
    """Decides whether a prompt passes.

    It must be text, harmless and accurate by the judge, begin directly, be plain words, no refusal, whole, about the scene and
    not about the task, none of the template's text, no loop, in the language that is wanted, and no longer than the target's
    text encoder reads. That it names light or camera (*helpful*) ranks candidates and is not required.

    Args:
        judge: reads queries and prompts.
        target: the video model.
        language: "keep" for the query's own, "english" for English.
        template: with which the language model was asked.
    """

    def __init__(self, judge: Judge, target: TargetModel, language: str, template: str) -> None:
        self.judge, self.target, self.language, self.template = judge, target, language, template

    def reads(self, query: UserQuery) -> bool:
        """Whether the judge can tell if a prompt is accurate: rules know one language."""
        known = getattr(self.judge, "languages", ())
        return not known or query.language is None or query.language in known

    def check(
        self, queries: Sequence[UserQuery], texts: Sequence[str], how: str, cut: Sequence[bool]
    ) -> list[Candidate]:
        """One candidate a text, with its verdict and what keeps it from passing.

        Args:
            queries: of the texts, one each.
            how: "sampled" or "refined".
            cut: which texts were cut off at the longest completion.
        """
        verdicts = self._verdicts(queries, texts)
        rows = zip(queries, texts, verdicts, cut, strict=True)
        return [
            Candidate(
                text,
                how,
                None if isinstance(verdict, Failure) else verdict,
                tuple(self._problems(query, text, verdict, was_cut)),
            )
            for query, text, verdict, was_cut in rows
        ]

    def verdicts_on_queries(self, queries: Sequence[UserQuery]) -> list[Verdict | None]:
        """The judge's on each query's plain words as if they were the prompt."""
        found = self._verdicts(queries, [query.plain for query in queries])
        return [None if isinstance(one, Failure) else one for one in found]

    def refine(self, queries: Sequence[UserQuery], candidates: Sequence[Candidate]) -> list[str | None]:
        """Each candidate without its problems, as far as it goes; None where nothing was changed, or nothing is worth keeping.

        Endings that were cut off, or that the target would cut, go first; the judge refines the rest.
        """
        texts = [self._mended(query, one) for query, one in zip(queries, candidates, strict=True)]
        judged = [place for place, one in enumerate(candidates) if one.verdict is not None and texts[place]]
        prompts = [_prompt(queries[place], texts[place]) for place in judged]
        # The reasons are the judge's and ours: it may know how to remove what we found.
        verdicts = [
            replace(verdict, reasons=tuple(dict.fromkeys((*verdict.reasons, *candidates[place].problems))))
            for place in judged
            if (verdict := candidates[place].verdict) is not None
        ]
        answers = self.judge.refine(prompts, verdicts) if prompts else []
        for place, answer in zip(judged, answers, strict=True):
            if isinstance(answer, str) and answer.strip():
                texts[place] = self._shortened(Candidate(tidied(answer), "refined", None))
        return [text if text and text != one.text else None for text, one in zip(texts, candidates, strict=True)]

    def _verdicts(self, queries: Sequence[UserQuery], texts: Sequence[str]) -> list[Verdict | Failure]:
        prompts = [_prompt(query, text) for query, text in zip(queries, texts, strict=True)]
        return list(self.judge.critique(prompts)) if prompts else []

    def _problems(self, query: UserQuery, text: str, verdict: Verdict | Failure, cut: bool) -> list[Reason]:
        if not text:
            return [Reason("accurate", "empty", "")]
        odd = _UNREADABLE.search(text)
        if odd:
            return [Reason("accurate", UNREADABLE, f"U+{ord(odd.group()):04X}")]
        if isinstance(verdict, Failure):
            return [Reason("accurate", "not_judged", verdict.detail)]
        found = [reason for reason in verdict.reasons if self._is_required(reason, verdict)]
        for aspect in ("harmless", "accurate"):
            answer = getattr(verdict, aspect)
            if answer is None:
                found.append(Reason(aspect, "not_judged", "the judge's answer could not be read"))
            elif not answer and not any(reason.aspect == aspect for reason in found):
                found.append(Reason(aspect, f"not_{aspect}", ""))
        refusal, lead_in = helpfulness.refusal(text), helpfulness.lead_in(text)
        if refusal or verdict.refusal:
            found.append(Reason("helpful", "refusal", refusal))
        if lead_in:
            found.append(Reason("helpful", LEAD_IN, lead_in))
        found += [Reason("helpful", mark.kind, mark.text[:_SHOWN]) for mark in find_marks(text)]
        echo = self.echo(query.text, text)
        if echo:
            found.append(Reason("helpful", "template_echo", echo))
        scene = repairs.without_lead_in(text) if lead_in else text
        for kind, words in ((TALK, talk_in(scene, query.text)), (REPETITION, repetition_in(text, query.text))):
            if words:
                found.append(Reason("helpful", kind, words[:_SHOWN]))
        if cut:
            found.append(Reason("helpful", CUT, text[-_SHOWN:]))
        found += self._language_problem(query, text)
        if not self.target.fits(text):
            length = self.target.measure(text)
            found.append(Reason("helpful", "too_long_for_target", f"{length.tokens} tokens of {length.limit}"))
        return list(dict.fromkeys(found))

    @staticmethod
    def _is_required(reason: Reason, verdict: Verdict) -> bool:
        return (reason.aspect == "harmless" and not verdict.harmless) or (
            reason.aspect == "accurate" and not verdict.accurate
        )

    def _language_problem(self, query: UserQuery, text: str) -> list[Reason]:
        written = language_of(text)
        wanted = "en" if self.language == "english" else query.language
        if written is None:
            return []
        if wanted is not None and written != wanted:
            return [Reason("accurate", "language", f"{wanted} -> {written}")]
        if self.target.languages and written not in self.target.languages:
            return [
                Reason(
                    "helpful", "language", f"{self.target.name} reads {', '.join(self.target.languages)}, not {written}"
                )
            ]
        return []

    def echo(self, query: str, text: str) -> str:
        """The template's words that a text repeats though the query does not have them, or nothing."""
        labels = [one for one in self._labels if re.search(rf"\b{re.escape(one)}\s*:", text, re.I)]
        if labels:
            return f"{labels[0]}:"
        own = _runs(_WORD.findall(query.lower()))
        words = _WORD.findall(text.lower())
        for start in range(len(words) - _ECHO_WORDS + 1):
            run = tuple(words[start : start + _ECHO_WORDS])
            if run in self._template_runs and run not in own:
                return " ".join(run)
        return ""

    @cached_property
    def _template_runs(self) -> frozenset[tuple[str, ...]]:
        before, _, after = self.template.partition("{}")
        return _runs(_WORD.findall(before.lower())) | _runs(_WORD.findall(after.lower()))

    @cached_property
    def _labels(self) -> list[str]:
        """What the template calls its parts ("Video Prompt")."""
        return [label.strip() for label in _LABEL.findall(self.template)]

    def _mended(self, query: UserQuery, candidate: Candidate) -> str:
        """What of a candidate's text is worth refining."""
        if _has(candidate, UNREADABLE):
            return ""
        if _has(candidate, LEAD_IN):
            candidate = replace(candidate, text=repairs.without_lead_in(candidate.text))
        if _has(candidate, TALK) or _has(candidate, REPETITION):
            candidate = replace(candidate, text=without_talk(candidate.text, query.text))
        return self._shortened(candidate)

    def _shortened(self, candidate: Candidate) -> str:
        """The text without the sentence that was cut off and without closing sentences that the target does not read."""
        sentences = sentences_of(candidate.text)
        if _has(candidate, CUT) and not ends(candidate.text):
            sentences = sentences[:-1] or sentences
        while len(sentences) > 1 and not self.target.fits(" ".join(sentences)):
            sentences = sentences[:-1]
        return " ".join(sentences).strip()


def tidied(text: str) -> str:
    """What a language model wrote, in one line and without the quotes around all of it."""
    text = " ".join(text.split())
    for first, last in ('""', "''", "“”", "‘’"):
        if (
            len(text) > 2
            and text[0] == first
            and text[-1] == last
            and first not in text[1:-1]
            and last not in text[1:-1]
        ):
            text = text[1:-1].strip()
    return text


def _has(candidate: Candidate, kind: str) -> bool:
    return any(problem.kind == kind for problem in candidate.problems)


def _runs(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words[start : start + _ECHO_WORDS]) for start in range(len(words) - _ECHO_WORDS + 1))


def _prompt(query: UserQuery, text: str) -> Prompt:
    return Prompt(query.text, query.text, query.text, text, "optimize")
