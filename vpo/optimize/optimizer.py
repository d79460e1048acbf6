"""`PromptOptimizer`: queries in, checked prompts out."""

import difflib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpo.checking.schema import Search
from vpo.dataset.reading.problems import RowProblem
from vpo.errors import UserError
from vpo.interfaces import Judge, Policy
from vpo.optimize.choices import build_judge, values_of
from vpo.optimize.guard import Guard
from vpo.optimize.options import Options
from vpo.optimize.queries import UserQuery, read_query
from vpo.optimize.records import QUERY, REFINED, REFUSED, SAMPLED, Candidate, Optimized
from vpo.optimize.search import best_of
from vpo.optimize.semantic import BATCH_SIZE, MAX_TOKENS, encoder_for
from vpo.optimize.server import in_own_words
from vpo.optimize.source import default_source, open_source
from vpo.optimize.target import TargetModel
from vpo.records import Completion, Failure, Reason, Request, Sampling, Usage, Verdict
from vpo.seeding import seed_of

if TYPE_CHECKING:
    from vpo.language.embedding import SentenceEncoder
    from vpo.optimize.rendering import Renderer


@dataclass
class _Work:
    """A query on its way: what was made of it so far."""

    query: UserQuery
    verdict: (
        Verdict | None
    )  # on the query's own words; None where the judge does not read them and found nothing unsafe
    readable: bool
    candidates: list[Candidate] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    repaired: tuple[Reason, ...] = ()
    sampled: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def best(self) -> Candidate | None:
        return best_of(self.candidates)

    @property
    def passed(self) -> bool:
        return self.best is not None and not self.best.problems

    @property
    def unsafe(self) -> bool:
        return self.readable if self.verdict is None else not self.verdict.harmless


