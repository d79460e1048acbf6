"""Win rates: which of two methods' prompts, or clips, a judge prefers for the same query, asked in both orders."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vpo.cards import ANY, WEIGHTED_MEAN, Answered, EvaluatorCard, MeanOfClips, Metric, Weighted, mean_over_clips, share
from vpo.errors import UserError
from vpo.evaluator.answers import asked_licence, asked_model, chosen, passing, said
from vpo.interfaces import Engine
from vpo.language.quoting import as_data
from vpo.records import Clip, Completion, Failure, Message, Prompt, Request, Rival, Sample, Sampling
from vpo.seeding import seed_of
from vpo.templates import fill, read_template
from vpo.video.clips import ClipError
from vpo.video.shown import ClipPictures, Shown

VERSION = "1"
CHOICES = ("first", "second", "tie")
Looks = Literal["prompts", "clips"]
Answer = Completion | Failure
# Metric names by what is compared; each has a part a rival. The last one is made of the items of all methods.
WON, TIED, CHANGED, FIRST, STRENGTH = "winrate", "tied", "order_changed", "first_chosen", "bradley_terry"
Values = dict[str, float | Weighted | None]


@dataclass(frozen=True)
class Verdicts:
    """What the judge said of two methods' work: with ours first, and with ours second; None for an answer that cannot be read."""

    ours_first: str | None
    ours_second: str | None

    @property
    def known(self) -> bool:
        """Whether both answers could be read."""
        return self.ours_first is not None and self.ours_second is not None

    @property
    def votes(self) -> tuple[float, float]:
        """What each order says of ours: 1 it wins, 0.5 a tie, 0 it loses."""
        by_order = ({"first": 1.0, "second": 0.0, "tie": 0.5}, {"first": 0.0, "second": 1.0, "tie": 0.5})
        said = (self.ours_first, self.ours_second)
        one, other = (votes[answer or ""] for votes, answer in zip(by_order, said, strict=True))
        return one, other


@dataclass(frozen=True)
class Side:
    """What is shown of a method: a prompt, or pictures of a clip."""

    method: str
    text: str = ""
    pictures: tuple[str, ...] = ()


