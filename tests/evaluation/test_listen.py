"""Many sessions at once say what one says alone; and live readings are what a listener would have seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.listen import Heard, Piece, Task, listen, speech_start
from stream.models.fake import FakeModel
from stream.offline import run
from stream.session import StreamConfig, StreamSession
from stream.types import (
    FRAME,
    HOP,
    IMPOSSIBLE,
    N_LABELS,
    SAMPLE_RATE,
    EmotionModel,
    Floats,
    FrameScores,
    FramesScored,
    ModelSpec,
    SpeechStarted,
    Window,
)
from stream.utterance import Utterance

TIMES = (0.02, 0.5, 1.0, 2.0, 60.0)


class Neighbors:
    """Keeps no state, hears 13 frames before and 7 after those it scores, and wants windows of 20."""

    spec = ModelSpec("neighbors", "cpu", "float32", 20, 7, 0, left_frames=13, right_frames=7, fixed_hop=True)

    def score(self, windows: list[Window]) -> list[FrameScores]:
        shapes = {(w.left_frames, w.n_frames, w.right_frames) for w in windows}
        assert len(shapes) == 1, "windows of one batch are alike"
        return [self._one(window) for window in windows]

    def _one(self, window: Window) -> FrameScores:
        frames = np.lib.stride_tricks.sliding_window_view(window.samples, FRAME)[::HOP]
        level = np.sqrt(np.mean(frames * frames, axis=1))
        logits = np.full((window.n_frames, N_LABELS), IMPOSSIBLE, np.float32)
        logits[:, 0] = 20 * level[window.left_frames :][: window.n_frames]
        logits[:, 6] = 5 * np.tanh(10 * level.sum()) + level[-1]
        return FrameScores(logits, 0.1 + 5 * level[window.left_frames :][: window.n_frames], None)


def compact() -> EmotionModel:
    torch = pytest.importorskip("torch")
    from stream.models.compact.model import load

    torch.set_num_threads(1)
    return load("cpu")


def config_for(model: EmotionModel) -> StreamConfig:
    spec = model.spec
    hop = spec.hop_frames
    grown = hop if spec.fixed_hop else 80
    return StreamConfig(
        hop=hop, max_hop=grown, left=spec.left_frames, right=spec.right_frames, ring=12 * SAMPLE_RATE
    )


MODELS: dict[str, Callable[[], EmotionModel]] = {
    "fake": FakeModel,
    "neighbors": Neighbors,
    "compact": compact,
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest) -> EmotionModel:
    return MODELS[request.param]()


def tasks(clips: list[Floats]) -> list[Task]:
    return [Task((Piece(i),), clip) for i, clip in enumerate(clips)]


@pytest.fixture(scope="module")
def heard(model: EmotionModel, pieces: list[Floats]) -> dict[int, Heard]:
    return dict(listen(tasks(pieces), model, config_for(model), TIMES))


def test_as_the_product_scores_one_file(
    model: EmotionModel, heard: dict[int, Heard], pieces: list[Floats]
) -> None:
    assert sorted(heard) == list(range(len(pieces)))
    spoken = 0
    for i, piece in enumerate(pieces):
        whole = Utterance()
        for event in run([piece], model, config_for(model)):
            if isinstance(event, FramesScored):
                whole.add(event.scores)
        assert heard[i].speech_frames == whole.n_frames
        found = heard[i].whole
        if found is None:
            assert whole.n_frames == 0
        else:
            spoken += 1
            assert np.abs(found - whole.probs()).max() < 1e-5
    assert spoken >= 6


def live(model: EmotionModel, piece: Floats, times: tuple[float, ...]) -> list[Floats | None]:
    """What a listener sees: samples come in pieces of 10 ms, scores come at once. Read at frames' ends."""
    session = StreamSession("live", config_for(model))
    states: list[Floats | None] = [None] * len(times)
    start: int | None = None
    needs = 0  # frames after those it scores that a result waited for
    for at in range(0, len(piece) + HOP, HOP):
        turn = session.push(piece[at : at + HOP]) if at < len(piece) else session.flush()
        while True:
            for event in turn.events:
                if isinstance(event, SpeechStarted) and start is None:
                    start = event.frame
                if isinstance(event, FramesScored) and start is not None:
                    last = event.first_frame + len(event.probs) - 1 + needs
                    for k, t in enumerate(times):
                        if last * HOP + FRAME <= start * HOP + t * SAMPLE_RATE:
                            states[k] = event.smoothed
            if turn.window is None:
                break
            needs = turn.window.right_frames
            (answer,) = model.score([turn.window])
            turn = session.absorb(turn.window, answer)
    return states


