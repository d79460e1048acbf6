"""A file in the form of VidProM's, and a judge that fails on half of what it is asked."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vpo.curation.safety import COLUMNS
from vpo.judge.rules.judge import RulesJudge
from vpo.records import Failure, Prompt, Verdict


def write_csv(path: Path, rows: list[tuple[str, float]]) -> None:
    """Write (prompt, toxicity) of each row; the other scores are 0."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uuid", "prompt", "time", *COLUMNS])
        for prompt, score in rows:
            uuid = hashlib.sha256(prompt.encode()).hexdigest()[:12]
            writer.writerow([uuid, prompt, "Sun Sep  3 12:27:44 2023", score, *[0.0] * 5])


class BusyJudge(RulesJudge):
    """The rule judge behind a server that is busy for every other text, until a file is there."""

    def __init__(self, free: str, **rules: Any) -> None:
        super().__init__(**rules)
        self.free = Path(free)

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
        verdicts = super().critique(prompts)
        if self.free.exists():
            return verdicts
        busy = Failure("busy", "come back later", retryable=True)
        return [busy if one.prompt_id < "8" else one for one in verdicts]