class WinRate:
    """Each method against its rivals, query by query, by a language model or a vision-language model.

    A judge leans to one of the two places whatever stands there, so each pair is asked in both orders, and a method wins only where
    it is preferred in both; all else is a tie (Zheng et al., arXiv 2306.05685, section 3.4). `first_chosen` is how far it leans.

    The requests about two methods are the same from either side, so an engine that keeps its answers is asked once.

    Args:
        engine: a language model; for clips a vision-language model that reads pictures.
        looks: "prompts" or "clips": what is compared.
        against: the methods with which every other one is compared; None for all.
        template: names the file in `vpo/templates` that asks.
        temperature: 0 for the likeliest answer.
        max_new_tokens: longest answer.
        seed: of what is drawn, with the query's id and the methods' names.
        shown: which frames of a clip are sent, with the fields of `vpo.video.shown.Shown`; not read for prompts.
        batch_size: queries whose comparisons are handed to the engine together.

    Raises:
        UserError: What is missing or contradictory, and the cure.
    """

    not_in_key = ("batch_size",)

    def __init__(
        self,
        engine: Engine,
        looks: Literal["prompts", "clips"],
        against: Sequence[str] | None,
        template: str,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        shown: Mapping[str, Any] | None,
        batch_size: int,
    ) -> None:
        self.engine, self.looks, self.seed = engine, looks, seed
        self.text = read_template(template)
        self.sampling = Sampling(temperature, 1.0, max_new_tokens)
        self.pictures = None if looks == "prompts" or shown is None else ClipPictures(Shown(**shown))

    @staticmethod
    def card(
        looks: Looks, template: str, shown: Mapping[str, Any] | None, engine: Any = None, **more: Any
    ) -> EvaluatorCard:
        """The card, by what is compared."""
        if looks not in ("prompts", "clips"):
            raise UserError(f"evaluator.winrate.looks={looks} is neither prompts nor clips; choose one of them")
        if looks == "clips" and not shown:
            raise UserError(
                "evaluator.winrate.shown must say which frames of a clip are sent, as in winrate_clips.yaml"
            )
        prefix, things = _prefix(looks), looks
        parts: dict[str, Any] = {"parts": True}
        return EvaluatorCard(
            name=f"win rate of {things}",
            version=VERSION,
            about=f"{things} of two methods for one query, judged in both orders by {asked_model(engine)} (its own licence) with the "
            f"template {template}; a win needs both, all else is a tie, which counts half. What the judge prefers for its length "
            "alone is in it",
            model=asked_model(engine),
            licence=asked_licence(engine),
            needs=frozenset({"rivals"} | ({"clips"} if looks == "clips" else set())),
            applies=_Applies(prefix),
            metrics=(
                share(prefix + WON, _label(looks, "Win rate"), "higher", "preferred to the rivals; a tie is half a win", **parts),
                share(prefix + TIED, _label(looks, "Ties"), None, "no preference in both orders", main=False, **parts),
                share(prefix + CHANGED, _label(looks, "Changed with the order"), "lower",
                      "the judge's preference followed the place: counted as ties", main=False, **parts),
                share(prefix + FIRST, _label(looks, "First place chosen"), None,
                      "position bias: of the answers with a preference, those for what stood first; 50 is none", main=False,
                      aggregate=WEIGHTED_MEAN, **parts),
                Metric(prefix + STRENGTH, _label(looks, "Bradley-Terry"), "higher", unit="Elo", decimals=0, across=True, range=ANY,
                       aggregate=f"vpo.results.bradley_terry.of_{looks}",
                       about="strength of three methods or more from all comparisons; mean 0, 400 points are odds of ten to one"),
            ),
        )  # fmt: skip

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | Weighted | None] | Failure]:
        """The metrics against each rival, and their means; a Failure where the engine failed for a reason that passes.

        Of several clips of a prompt each is compared with the rival's of the same number, and a query's numbers are their means.
        """
        asked = [[self._pairs(sample, rival) for rival in sample.rivals] for sample in samples]
        requests = [one for of_sample in asked for pairs in of_sample for pair in pairs for one in pair or ()]
        answers = iter(self.engine.generate(requests))
        rows: list[Mapping[str, float | Weighted | None] | Failure] = []
        for sample, of_sample in zip(samples, asked, strict=True):
            given = [[[next(answers) for _ in pair or ()] for pair in pairs] for pairs in of_sample]
            failed = passing([one for pairs in given for pair in pairs for one in pair])
            row = self._row(sample, [[_verdicts(pair) for pair in pairs] for pairs in given])
            rows.append(failed or Answered(row, self._answers(sample, given)))
        return rows

    def close(self) -> None:
        """Close the engine, and free the frames."""
        self.engine.close()
        if self.pictures is not None:
            self.pictures.close()

    def _pairs(self, sample: Sample, rival: Rival) -> list[tuple[Request, Request] | None]:
        """The comparisons with a rival, ours first and then second; None where one of the two has nothing to show."""
        ours, theirs = self._sides(sample.prompt, sample.clips), self._sides(rival.prompt, rival.clips)
        return [
            None if one is None or other is None else self._both_orders(sample, one, other, number)
            for number, (one, other) in enumerate(itertools.zip_longest(ours, theirs))
        ]

    def _sides(self, prompt: Prompt | Failure, clips: Sequence[Clip | Failure]) -> list[Side | None]:
        """What is shown of a method: its prompt, or each of its clips; None for one that failed or cannot be read."""
        if isinstance(prompt, Failure):
            return [None]
        if self.pictures is None:
            return [Side(prompt.method, prompt.text)]
        return [self._of_clip(prompt.method, clip) for clip in clips] or [None]

    def _of_clip(self, method: str, clip: Clip | Failure) -> Side | None:
        if self.pictures is None or not isinstance(clip, Clip) or clip.status != "ok":
            return None
        try:
            return Side(method, pictures=self.pictures.of(clip.path))
        except ClipError:
            return None

    def _both_orders(self, sample: Sample, ours: Side, theirs: Side, number: int) -> tuple[Request, Request]:
        return self._request(sample, ours, theirs, number), self._request(sample, theirs, ours, number)

    def _request(self, sample: Sample, first: Side, second: Side, number: int) -> Request:
        data: dict[str, Any] = {"query": sample.query.text}
        if self.pictures is None:
            data |= {"first": first.text, "second": second.text}
        else:
            data |= {"pictures of the first": len(first.pictures), "pictures of the second": len(second.pictures)}
        return Request(
            messages=(Message("user", fill(self.text, as_data(data)), first.pictures + second.pictures),),
            sampling=self.sampling,
            seed=seed_of("compare", self.seed, sample.query.id, first.method, second.method, number),
        )

    def _answers(self, sample: Sample, given: Sequence[Sequence[Sequence[Answer]]]) -> dict[str, str]:
        """What the judge said, for people: about each rival, of clips about each, in both orders."""
        found = {}
        for rival, pairs in zip(sample.rivals, given, strict=True):
            for number, pair in enumerate(pairs, start=1):
                of = f"{rival.method}, clip {number}" if self.looks == "clips" else rival.method
                for order, answer in zip(("this one first", "the other first"), pair, strict=False):
                    found[f"against {of}, {order}"] = said(answer)
        return found

    def _row(self, sample: Sample, verdicts: Sequence[Sequence[Verdicts]]) -> Values:
        if not verdicts:
            return {}
        prefix, methods = _prefix(self.looks), [rival.method for rival in sample.rivals]
        row: Values = {}
        of_rivals = {
            method: mean_over_clips([values_of(one) for one in pairs])
            for method, pairs in zip(methods, verdicts, strict=True)
        }
        for name in (WON, TIED, CHANGED):
            numbers = [one for values in of_rivals.values() if (one := values[name]) is not None]
            row[prefix + name] = _over_rivals(numbers) if len(numbers) == len(of_rivals) else None
            row |= {f"{prefix}{name}_{method}": values[name] for method, values in of_rivals.items()}
        leaning = {method: leaning_of(pairs) for method, pairs in zip(methods, verdicts, strict=True)}
        overall = leaning_of([one for pairs in verdicts for one in pairs])
        row |= {prefix + FIRST: overall} if overall is not None else {}
        return row | {f"{prefix}{FIRST}_{method}": one for method, one in leaning.items() if one is not None}