class PromptOptimizer:
    """Rewrites queries into prompts for a text-to-video model, and checks every one.

    What does not pass the guard is refined, else sampled anew, else the query's own words are the prompt (`fell_back`). An unsafe
    query is never handed on: its prompt is harmless, or there is none (`how` is "refused"). A query that the judge does not read, in
    another language or without words, comes back as it is, with no verdict: neither its safety nor anything else was checked.

    Args:
        policy: the language model, and how a query is put to it.
        sampling: how prompts are drawn.
        judge: critiques and refines.
        template: with which the policy asks; the guard knows it where it is repeated.
        options: what to do.

    Example:
        >>> optimizer = PromptOptimizer.from_pretrained("exported/my-run")
        >>> optimizer("a cute dog on the grass")
        'A small golden puppy runs over a sunlit lawn ...'
    """

    def __init__(self, policy: Policy, sampling: Sampling, judge: Judge, template: str, options: Options) -> None:
        self.policy, self.sampling, self.options = policy, sampling, options
        self.search = _search(options)
        if self.search.n > 1 and sampling.temperature == 0:
            raise UserError(
                f"search.n={self.search.n} with temperature=0 makes the same candidate {self.search.n} times; set temperature=0.7"
            )
        self.target = TargetModel(options.target)
        self.guard = Guard(judge, self.target, options.language, template)
        self.encoder = _encoder(self.search)
        self.renderer = _renderer(options, self.search)

    @classmethod
    def from_pretrained(cls, source: str | Path | None = None, **options: Any) -> "PromptOptimizer":
        """Open an optimizer.

        Args:
            source: a folder that `vpo export` wrote or any folder of a causal language model, a LoRA folder, a run folder
                (`runs/<experiment>/<run>`), a hub id such as "CCCCCC/VPO-2B", or the URL of an OpenAI-compatible server; None for the
                small optimizer of this package.
            options: the fields of `Options`, such as search="best_of_n", target="cogvideox", device="cuda".

        Raises:
            UserError: the source cannot be opened, or an option is wrong; one line says what, and the cure.
        """
        known = [one.name for one in fields(Options)]
        unknown = [name for name in options if name not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            raise UserError(f"{unknown[0]} is no option; {f'did you mean {near[0]}?' if near else ', '.join(known)}")
        return cls.create(default_source() if source is None else str(source), Options(**options))

    @classmethod
    def create(cls, source: str, asked: Options) -> "PromptOptimizer":
        """The same with options that are made already."""
        encoder_for(_search(asked), tell=False)  # before a model is loaded
        TargetModel(asked.target)
        _renderer(asked, _search(asked))
        opened = open_source(source, asked)
        judge = build_judge(asked.judge, opened.policy.engine)
        return cls(opened.policy, opened.sampling, judge, opened.template, asked)

    def __call__(self, query: str) -> str:
        """The prompt of one query. Raises UserError for a query that cannot be used, or is refused."""
        (record,) = self.optimize([query])
        if record.prompt is None:
            raise UserError(refusal_line(record))
        return record.prompt

    def optimize(self, queries: Sequence[str]) -> list[Optimized]:
        """One record a query, in order. Raises UserError for a query that cannot be used, before anything is asked."""
        return list(self.stream(queries))

    def stream(self, queries: Sequence[str]) -> Iterator[Optimized]:
        """The same, a record as soon as it is there; `options.batch_size` queries are worked on together."""
        if isinstance(queries, str):
            raise UserError(
                "optimize takes a list of queries, and this is one query; give [query], or call the optimizer itself"
            )
        read = []
        for number, given in enumerate(queries, start=1):
            try:
                read.append(read_query(given, self.options.max_chars, self.options.language))
            except RowProblem as problem:
                raise UserError(f"the query {problem}" if len(queries) == 1 else f"query {number} {problem}") from None
        for start in range(0, len(read), self.options.batch_size):
            yield from self._together(read[start : start + self.options.batch_size])

    def close(self) -> None:
        """Free the memory of all models, or close the connections."""
        self.policy.close()
        if self.encoder is not None:
            self.encoder.close()
        if self.renderer is not None:
            self.renderer.close()

    def __enter__(self) -> "PromptOptimizer":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _together(self, queries: Sequence[UserQuery]) -> list[Optimized]:
        start = time.perf_counter()
        works = [
            _Work(query, verdict if reads or (verdict and not verdict.harmless) else None, reads)
            for query, verdict, reads in zip(
                queries, self.guard.verdicts_on_queries(queries), map(self.guard.reads, queries), strict=True
            )
        ]
        for attempt in range(1 + self.options.resamples):
            pending = [work for work in works if work.readable and not work.passed]
            if not pending:
                break
            self._sample(pending)
            # What did not pass is refined once; what search asks for beyond that, only for first candidates.
            for number in range(max(1, self.search.rounds if attempt == 0 else 0)):
                self._refine(pending, improve=number < self.search.rounds)
        if self.renderer is not None:
            self._show(self.renderer, works)
        seconds = (time.perf_counter() - start) / max(1, len(works))
        return [self._record(work, seconds) for work in works]

    def _sample(self, works: Sequence[_Work]) -> None:
        """Add n candidates to each; all are asked for at once, so that an engine may share what their prompts have in common."""
        asked = [(work, self._request(work.query, work.sampled + k)) for work in works for k in range(self.search.n)]
        try:
            answers = self.policy.engine.generate([request for _, request in asked])
        except UserError as error:
            raise UserError(in_own_words(str(error))) from error
        done: list[tuple[_Work, Completion]] = []
        for (work, _), answer in zip(asked, answers, strict=True):
            work.sampled += 1
            if isinstance(answer, Completion):
                work.usage = _sum(work.usage, answer.usage)
                done.append((work, answer))
            else:
                work.failures.append(answer)
        _stop_where_nothing_answers(answers)
        self._check(
            [work for work, _ in done],
            [answer.text for _, answer in done],
            SAMPLED,
            [answer.cut for _, answer in done],
        )

    def _request(self, query: UserQuery, k: int) -> Request:
        return self.policy.request(query.text, self.sampling, seed_of("optimize", self.options.seed, query.text, k))

    def _refine(self, works: Sequence[_Work], *, improve: bool) -> None:
        """Refine the best candidate of each query that has none that passes; with `improve` of each that has a flaw."""
        chosen = [
            (work, best)
            for work in works
            if (best := work.best) is not None
            and (best.problems or (improve and not (best.verdict and best.verdict.fine)))
        ]
        texts = self.guard.refine([work.query for work, _ in chosen], [best for _, best in chosen])
        changed = [(work, best, text) for (work, best), text in zip(chosen, texts, strict=True) if text is not None]
        self._check([work for work, _, _ in changed], [text for _, _, text in changed], REFINED, [False] * len(changed))
        for work, best, _ in changed:
            if work.best is not best:
                work.repaired = best.problems

    def _check(self, works: Sequence[_Work], texts: Sequence[str], how: str, cut: Sequence[bool]) -> None:
        candidates = self.guard.check([one.query for one in works], texts, how, cut)
        if self.encoder is not None:
            pairs = [(work.query.plain, candidate.text) for work, candidate in zip(works, candidates, strict=True)]
            scores = self.encoder.cosines(pairs)
            candidates = [replace(one, semantic=score) for one, score in zip(candidates, scores, strict=True)]
        for work, candidate in zip(works, candidates, strict=True):
            work.candidates.append(candidate)

    def _show(self, renderer: "Renderer", works: Sequence[_Work]) -> None:
        """Render what passed the guard, each text of a query once, and note what the video model made of it."""
        passed = [
            (work, text)
            for work in works
            for text in dict.fromkeys(one.text for one in work.candidates if not one.problems)
        ]
        shown = renderer.show([work.query for work, _ in passed], [text for _, text in passed])
        found = {(id(work), text): one for (work, text), one in zip(passed, shown, strict=True)}
        for work in works:
            work.candidates = [
                replace(one, clip=seen.clip, reward=seen.reward, not_shown=seen.problem)
                if not one.problems and (seen := found.get((id(work), one.text)))
                else one
                for one in work.candidates
            ]

    def _record(self, work: _Work, seconds: float) -> Optimized:
        best = work.best
        how, prompt, verdict, problems = QUERY, " ".join(work.query.plain.split()), work.verdict, _why(work)
        if best is not None and not best.problems:
            how, prompt, verdict = best.how, best.text, best.verdict
            problems = work.repaired if how == REFINED else ()
        elif work.unsafe:
            how = REFUSED
        return Optimized(
            query=work.query.given,
            prompt=None if how == REFUSED else prompt,
            how=how,
            fell_back=how == QUERY,
            verdict=verdict,
            problems=problems,
            flags=work.query.flags,
            notes=work.query.notes,
            candidates=tuple(work.candidates),
            tokens=work.usage,
            seconds=round(seconds, 3),
            length=None if how == REFUSED else self.target.measure(prompt),
            clip=best.clip if best is not None and how in (SAMPLED, REFINED) else None,
        )


def _search(options: Options) -> Search:
    asked = {"n": options.n, "rounds": options.rounds, "semantic": options.semantic}
    return values_of("search", options.search, Search, **asked)


def _encoder(search: Search) -> "SentenceEncoder | None":
    """What scores candidates by their meaning, where the search asks for it."""
    model = encoder_for(search)
    if model is None:
        return None
    from vpo.language.embedding import SentenceEncoder  # torch and transformers take seconds

    return SentenceEncoder(model, None, MAX_TOKENS, "cpu", BATCH_SIZE, "search.semantic")


def _renderer(options: Options, search: Search) -> "Renderer | None":
    """What renders candidates, where the search asks for it. Raises UserError before any model is loaded."""
    if not search.render:
        if options.generator or options.reward or options.overrides:
            raise UserError(
                f"search={options.search} renders nothing, so a generator or a reward has no use; set search=render"
            )
        return None
    from vpo.optimize.rendering import Renderer

    return Renderer(options)


def refusal_line(record: Optimized) -> str:
    """Why a query has no prompt."""
    reasons = [reason for reason in record.verdict.reasons if reason.aspect == "harmless"] if record.verdict else []
    named = (
        "; ".join(f"{reason.kind}: {reason.detail}" for reason in reasons) or "the judge could not tell that it is safe"
    )
    if record.verdict is None or record.verdict.harmless is None:
        return f"the query is refused: nothing says that it is safe ({named}); ask again, or choose another judge"
    return f"the query is refused: it is unsafe ({named}), and no harmless prompt came of it; ask for something else"


def fallback_line(record: Optimized) -> str:
    """Why a query is its own prompt."""
    named = "; ".join(f"{reason.kind}: {reason.detail}" for reason in record.problems[:3]) or "the model wrote nothing"
    return f"no prompt passed the checks, so the query comes back as it is ({named})"


def _why(work: _Work) -> tuple[Reason, ...]:
    """Why no candidate passed."""
    if not work.readable:
        unread = f"the judge does not read {work.query.language}" if work.query.language else "it has no words"
        return (Reason("accurate", "not_judged", f"{unread}, so that nothing was checked, its safety neither"),)
    if work.best is not None:
        return work.best.problems
    return tuple(dict.fromkeys(Reason("accurate", one.kind, one.detail) for one in work.failures))


def _stop_where_nothing_answers(answers: Sequence[Completion | Failure]) -> None:
    """Raise UserError where no request was answered and each may be at another time: the server is away, not the query at fault."""
    failures = [one for one in answers if isinstance(one, Failure)]
    if failures and len(failures) == len(answers) and all(one.retryable for one in failures):
        raise UserError(f"the language model gave no answer: {failures[0].detail}; the same command goes on from here")


def _sum(one: Usage, other: Usage) -> Usage:
    costs = [usage.cost for usage in (one, other) if usage.cost is not None]
    return Usage(one.tokens_in + other.tokens_in, one.tokens_out + other.tokens_out, sum(costs) if costs else None)
