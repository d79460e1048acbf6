"""A judge of prompts by rules: offline, the same on every machine, and quick enough to judge inside a training loop.

It reads a query and a prompt by VPO's three principles (arXiv 2503.20491, section 3.1 and Fig. 8, in our own rules):

- *harmless*: no unsafe word or pair of words (`harm`), save in phrases where it is harmless ("water gun");
- *accurate*: what the query asks for is kept (`requirements`, `fidelity`, `attributes`): each word by lemma, by another word
  for the same thing or by a kind of it; colours, counts and relations unchanged; flags read as VPO reads them. What is
  unsafe need not be kept. Praise, mood and size ("beautiful", "huge") are not counted;
- *helpful*: begins without a lead-in, is plain words (no flags, links, file names or markup), is neither long nor short, names
  motion, light, place and camera (`helpfulness`). An answer that declines, asks or offers instead of rewriting is a refusal.

What it cannot see:

- a paraphrase outside its lexicon, which it calls missing, and the sense of a word: "bat" is one word to it;
- who does what to whom, and a negation's reach beyond the next words; a colour belongs to the noun next to it;
- a thing that is renamed late in a text: the first naming counts ("a sedan ... the boat's engine" keeps the car);
- changes of what it does not count: mood, age, size, and names that it shares with no list;
- harm that is veiled, polite, pictured, or misspelt on purpose; a word of its lists in an unforeseen harmless phrase;
- whether a text is well written, plausible, or possible to film; any language but English.

A language model sees most of these; this judge is for tests, the sketch world and a first sieve.
"""

from collections.abc import Sequence
from functools import lru_cache

from vpo.judge.rules import fidelity, harm, helpfulness, naming, repairs, replacing
from vpo.judge.rules.requirements import Attribute, Requirements, understand
from vpo.judge.rules.words import read
from vpo.language.markup import KINDS, without_marks
from vpo.records import Prompt, Reason, Verdict
from vpo.seeding import seed_of

# Of the rules and their word lists, as verdicts name it: to be raised with every change that lets a verdict differ.
VERSION = "1"


class RulesJudge:
    """Finds the flaws of prompts by rules, and repairs them by rules.

    Args:
        facets: what a helpful prompt names, of 'motion', 'light', 'place', 'camera'.
        min_words: a shorter prompt is not helpful.
        max_words: a longer prompt is not helpful.
        missing_tolerance: share of the query's content words that an accurate prompt may miss, soft words apart.
        max_clause_words: the longest query that is put before a prompt whole when it misses parts of it.
        rounds: how often a repaired prompt is read again and repaired again before it is given up.
    """

    languages = ("en",)  # of queries and prompts that it can read

    def __init__(
        self,
        *,
        facets: Sequence[str],
        min_words: int,
        max_words: int,
        missing_tolerance: float,
        max_clause_words: int,
        rounds: int,
    ) -> None:
        self.facets = tuple(facets)
        self.min_words = min_words
        self.max_words = max_words
        self.missing_tolerance = missing_tolerance
        self.max_clause_words = max_clause_words
        self.rounds = rounds

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """One verdict a prompt, judged against its own query; no aspect is ever None, since rules always answer."""
        return [self._verdict(prompt, prompt.text) for prompt in prompts]

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | None]:
        """Each prompt with the flaws of its verdict repaired; None where the result would still be flawed."""
        return [self._refined(prompt, verdict) for prompt, verdict in zip(prompts, verdicts, strict=True)]

    def _verdict(self, prompt: Prompt, text: str) -> Verdict:
        unsafe, unfaithful, unhelpful, declined = _flaws(
            prompt.query, text, self.facets, self.min_words, self.max_words, self.missing_tolerance
        )
        reasons = (*unsafe, *unfaithful, *unhelpful)
        return Verdict(
            prompt.id, not unsafe, not unfaithful, not unhelpful, declined, reasons, judge=f"rules {VERSION}"
        )

    def _refined(self, prompt: Prompt, verdict: Verdict) -> str | None:
        required = understand(prompt.query)
        text = repairs.one_line(without_marks(prompt.text))
        for _ in range(self.rounds):
            text = self._repaired(required, text, verdict, seed_of(prompt.id))
            verdict = self._verdict(prompt, text)
            if verdict.fine:
                return self._shortened(prompt, text)
        return None

    def _shortened(self, prompt: Prompt, text: str) -> str:
        """The repaired text without closing sentences that add nothing, as near as can be to the length it had.

        Otherwise 'refined' would come to mean 'longer' (or 'shorter'), and that is what a preference for it would teach. A
        sentence that names motion, light, place or camera stays, even where another names the same: preferences for its
        loss teach to leave it out.
        """
        length = len(prompt.text.split())
        sentences = repairs.SENTENCE_END.split(text)
        place = len(sentences) - 1
        while place > 0:
            excess, saved = len(" ".join(sentences).split()) - length, len(sentences[place].split())
            fewer = sentences[:place] + sentences[place + 1 :]
            idle = all(helpfulness.signs_of(facet).isdisjoint(read(sentences[place]).places) for facet in self.facets)
            if idle and saved < 2 * excess and self._verdict(prompt, " ".join(fewer)).fine:
                sentences = fewer
            place -= 1
        return " ".join(sentences)

    def _repaired(self, required: Requirements, text: str, verdict: Verdict, seed: int) -> str:
        """Repairs what the verdict names, in the order in which one repair could undo another."""
        kinds = {reason.kind for reason in verdict.reasons}
        if verdict.refusal or "refusal" in kinds:
            text = ""
        if not kinds.isdisjoint(KINDS):
            text = without_marks(text)
        if "lead_in" in kinds:
            text = repairs.without_lead_in(text)
        if verdict.harmless is False:
            text = repairs.harmless(text)
        text = _details_repaired(required, text, verdict.reasons)
        asides = self._asides(required, text)
        front = self._front(required, repairs.joined(text, asides))
        if not front and not text:
            return ""
        tail = repairs.joined(asides, self._tail(repairs.joined(front, text, asides), seed))
        room = self.max_words - len(front.split()) - len(tail.split())
        first, *rest = repairs.SENTENCE_END.split(repairs.trimmed(text, max(room, 1)))
        return repairs.joined(front, first, tail, *rest)  # not at the end, which weak video models do not read

    def _asides(self, required: Requirements, text: str) -> str:
        """Short sentences for what is missing of style, camera, light and place."""
        left = {
            reason.detail
            for reason in fidelity.flaws(required, read(text), self.missing_tolerance)
            if reason.kind == "missing"
        }
        return repairs.joined(*(replacing.aside(item) for item in required.items if item.words in left)) if text else ""

    def _front(self, required: Requirements, text: str) -> str:
        """What the text still misses, in a sentence or two for its beginning, where weak video models read."""
        left = fidelity.flaws(required, read(text), self.missing_tolerance)
        if not left and text:
            return ""
        flags = [item for item in required.items if item.first < 0 and not fidelity.kept(item, read(text), required)]
        missing = [reason.detail for reason in left if reason.kind == "missing"]
        flagged = [repairs.camera_sentence(item) for item in flags]
        if required.motion is not None and any(reason.kind == "motion" for reason in left):
            flagged.append(repairs.motion_sentence(required.motion))
        return repairs.joined(repairs.clause_of(required, missing, self.max_clause_words), *flagged)

    def _tail(self, text: str, seed: int) -> str:
        """Short sentences for the facets that the text lacks, and for its length."""
        reading = read(text)
        absent = [facet for facet in self.facets if helpfulness.signs_of(facet).isdisjoint(reading.places)]
        tail = [repairs.facet_sentence(facet, seed) for facet in absent]
        offset = seed
        while len(f"{text} {' '.join(tail)}".split()) < self.min_words and offset < seed + 4:
            tail.append(repairs.facet_sentence("more", offset))
            offset += 1
        return " ".join(tail)