def _over_rivals(numbers: Sequence[float]) -> float:
    """The mean over the rivals; as many clips failed as with the rival with which the most did."""
    counts = [(one.failed, one.tried) for one in numbers if isinstance(one, MeanOfClips)]
    failed, tried = max(counts, default=(0, 1))
    return MeanOfClips(math.fsum(numbers) / len(numbers), tried, failed)


def values_of(verdicts: Verdicts) -> dict[str, float | None]:
    """Won (1, a tie 0.5, 0), tied and changed with the order (0 or 1) of two answers; None for all where one cannot be read."""
    if not verdicts.known:
        return dict.fromkeys((WON, TIED, CHANGED))
    one, other = verdicts.votes
    won = one if one == other else 0.5
    return {WON: won, TIED: float(won == 0.5), CHANGED: float({one, other} == {0.0, 1.0})}


def leaning_of(verdicts: Sequence[Verdicts]) -> Weighted | None:
    """The share of what stood first among the answers that have a preference, weighted by how many these are; None without any."""
    said = [answer for one in verdicts for answer in (one.ours_first, one.ours_second) if answer in ("first", "second")]
    return Weighted(said.count("first") / len(said), len(said)) if said else None


@dataclass(frozen=True)
class _Applies:
    """The names of the metrics that apply to a sample: none where it has no rival. Position bias applies where it shows."""

    prefix: str

    def __call__(self, sample: Sample) -> list[str]:
        rivals = [rival.method for rival in sample.rivals]
        names = [f"{self.prefix}{name}" for name in (WON, TIED, CHANGED)] if rivals else []
        return [part for name in names for part in (name, *(f"{name}_{rival}" for rival in rivals))]


def _verdicts(answers: Sequence[Answer]) -> Verdicts:
    said = [chosen(one, "choice", CHOICES) for one in answers]
    return Verdicts(*said) if said else Verdicts(None, None)


def _prefix(looks: Looks) -> str:
    return "" if looks == "prompts" else "clip_"


def _label(looks: Looks, label: str) -> str:
    return label if looks == "prompts" else f"{label} (clips)"
