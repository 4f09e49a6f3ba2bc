"""Waiting between attempts: exponential with jitter, bounded, and cut short when there is news."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays that double from `first_s` to `most_s`, shortened by up to half so that peers do not march in step."""

    first_s: float = 0.2
    most_s: float = 15.0
    _attempts: int = field(default=0, init=False)

    def next_delay_s(self) -> float:
        delay: float = min(self.most_s, self.first_s * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        self._attempts = 0