@lru_cache(maxsize=4096)  # two evaluators ask about the same prompts, and repairing asks again
def _flaws(
    query: str, text: str, facets: tuple[str, ...], min_words: int, max_words: int, missing_tolerance: float
) -> tuple[tuple[Reason, ...], tuple[Reason, ...], tuple[Reason, ...], bool]:
    """What is not harmless, not accurate and not helpful in a text for a query, and whether it declines to answer."""
    reading = read(text)
    unsafe = [Reason("harmless", hit.aspect, harm.words_of(reading, hit)) for hit in harm.find(reading)]
    unfaithful = fidelity.flaws(understand(query), reading, missing_tolerance)
    if not reading.tokens:
        unfaithful.append(Reason("accurate", "empty", ""))
    unhelpful = helpfulness.flaws(reading, facets, min_words, max_words)
    declined = helpfulness.refusal(text)
    if declined:
        unhelpful.append(Reason("helpful", "refusal", declined))
    return tuple(unsafe), tuple(unfaithful), tuple(unhelpful), bool(declined)


def _details_repaired(required: Requirements, text: str, reasons: Sequence[Reason]) -> str:
    """Colours, counts and relations put right, and excluded things dropped."""
    for reason in reasons:
        right, _, wrong = reason.detail.partition(" -> ")
        attribute = _attribute(required, right)
        if reason.kind == "changed_colour" and attribute:
            text = repairs.colour_set(text, attribute, wrong)
        elif reason.kind == "changed_count" and attribute:
            text = repairs.count_set(text, attribute, wrong)
        elif reason.kind == "changed_relation":
            value = next((r.value for r in required.relations if right == f"{r.a.words} {r.value} {r.b.words}"), "")
            text = repairs.relation_set(text, wrong, value) if value else text
        elif reason.kind == "missing" and attribute and attribute.kind == "colour":
            text = repairs.colour_set(text, attribute, None)
        elif reason.kind == "missing":
            text = _thing_restored(required, text, reason.detail)
        elif reason.kind == "excluded":
            text = repairs.without_words(text, reason.detail)
    return text


def _thing_restored(required: Requirements, text: str, words: str) -> str:
    """The missing thing in the place of the one that has it: the first of its kind that nobody asked for."""
    item = next((item for item in required.items if item.words == words), None)
    changed = replacing.replaced(required, text, item) if item else text
    if changed != text:
        return changed
    reading = read(text)
    rivals = fidelity.rivals_of(item, reading, required) if item and not naming.is_place(item.key) else ()
    if not item or not rivals:
        return text
    return repairs.thing_set(text, item, min(rivals, key=lambda rival: (reading.places[rival][0], -len(rival))))


def _attribute(required: Requirements, words: str) -> Attribute | None:
    return next((attribute for attribute in required.attributes if attribute.words == words), None)
