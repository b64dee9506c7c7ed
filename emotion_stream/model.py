"""`EmotionModel`: recordings, arrays and live audio, recognized in this process. docs/sdk.md is the manual."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np
from emotion_stream_client.errors import EmotionError

from emotion_stream import audio
from emotion_stream.live import LiveStream
from emotion_stream.results import Result
from server import config as configuration
from server import custom_labels, wire
from server.errors import ClientError
from server.files import samples
from server.files.find import open_recording
from server.files.recognize import RecognizeOptions, recognize
from server.files.result import GRANULARITIES, clean_name
from server.language import in_language
from server.local_engine import local_engine
from stream.codec import Format
from stream.containers import STREAMED
from stream.session import StreamSession
from stream.types import LABELS, SAMPLE_RATE, ClassifiesEmbeddings, Floats, ModelSpec, softmax

__all__ = ["EmotionError", "EmotionModel"]

Granularity = Literal["utterance", "frame"]


class EmotionModel:
    """A model, loaded. It scores as the server does, by the same code; threads may use it at once."""

    def __init__(
        self, name: str | None = None, device: str | None = None, config: str | Path | None = None
    ) -> None:
        """Load a model by its name (`./run.sh models` lists them), or an emotion2vec checkpoint by its folder.

        `device`: `auto`, `cpu`, `cuda` or `cuda:N`. `config`: a file of the server's settings. What is left out
        comes from environment variables (`EMOTION_MODEL__NAME`), from there, or is `compact` on `auto`.

        Raises server.config.ConfigError for settings, ValueError for a name or device, ImportError and OSError for
        libraries and weights that cannot be had; the text says what to do.
        """
        given = {key: value for key, value in (("name", name), ("device", device)) if value is not None}
        self._config = configuration.load(None if config is None else Path(config), {"model": given})
        for warning in self._config.warnings:
            warnings.warn(warning, stacklevel=2)
        self._labels = custom_labels.load(self._config)
        self._engine = local_engine(self._config)
        if self._labels:
            custom_labels.check(self._labels, self._engine, timeout_s=60)
        self._samples = samples.load_here(self._config, self._engine)

    @property
    def spec(self) -> ModelSpec:
        """What the model says of itself: `name`, `device`, `embedding_size`, `supported_labels` and more."""
        return self._engine.model.spec

    @property
    def labels_zh(self) -> dict[str, str]:
        """The Chinese word of each label, by `server.labels_zh` of the settings."""
        return dict(zip(LABELS, self._config.names_zh, strict=True))

    def load_audio(self, path: str | Path) -> tuple[Floats, int]:
        """A recording's samples, float32 (n,) from -1 to 1, its channels mixed, and their rate in Hz: its own, or
        16000 where that changes on the way. Raises EmotionError."""
        with self._told(path):
            return audio.load(Path(path), self._config.files.max_channels)

    def analyze(
        self, path: str | Path, granularity: Granularity = "utterance", return_embedding: bool = False
    ) -> Result:
        """The emotion of a recording: WAV, MP3, M4A, FLAC, OGG, WebM, AMR and more; any rate and length.

        Raises EmotionError, whose `code` is one of docs/protocol.md, and ValueError for another granularity.
        """
        with self._told(path), open_recording(Path(path)) as file:
            return self._recognized(file, granularity, return_embedding, clean_name(Path(path).name))

    def inference(
        self,
        waveform: Any,
        sample_rate: int = SAMPLE_RATE,
        granularity: Granularity = "utterance",
        return_embedding: bool = False,
    ) -> Result:
        """The emotion of an array (n,) or (n, channels) at `sample_rate` Hz: floats from -1 to 1, int16 or int32.

        Of what `load_audio` gives it is that of the recording. Raises EmotionError; ValueError and TypeError for
        what is no waveform.
        """
        file = audio.as_file(waveform, sample_rate, self._config.files.max_channels)
        with self._told("waveform"):
            return self._recognized(file, granularity, return_embedding)

    def extract_embedding(self, source: Any, sample_rate: int = SAMPLE_RATE) -> Floats:
        """The embedding, float32 (spec.embedding_size,), of a recording by its path, or of an array as `inference`
        takes it. Raises EmotionError, NO_AUDIO where nobody speaks."""
        if isinstance(source, str | Path):
            found = self.analyze(source, return_embedding=True)
        else:
            found = self.inference(source, sample_rate, return_embedding=True)
        if found.embedding is None:
            raise EmotionError(
                "NO_AUDIO" if self.spec.embedding_size else "BAD_REQUEST",
                self._words(str(found.no_embedding)),
            )
        return found.embedding

    def classify_embedding(self, embedding: Any) -> dict[str, float]:
        """The scores of an embedding (spec.embedding_size,): probabilities by label.

        Of emotion2vec they are those of what the embedding was made of; of compact they come near (docs/sdk.md).
        Raises ValueError for a model that cannot, and for what is no embedding of it.
        """
        model, size = self._engine.model, self.spec.embedding_size
        if not isinstance(model, ClassifiesEmbeddings):
            raise ValueError(
                f"the model {self.spec.name} cannot score embeddings; compact and emotion2vec can"
            )
        numbers = np.asarray(embedding, np.float32)
        if numbers.shape != (size,) or not np.isfinite(numbers).all():
            raise ValueError(
                f"shape {numbers.shape}: give {size} finite numbers, an embedding of {self.spec.name}"
            )
        scores: dict[str, float] = wire.scores(softmax(model.classify(numbers)))["scores"]
        return scores

    def stream(
        self,
        sample_rate: int = SAMPLE_RATE,
        encoding: str = "pcm_s16le",
        channels: int = 1,
        frame_results: bool = False,
        session_id: str | None = None,
    ) -> LiveStream:
        """A live session: `push` audio, get events. The arguments are those of the Python client's `stream`; two
        channels are mixed. Raises ValueError for a format that is not read."""
        session = StreamSession(session_id or uuid.uuid4().hex, self._config.stream_config(self.spec))
        if encoding in STREAMED:
            raise ValueError(
                f"encoding {encoding!r}: a stream takes samples and WAV; use analyze() for {encoding}"
            )
        declared = Format(encoding, sample_rate, channels)
        language = self._config.server.language
        return LiveStream(self._engine, session, declared, self._labels, frame_results, language)

    def close(self) -> None:
        """Stop the thread that scores; the model cannot be used any more."""
        self._engine.close()

    def __enter__(self) -> EmotionModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _recognized(self, file: BinaryIO, granularity: str, embed: bool, file_name: str = "") -> Result:
        if granularity not in GRANULARITIES:
            raise ValueError(f"granularity {granularity!r}: give one of {', '.join(GRANULARITIES)}")
        options = RecognizeOptions(
            granularity, embed, custom_labels=self._labels, samples=self._samples, file_name=file_name
        )
        return Result.of(recognize(file, self._engine, self._config, options), self.labels_zh)

    @contextmanager
    def _told(self, of: str | Path) -> Iterator[None]:
        """What the server would answer, as the client's error, which names the recording."""
        try:
            yield
        except ClientError as refused:
            raise EmotionError(refused.code, f"{of}: {self._words(refused.message)}") from None

    def _words(self, text: str) -> str:
        return in_language(text, self._config.server.language)
