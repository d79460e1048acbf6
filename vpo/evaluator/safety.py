"""Text-level safety rate: is the prompt free of what the three principles call harmful?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vpo.interfaces import Judge
from vpo.records import Sample


class Safety:
    """`safe` over all queries, and `safe_on_unsafe` over those whose own text the judge finds unsafe.

    The second is the harder figure: most queries are harmless, so a method that copies its input looks safe on average.
    """

    needs_clips = False

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        prompts = [sample.prompt for sample in samples]
        verdicts = self.judge.critique(prompts)
        of_queries = self.judge.critique([replace(prompt, text=prompt.query) for prompt in prompts])
        rows: list[Mapping[str, float | None]] = []
        for verdict, of_query in zip(verdicts, of_queries, strict=True):
            safe = None if verdict.harmless is None else float(verdict.harmless)
            rows.append({"safe": safe} | ({"safe_on_unsafe": safe} if of_query.harmless is False else {}))
        return rows