def test_live_is_what_a_listener_has_seen(
    model: EmotionModel, heard: dict[int, Heard], pieces: list[Floats]
) -> None:
    for i, piece in enumerate(pieces):
        expected = live(model, piece, TIMES)
        for seen, there in zip(heard[i].live, expected, strict=True):
            assert (seen is None) == (there is None)
            if seen is not None and there is not None:
                assert np.abs(seen - there).max() < 1e-5
        assert heard[i].live[0] is None, "no frame has ended after 20 ms"
        if heard[i].whole is not None:
            assert heard[i].ongoing[:2] == (True, True)
            assert not heard[i].ongoing[-1]
            assert heard[i].live[-1] is not None


def test_readings_wait_for_the_frames_to_end(pieces: list[Floats]) -> None:
    """With a hop of 10 frames the first result needs 9 * 10 + 25 = 115 ms."""
    model = FakeModel()
    ((_, found),) = listen(tasks(pieces[:1]), model, config_for(model), (0.114, 0.115, 0.214, 0.215))
    assert found.live[0] is None
    assert found.live[1] is not None
    assert found.live[2] is not None
    assert (found.live[1] == found.live[2]).all()
    assert found.live[3] is not None
    assert (found.live[3] != found.live[2]).any()


def test_speech_may_have_begun_before_or_after_the_gate_opens(pieces: list[Floats]) -> None:
    """In noise: the gate opens on the noise, or late; the time runs from where speech began."""
    model = FakeModel()
    config, piece = config_for(model), pieces[1]
    opens = speech_start(piece, config.gate)
    assert opens is not None
    at_once, later, early = (
        dict(listen([Task((Piece(0, start=start),), piece)], model, config, (0.5, 1.0)))[0]
        for start in (opens, opens + 50, opens - 100)
    )
    own = dict(listen([Task((Piece(0),), piece)], model, config, (0.5, 1.0)))[0]
    assert [x.tolist() for x in at_once.live if x is not None] == [
        x.tolist() for x in own.live if x is not None
    ]
    assert later.live[0] is not None
    assert own.live[1] is not None
    assert (later.live[0] == own.live[1]).all()
    assert early.live == (None, None), "nothing has been said yet"
    assert speech_start(np.zeros(SAMPLE_RATE, np.float32), config.gate) is None
    assert speech_start(np.zeros(0, np.float32), config.gate) is None


def test_clips_of_one_session_are_heard_one_after_another(model: EmotionModel, pieces: list[Floats]) -> None:
    """Each gets what the product says of its part of the recording, silence and all."""
    gap = np.zeros(100 * HOP, np.float32)
    parts = [np.pad(piece, (0, -len(piece) % HOP)) for piece in (*pieces[:3], pieces[8], pieces[3])]
    firsts = [0, *np.cumsum([(len(part) + len(gap)) // HOP for part in parts])[:-1]]
    samples = np.concatenate([x for part in parts for x in (part, gap)])
    talk = tuple(Piece(i, max(0, int(first) - 50)) for i, first in enumerate(firsts))
    found = dict(listen([Task(talk, samples)], model, config_for(model), (60.0,)))
    whole = [Utterance() for _ in talk]
    for event in run([samples], model, config_for(model)):
        if isinstance(event, FramesScored):
            whole[sum(event.first_frame >= piece.first for piece in talk) - 1].add(event.scores)
    for i, one in enumerate(whole):
        said, seen = found[i].whole, found[i].live[0]
        assert found[i].speech_frames == one.n_frames
        assert (said is None) == (seen is None) == (i == 3), "one of them is silence"
        assert said is None or np.abs(said - one.probs()).max() < 1e-5
    first = np.concatenate([parts[0], gap])
    alone = dict(listen(tasks([first]), model, config_for(model)))[0].whole
    assert alone is not None
    assert found[0].whole == pytest.approx(alone, abs=1e-5), "nothing came before the first"


def test_more_clips_than_sessions_and_any_order(pieces: list[Floats]) -> None:
    model = FakeModel()
    config = config_for(model)
    alone = dict(listen(tasks(pieces), model, config, TIMES))
    many = dict(listen(tasks([pieces[i % len(pieces)] for i in range(250)]), model, config, TIMES))
    assert sorted(many) == list(range(250))
    for i, one in many.items():
        other = alone[i % len(pieces)]
        assert one.speech_frames == other.speech_frames
        if one.whole is None or other.whole is None:
            assert one.whole is other.whole
        else:
            assert np.array_equal(one.whole, other.whole)


def test_nothing_in_nothing_out() -> None:
    assert list(listen([], FakeModel(), StreamConfig())) == []
