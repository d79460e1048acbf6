"""The record of the jobs that a server was asked for: one file beside the clips, `jobs.jsonl`.

A line is one JSON object: {"event", "item", "request", "job", "at"}, with "detail" where there is one. Every job that may be billed
has a line, written before anything else happens with it:

    sending     a request for a job is about to be sent. Without a line after it, nobody knows whether the server has made the job.
    made        the server has made the job.
    refused     the server has made none.
    downloaded  its clip is here.
    failed, forgotten, timeout, not_as_asked, deleted      what else became of it.

So a start after a kill asks for the jobs that the killed one has left, and does not pay for them twice.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpo.storage.jsonio import canonical, dumps
from vpo.storage.redact import redact_text
from vpo.storage.rows import new_lines

FILE = "jobs.jsonl"
OPEN = ("made", "downloaded")  # events after which a job's clip can be asked for


def request_of(fields: Mapping[str, str]) -> str:
    """16 hex digits that name a request."""
    return hashlib.sha256(canonical(fields).encode(errors="surrogatepass")).hexdigest()[:16]


@dataclass
class JobRecord:
    """Writes and reads the file of one folder; several processes may write to it."""

    path: Path
    _last: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # (item, request) -> (event, job)
    _offset: int = 0

    def write(self, event: str, item: str, request: str, job: str | None = None, detail: str = "") -> None:
        """Append a line."""
        line: dict[str, Any] = {"event": event, "item": item, "request": request, "job": job}
        line |= {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())} | (
            {"detail": redact_text(detail)} if detail else {}
        )
        with self.path.open("ab+") as file:
            torn = False  # whether a kill, or a full disk, has cut the last line short
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            file.write(b"\n" * torn + dumps(line).encode() + b"\n")

    def open_job(self, item: str, request: str) -> str | None:
        """The job that this request has last led to, if its clip may still be there."""
        self._read()
        event, job = self._last.get((item, request), ("", ""))
        return job if event in OPEN else None

    def _read(self) -> None:
        """Read the whole lines that are new; one that a kill has cut short is none."""
        lines, self._offset = new_lines(self.path, self._offset)
        for text in lines:
            try:
                line = json.loads(text)
                if line["event"] not in ("sending", "refused"):
                    self._last[line["item"], line["request"]] = (line["event"], line["job"])
            except (ValueError, LookupError, TypeError):
                continue
