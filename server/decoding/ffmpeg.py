"""What FFmpeg's libraries (through PyAV) are let do with strangers' bytes, whether of a file or of a live stream.

Only the containers and codecs listed here are tried, and nothing else is opened. Importing this silences FFmpeg.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from server.errors import ClientError
from stream.types import Floats

# Containers by FFmpeg's names. None of them names other files or addresses: no playlists, no concat, no DASH.
_CONTAINERS = "wav,w64,mp3,aac,mov,mp4,m4a,3gp,3g2,mj2,flac,ogg,matroska,webm,amr,aiff,au,caf"
_CODECS = (
    "aac aac_latm alac amrnb amrwb flac gsm gsm_ms libgsm libgsm_ms mp1 mp1float mp2 mp2float mp3 mp3float opus"
    " libopus speex libspeex vorbis libvorbis adpcm_ms adpcm_ima_wav adpcm_ima_qt adpcm_g722 adpcm_g726"
    " adpcm_yamaha libopencore_amrnb libopencore_amrwb"
)
_READ = frozenset(_CODECS.split()) | {name for name in av.codecs_available if name.startswith("pcm_")}
FORMATS = "WAV, MP3, M4A/AAC, FLAC, OGG/Opus, WebM, AMR, AIFF, AU, CAF"
RATES = range(2_000, 768_001)
_RULES = {
    "format_whitelist": _CONTAINERS,
    "protocol_whitelist": "none",
    "codec_whitelist": ",".join(_READ),
}
_MOST_BAD = 0.1  # of the packets; more of them broken and the rest is not worth much either

av.logging.set_level(None)


def open_container(
    file: Any, format: str | None = None, options: dict[str, str] | None = None, likely: bool = True
) -> InputContainer:
    """Its header read. `likely`: what cannot be read is a damaged recording, else none. Raises ClientError."""
    try:
        container: InputContainer = av.open(
            file,
            "r",
            format=format,
            container_options=_RULES,
            options=options,
            io_open=_refuse,
            metadata_errors="replace",
            buffer_size=1 << 16,
        )
        return container
    except MemoryError:
        raise broken("its header asks for more memory than a recording needs") from None
    except (av.FFmpegError, ValueError) as wrong:
        if likely:
            raise broken(f"its header cannot be read ({_words(wrong)}): cut off or damaged?") from None
        raise ClientError("UNSUPPORTED_MEDIA", f"unsupported file format; send {FORMATS}") from None


def best_audio(container: InputContainer) -> tuple[AudioStream, AudioCodecContext]:
    """The stream to hear, and its codec, held to one thread. Raises ClientError."""
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        if any(other.type == "audio" for other in container.streams):
            raise broken("its header declares audio in no form that makes sense (rate, channels)")
        raise ClientError("NO_AUDIO", "the file holds no audio track")
    context = stream.codec_context
    if context is None or context.name not in _READ:
        name = context.name if context else "unknown"
        raise ClientError("UNSUPPORTED_MEDIA", f"unsupported codec {name}; send {FORMATS}")
    if "enc_key_id" in stream.metadata:
        raise _encrypted()
    context.thread_count = 1
    return stream, context


def frames(
    container: InputContainer, stream: AudioStream, read_s: Callable[[], float]
) -> Iterator[AudioFrame]:
    """All that can be decoded; `read_s()`: seconds so far. Raises ClientError BAD_AUDIO, UNSUPPORTED_MEDIA."""
    packets = bad = 0
    try:
        for packet in container.demux(stream):
            packets += 1
            if packet.has_sidedata("encryption_info"):
                raise _encrypted()
            try:
                yield from (frame for frame in packet.decode() if isinstance(frame, AudioFrame))
            except (av.FFmpegError, ValueError):  # one packet: what others hold can still be heard
                bad += 1
            if bad > 10 and bad > _MOST_BAD * packets:
                break
    except (av.FFmpegError, ValueError) as wrong:
        raise broken(f"it cannot be read on after {read_s():.1f} s ({_words(wrong)})") from None
    except MemoryError:
        raise broken("its header asks for more memory than a recording needs") from None
    if bad > _MOST_BAD * packets:
        raise broken(f"{bad} of its {packets} packets cannot be decoded")


def channels_of(frame: AudioFrame) -> Floats:
    """(channels, n) in [-1, 1]. Raises ClientError BAD_AUDIO."""
    raw = frame.to_ndarray()
    return _floats(raw if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels).T)


def _floats(samples: np.ndarray) -> Floats:
    """Samples of any of FFmpeg's types as float32 in [-1, 1]. Raises ClientError BAD_AUDIO."""
    kind = samples.dtype
    if kind == np.uint8:
        return (samples.astype(np.float32) - 128) * np.float32(1 / 128)
    if kind.kind == "i":
        return samples.astype(np.float32) * np.float32(1 / (1 << (8 * kind.itemsize - 1)))
    # What float64 holds and float32 does not becomes infinite, and is refused, as what is no number is.
    with np.errstate(over="ignore", invalid="ignore"):
        heard = np.array(samples, np.float32)
    if not np.isfinite(heard).all():
        raise broken("it holds samples that are not finite numbers")
    return np.clip(heard, -1, 1, out=heard)


def checked_rate(rate: int) -> int:
    if rate not in RATES:
        raise ClientError(
            "UNSUPPORTED_MEDIA",
            f"unsupported sample rate {rate} Hz; {RATES[0]} to {RATES[-1]} Hz are supported",
        )
    return rate


def _refuse(url: str, flags: int, options: object) -> NoReturn:
    raise PermissionError("a recording may not open other files")


def _encrypted() -> ClientError:
    return ClientError("UNSUPPORTED_MEDIA", f"encrypted audio cannot be read; send {FORMATS}")


def _words(wrong: Exception) -> str:
    return str(getattr(wrong, "strerror", None) or type(wrong).__name__)


def broken(why: str) -> ClientError:
    return ClientError("BAD_AUDIO", f"the recording is damaged: {why}")
