"""How two people share a conversation, from when each of them speaks. No model, no clock; constant work per span.

The words are those of Heldner & Edlund, "Pauses, gaps and overlaps in conversations", Journal of Phonetics 38
(2010): silence between two people is a gap, silence within one's own speech a pause. A gap is the reaction time of
who speaks next.

An interruption is counted for who begins while the other has been speaking for `SETTLED`, overlaps with them as
long, still speaks when they fall silent, and speaks for `TURN` in all. What is shorter is a backchannel or help (a
"very short utterance", Edlund et al. 2010: below a second); a shorter overlap is how turns change hands anyway
(people notice overlaps from some 120 ms on: Heldner 2011).

Times are the voice's own: what the gate adds before and after it is taken off. Both channels are followed up to
where both are known, so that neither the cutting into chunks nor the order of arrival changes anything.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from stream.gate import GateConfig
from stream.types import FRAMES_PER_S, SpeechEnded, SpeechStarted
from stream.windowed_sums import GRID

SETTLED = FRAMES_PER_S // 5  # 200 ms
TURN = FRAMES_PER_S
MAX_WAITING = 10_000  # edges of a channel whose other one is not known as far yet


@dataclass(frozen=True)
class Share:
    """Of one of the two. Frames."""

    voice: int = 0
    interruptions: int = 0  # of the other, by this one
    reactions: int = 0
    reaction: int = 0  # all of them together
    longest_reaction: int = 0


@dataclass(frozen=True)
class Conversation:
    """What is known up to frame `at`."""

    at: int
    shares: dict[str, Share]  # by channel
    overlaps: int
    overlap: int
    silence: int  # for how long nobody has spoken; 0 while somebody speaks
    longest_silence: int

    @property
    def news(self) -> tuple[object, ...]:
        """What changes with events, not with time alone."""
        counts = ((share.interruptions, share.reactions) for share in self.shares.values())
        return self.overlaps, self.silence > 0, *counts


@dataclass
class _Speaker:
    edges: deque[tuple[int, bool]]  # (frame, whether speech begins) to come
    known_to: int = 0
    since: int | None = None  # speaks since
    last_raw_end: int = -1
    last_edge: int = 0
    voice: int = 0
    interruptions: int = 0
    reactions: int = 0
    reaction: int = 0
    longest_reaction: int = 0
    took_turn: bool = False  # by overlapping; an interruption once it has lasted


class Dynamics:
    """Of one call. Takes the edges of each channel's speech in order, and how far each is known."""

    def __init__(self, channels: tuple[str, str], gate: GateConfig) -> None:
        self._speakers = {name: _Speaker(deque(maxlen=MAX_WAITING)) for name in channels}
        self._pair = tuple(self._speakers.values())
        # A span begins `pre_roll` before the voice, and ends `hangover` after it, but with its last whole frame.
        self._before, self._after = gate.pre_roll, max(0, gate.hangover - 2)
        self._at = self._ticked = 0
        self._overlaps = self._overlap = self._longest_silence = 0
        self._silent_since: int | None = 0
        self._overlap_since = 0
        self._last: _Speaker | None = None  # who spoke last, alone
        self._second: _Speaker | None = None  # of two who speak at once, who began later

    def edge(self, channel: str, event: SpeechStarted | SpeechEnded) -> None:
        """Speech begins or ends."""
        speaker = self._speakers[channel]
        begins = isinstance(event, SpeechStarted)
        if begins and event.frame == speaker.last_raw_end and speaker.edges:
            speaker.edges.pop()  # a long span was cut in two; nobody fell silent
            return
        if not begins:
            speaker.last_raw_end = event.frame
        frame = event.frame + (self._before if begins else -self._after)
        speaker.last_edge = max(speaker.last_edge, frame)  # what a flush has ended had nothing added
        speaker.edges.append((speaker.last_edge, begins))

    def advance(self, channel: str, watermark_frame: int) -> list[Conversation]:
        """Every edge before `watermark_frame` has been told: the states at the half seconds that are known now."""
        speaker = self._speakers[channel]
        speaker.known_to = max(speaker.known_to, watermark_frame - self._after - 1)
        known, states = min(s.known_to for s in self._pair), []
        while self._ticked + GRID <= known:
            self._ticked += GRID
            self._step(self._ticked)
            states.append(self.state)
        return states

    def finish(self, end: int) -> Conversation:
        """The call is over at frame `end`."""
        self._step(max(end, self._at))
        return self.state

    @property
    def state(self) -> Conversation:
        """As far as it is known."""
        silence = 0 if self._silent_since is None else self._at - self._silent_since
        speaks = all(s.since is not None for s in self._pair)
        now = self._at - self._overlap_since if speaks else 0
        shares = {name: self._share(s) for name, s in self._speakers.items()}
        longest = max(self._longest_silence, silence)
        overlap = self._overlap + now
        return Conversation(self._at, shares, self._overlaps, overlap, silence, longest)

    def _share(self, s: _Speaker) -> Share:
        voice = s.voice + (0 if s.since is None else self._at - s.since)
        return Share(voice, s.interruptions, s.reactions, s.reaction, s.longest_reaction)

    def _step(self, to: int) -> None:
        """Take all edges up to frame `to`, in the order of time; who falls silent comes before who begins."""
        while True:
            waiting = [s for s in self._pair if s.edges and s.edges[0][0] <= to]
            if not waiting:
                break
            speaker = min(waiting, key=lambda s: s.edges[0])
            frame, begins = speaker.edges.popleft()
            self._at = max(self._at, frame)
            self._count_interruptions()
            (self._begin if begins else self._end)(speaker, self._at)
        self._at = to
        self._count_interruptions()

    def _begin(self, speaker: _Speaker, at: int) -> None:
        if speaker.since is not None:
            return
        other = self._other(speaker)
        if other.since is not None:
            self._overlap_since, self._second = at, speaker if at - other.since >= SETTLED else None
        elif self._silent_since is not None:
            silence = at - self._silent_since
            self._longest_silence = max(self._longest_silence, silence)
            if self._last is other:
                speaker.reactions += 1
                speaker.reaction += silence
                speaker.longest_reaction = max(speaker.longest_reaction, silence)
        speaker.since, self._silent_since = at, None

    def _end(self, speaker: _Speaker, at: int) -> None:
        if speaker.since is None:
            return
        other = self._other(speaker)
        speaker.voice += at - speaker.since
        speaker.since, speaker.took_turn = None, False
        if other.since is None:
            self._silent_since, self._last = at, speaker
            return
        self._overlaps += 1
        self._overlap += at - self._overlap_since
        other.took_turn = self._second is other and at - self._overlap_since >= SETTLED
        self._second = None

    def _count_interruptions(self) -> None:
        for s in self._pair:
            if s.took_turn and s.since is not None and self._at - s.since >= TURN:
                s.interruptions += 1
                s.took_turn = False

    def _other(self, speaker: _Speaker) -> _Speaker:
        return self._pair[1] if speaker is self._pair[0] else self._pair[0]
