"""The figures of the model card that training itself measures: per corpus on `test`, and by way of the adapter."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.models.compact.model import Compact
from stream.models.compact.network import CompactNet
from stream.types import LABELS, Floats
from training import evaluate
from training.corpus import judged
from training.encode import EncodedClips
from training.prepare import Version


def report(model: Compact, net: CompactNet, encoded: EncodedClips, test: Version) -> dict[str, Any]:
    """Figures of `net` on `encoded`, and of `model` (the same weights, loaded from the file) on the samples."""
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "test": judge(net, encoded),
        "test_by_adapter": by_adapter(evaluate.through_adapter(model, test), test),
    }


def judge(net: CompactNet, version: EncodedClips) -> dict[str, Any]:
    """UAR per corpus, whole and first second, of strangers and of voices known from five other clips."""
    clips = version.clips
    found = evaluate.predict(net, version)
    known = evaluate.predict(net, version, evaluate.known_voices(net, version))
    noise, speech = evaluate.unknown_recall(found.whole, clips)
    return {
        "mean_uar": round(evaluate.mean_uar(found.whole, clips), 4),
        "mean_uar_first_second": round(evaluate.mean_uar(found.first_second, clips), 4),
        "mean_uar_known_voice": round(evaluate.mean_uar(known.whole, clips), 4),
        "mean_uar_known_voice_first_second": round(evaluate.mean_uar(known.first_second, clips), 4),
        "noise_called_unknown": round(noise, 4),
        "speech_called_unknown": round(speech, 4),
        "corpora": {corpus: judge_corpus(found, corpus) for corpus in judged(clips)},
    }


def judge_corpus(found: evaluate.Predictions, corpus: str) -> dict[str, Any]:
    recalls = evaluate.recalls(found.whole, found.clips, corpus)
    return {
        "uar": round(float(np.mean(list(recalls.values()))), 4),
        "uar_first_second": round(evaluate.uar(found.first_second, found.clips, corpus), 4),
        "recalls": {LABELS[label]: round(recall, 3) for label, recall in recalls.items()},
    }


def by_adapter(logits: Floats, version: Version) -> dict[str, Any]:
    """From samples through `score` in windows of 10 frames, temperature and gain applied."""
    clips = version.clips
    marked, right, others = evaluate.ambiguous_answers(logits, clips)
    return {
        "mean_uar": round(evaluate.mean_uar(logits, clips), 4),
        "uar": {corpus: round(evaluate.uar(logits, clips, corpus), 4) for corpus in judged(clips)},
        "calibration_error": round(evaluate.calibration_error(logits, clips), 4),
        "ambiguous": {"share": round(marked, 4), "right": round(right, 4), "others_right": round(others, 4)},
    }
