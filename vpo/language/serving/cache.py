"""Answers of servers on disk, so that the same request is never paid twice.

`<folder>/<two digits>/<key>.json` holds one answer with the request that it belongs to. The key hashes the endpoint, the model,
the messages, the sampling and the seed, which is the index of a sample, too; no time limit, price or key of an account is in it.

One file an answer, written under another name and renamed: several processes and machines may share the folder, a kill leaves no
half answer, and a damaged file costs one request. (SQLite locks badly on the network disks of clusters; diskcache reads pickles.)
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from vpo.storage.folders import claim
from vpo.storage.jsonio import canonical, write_json

log = logging.getLogger(__name__)


class AnswerCache:
    """Finds answers by what was asked.

    Args:
        folder: made when the first answer is written; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def read(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer to what is asked; None where there is none, or a damaged one, which a new one will replace."""
        if self.folder is None:
            return None
        path = self._path(asked)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["asked"] == asked and isinstance(content["answer"]["text"], str):
                answer: dict[str, Any] = content["answer"]
                return answer
            reason = "it is the answer to another request"
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:100] or type(error).__name__
        log.warning("%s: damaged (%s); the server is asked again", path, reason)
        return None

    def write(self, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Keep an answer."""
        if self.folder is not None:
            path = self._path(asked)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"asked": asked, "answer": answer})

    def claim(self, asked: Mapping[str, Any]) -> AbstractContextManager[bool]:
        """Whether this process may ask the server now: False while another one asks it the same."""
        return nullcontext(True) if self.folder is None else claim(self._path(asked))

    def _path(self, asked: Mapping[str, Any]) -> Path:
        assert self.folder is not None
        name = hashlib.sha256(canonical(asked).encode(errors="surrogatepass")).hexdigest()
        return self.folder / name[:2] / f"{name}.json"
