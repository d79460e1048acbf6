"""When a server is asked: limits of a minute, and how long to wait before it is asked again."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from random import Random

MINUTE = 60.0


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a request is sent again.

    Attributes:
        first: seconds before the first repetition, on average; each further wait is twice as long.
        longest: seconds that no wait exceeds.
    """

    first: float = 1.0
    longest: float = 60.0

    def wait(self, repetition: int, random: Random) -> float:
        """Seconds before a repetition (the first has number 1), from half to one and a half of the middle one, so that many requests
        that failed together do not come back together."""
        return min(self.longest, self.first * 2.0 ** (repetition - 1)) * (0.5 + random.random())


def seconds_asked_for(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a server asks to wait: `Retry-After` as seconds or as an HTTP date (RFC 9110, 10.2.3), or `retry-after-ms`.

    Args:
        headers: of the answer; names in any case.
        now: seconds since the epoch, which a date is compared with.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        if "retry-after-ms" in given:
            return max(0.0, float(given["retry-after-ms"]) / 1000)
        return max(0.0, float(given["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(given.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - (time.time() if now is None else now))


@dataclass
class Pace:
    """Holds requests back so that no period has more of them, or of their tokens, than is allowed. Of one event loop.

    Attributes:
        requests: in a period; None for no limit.
        tokens: read and written, in a period; None for no limit.
        period: seconds.
    """

    requests: int | None = None
    tokens: int | None = None
    period: float = MINUTE
    _sent: deque[list[float]] = field(default_factory=deque)  # of each request: when, and its tokens
    _paused_until: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def enter(self, tokens: int) -> list[float]:
        """Wait until a request of so many tokens may be sent, one after the other. Returns its entry, for `correct`.

        One that is larger than a whole period's tokens goes when nothing else has been sent for a period.
        """
        loop = asyncio.get_running_loop()
        async with self._turn:
            while (wait := self._wait(tokens, loop.time())) > 0:
                await asyncio.sleep(wait)
            entry = [loop.time(), float(tokens)]
            if self.requests is not None or self.tokens is not None:
                self._sent.append(entry)
            return entry

    def correct(self, entry: list[float], tokens: int) -> None:
        """Replace the tokens that a request was thought to take by those that it took."""
        entry[1] = float(tokens)

    def pause(self, seconds: float) -> None:
        """Send nothing for so long: a server that asks one request to wait means all of them."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def _wait(self, tokens: int, now: float) -> float:
        """Seconds to wait before one more request; 0 where it may be sent now."""
        while self._sent and self._sent[0][0] <= now - self.period:
            self._sent.popleft()
        if self._paused_until > now:
            return self._paused_until - now
        until = 0.0
        if self.requests is not None and len(self._sent) >= self.requests:
            until = self._sent[len(self._sent) - self.requests][0] + self.period
        if self.tokens is not None and self._sent:
            excess = sum(one[1] for one in self._sent) + tokens - self.tokens
            for moment, size in self._sent:
                if excess <= 0:
                    break
                excess -= size
                until = max(until, moment + self.period)
        return max(0.0, until - now)
