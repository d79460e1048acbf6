"""The guard: every prompt is checked before a user gets it, and repaired where that can be done."""

from collections.abc import Sequence
from dataclasses import replace

from vpo.interfaces import Judge
from vpo.judge.rules import helpfulness
from vpo.language.answers import unwrap
from vpo.language.garbled import CUT_OFF, closed, ends, find_garbled, sentences_of, without_garbled
from vpo.language.identify import language_of
from vpo.language.markup import find_marks, without_marks
from vpo.optimize.queries import UserQuery
from vpo.optimize.records import Candidate
from vpo.optimize.target import TargetModel
from vpo.records import Failure, Prompt, Reason, Verdict

_SHOWN = 60


class Guard:
    """Decides whether a prompt passes.

    It must be harmless and accurate by the judge; the prompt and nothing around it (`vpo.language.answers`); whole, readable, no
    loop and none of the template's text (`garbled`); plain words (`markup`); no refusal; in the language that is wanted; and no
    longer than the target's text encoder reads. That it names light or camera (*helpful*) ranks candidates and is not required.

    Args:
        judge: reads queries and prompts.
        target: the video model.
        language: "keep" for the query's own, "english" for English.
        template: with which the language model was asked.
    """

    def __init__(self, judge: Judge, target: TargetModel, language: str, template: str) -> None:
        self.judge, self.target, self.language, self.template = judge, target, language, template

    def reads(self, query: UserQuery) -> bool:
        """Whether the judge can tell if a prompt is accurate: rules know the words of one language, and nothing of emoji."""
        known = getattr(self.judge, "languages", ())
        if not known:
            return True
        return any(map(str.isalpha, query.plain)) and (query.language is None or query.language in known)

    def check(
        self, queries: Sequence[UserQuery], texts: Sequence[str], how: str, cut: Sequence[bool]
    ) -> list[Candidate]:
        """One candidate a text, with its verdict and what keeps it from passing.

        Args:
            queries: of the texts, one each.
            texts: as a language model wrote them. What passes stands in one line in its candidate.
            how: "sampled" or "refined".
            cut: which texts were cut off at the longest completion.
        """
        found = []
        for query, text, verdict, was_cut in zip(queries, texts, self._verdicts(queries, texts), cut, strict=True):
            problems = tuple(dict.fromkeys(self._problems(query, text, verdict, was_cut)))
            given = None if isinstance(verdict, Failure) else verdict
            found.append(Candidate(text.strip() if problems else _one_line(text), how, given, problems))
        return found

    def verdicts_on_queries(self, queries: Sequence[UserQuery]) -> list[Verdict | None]:
        """The judge's on each query's plain words as if they were the prompt."""
        found = self._verdicts(queries, [query.plain for query in queries])
        return [None if isinstance(one, Failure) else one for one in found]

    def refine(self, queries: Sequence[UserQuery], candidates: Sequence[Candidate]) -> list[str | None]:
        """Each candidate without its problems, as far as it goes; None where nothing was changed, or nothing is worth keeping.

        What surrounds the prompt, what is broken in it, and closing sentences that the target would cut go first; the judge refines
        the rest.
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
                texts[place] = self._shortened(_one_line(unwrap(answer).prompt))
        return [text if text and text != one.text else None for text, one in zip(texts, candidates, strict=True)]

    def _verdicts(self, queries: Sequence[UserQuery], texts: Sequence[str]) -> list[Verdict | Failure]:
        prompts = [_prompt(query, text) for query, text in zip(queries, texts, strict=True)]
        return list(self.judge.critique(prompts)) if prompts else []

    def _problems(self, query: UserQuery, text: str, verdict: Verdict | Failure, cut: bool) -> list[Reason]:
        prompt, wrappers = unwrap(text)
        broken = find_garbled(prompt, query.text, self.template)
        form = [Reason("helpful", one.kind, one.text) for one in (*wrappers, *broken)]
        if not without_garbled(prompt, query.text, self.template).strip():
            return form or [Reason("accurate", "empty", "")]
        found = [*self._judged(text, verdict), *form]
        found += [Reason("helpful", mark.kind, mark.text[:_SHOWN]) for mark in find_marks(prompt)]
        if cut and not ends(text) and all(one.kind != CUT_OFF for one in broken):
            found.append(Reason("helpful", CUT_OFF, text[-_SHOWN:]))
        found += self._language_problem(query, prompt)
        length = self.target.measure(_one_line(prompt))
        if length.limit is not None and length.tokens > length.limit:
            found.append(Reason("helpful", "too_long_for_target", f"{length.tokens} tokens of {length.limit}"))
        return found

    def _judged(self, text: str, verdict: Verdict | Failure) -> list[Reason]:
        """What the judge finds that is required of a prompt, and whether the text declines."""
        if isinstance(verdict, Failure):
            return [Reason("accurate", "not_judged", verdict.detail)]
        found = [reason for reason in verdict.reasons if self._is_required(reason, verdict)]
        for aspect in ("harmless", "accurate"):
            answer = getattr(verdict, aspect)
            if answer is None:
                found.append(Reason(aspect, "not_judged", "the judge's answer could not be read"))
            elif not answer and not any(reason.aspect == aspect for reason in found):
                found.append(Reason(aspect, f"not_{aspect}", ""))
        refusal = helpfulness.refusal(text)
        if refusal or verdict.refusal:
            found.append(Reason("helpful", "refusal", refusal))
        return found

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

    def _mended(self, query: UserQuery, candidate: Candidate) -> str:
        """What of a candidate's text is worth refining."""
        kinds = {problem.kind for problem in candidate.problems}
        text = unwrap(candidate.text).prompt
        if any(mark.kind in kinds for mark in find_marks(text)):
            text = without_marks(text)
        text = _one_line(without_garbled(text, query.text, self.template))
        if CUT_OFF in kinds and not ends(text):
            text = _without_last_words(text)
        return self._shortened(text)

    def _shortened(self, text: str) -> str:
        """The text without closing sentences that the target does not read."""
        sentences = sentences_of(text)
        while len(sentences) > 1 and not self.target.fits(" ".join(sentences)):
            sentences = sentences[:-1]
        return " ".join(sentences)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _without_last_words(text: str) -> str:
    """The text without the sentence in which it was cut off; the only sentence without its last word, which may be half a word."""
    whole = sentences_of(text)[:-1]
    return " ".join(whole) if whole else closed(text.rpartition(" ")[0])


def _prompt(query: UserQuery, text: str) -> Prompt:
    return Prompt(query.text, query.text, query.text, text, "optimize")
