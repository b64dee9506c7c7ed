"""Which frames to score next: integers only.

Spans of speech queue here. A window is cut as soon as a hop's worth of whole frames is there; when more has
piled up (the engine was busy), it takes 2, 4, 8… hops at once, up to `max_hop`: fewer, longer windows cost
less per second of audio, and few different lengths keep batches full. The last cut of a span is what remains.
"""

from __future__ import annotations

from collections import deque

from stream.types import Cut, FailureCode, Lost, Span


class Framer:
    """Cuts spans into windows. All in frames; `max_hop` >= `hop`.

    `left`, `right`: context that windows carry. On the left it reaches back before the span, to the session's
    first frame at most. On the right it ends with the span, so that it does not depend on when the cut is made.
    """

    def __init__(self, hop: int, max_hop: int, left: int = 0, right: int = 0) -> None:
        if not 0 < hop <= max_hop:
            raise ValueError(f"hop {hop} and max_hop {max_hop}: need 0 < hop <= max_hop")
        self._least, self._hop, self._max_hop = hop, hop, max_hop
        self._left, self._right = left, right
        self._spans: deque[Span] = deque()
        self._cursor = 0  # the next frame to score
        self._begun = False  # whether the oldest span has been cut into

    def slow_down(self, factor: int) -> int:
        """Cut windows of `factor` hops at least, within `max_hop`, from now on; how many frames that is."""
        self._hop = self._least
        while self._hop < factor * self._least and 2 * self._hop <= self._max_hop:
            self._hop *= 2
        return self._hop

    def open(self, start: int) -> None:
        """Speech begins at frame `start`."""
        self._spans.append(Span(start))

    def close(self, end: int) -> None:
        """Speech ends before frame `end`."""
        self._spans[-1] = Span(self._spans[-1].start, end)

    @property
    def waiting(self) -> bool:
        """Whether spans of speech still wait to be cut or taken."""
        return bool(self._spans)

    @property
    def next_frame(self) -> int:
        """The first frame that still waits to be cut. Only while `waiting`."""
        return max(self._cursor, self._spans[0].start)

    def next_cut(self, frames_ready: int) -> Cut | None:
        """The next window of frames below `frames_ready`; None when there is not enough yet."""
        if not self._spans:
            return None
        span = self._spans[0]
        at = max(self._cursor, span.start)
        ready = (frames_ready - self._right if span.end is None else span.end) - at
        n = self._largest_cut(ready)
        if n == 0 and span.end is not None:
            n = ready
        if n <= 0:
            return None
        right = self._right if span.end is None else min(self._right, ready - n)
        cut = Cut(at, n, starts_span=not self._begun, left=min(self._left, at), right=right)
        self._cursor, self._begun = at + n, True
        return cut

    def take_finished(self) -> Span | None:
        """The oldest span, once every frame of it has been cut or given up; it leaves the queue."""
        if not self._spans:
            return None
        span = self._spans[0]
        if span.end is None or max(self._cursor, span.start) < span.end:
            return None
        self._begun = False
        return self._spans.popleft()

    def give_up_before(self, frame: int, code: FailureCode) -> Lost | None:
        """Frames of the oldest span below `frame`, whose audio is gone: they will not be cut."""
        if not self._spans:
            return None
        span = self._spans[0]
        at = max(self._cursor, span.start)
        end = frame if span.end is None else min(frame, span.end)
        if at >= end:
            return None
        self._cursor = end
        return Lost(at, end - at, code)

    def _largest_cut(self, n: int) -> int:
        if n < self._hop:
            return 0
        cut = self._hop
        while cut * 2 <= min(n, self._max_hop):
            cut *= 2
        return cut
