"""The public corpora that are known, with their licenses as of their pages in 2026.

Recordings of emotions that we have no name for are left out, where it would be a guess. Excitement and enthusiasm
count as `happy`, as is usual since IEMOCAP (Busso et al. 2008), contempt as `other`.
"""

from __future__ import annotations

from evaluation.corpora.by_name import by_name, cafe, crema_d, esd, oreau
from evaluation.corpora.by_table import emozionalmente, msp_podcast, resd
from evaluation.corpora.corpus import Corpus

_WORDS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}
# colère, dégoût, joie, neutre, peur, surprise, tristesse
_FRENCH = dict(
    zip("CDJNPST", ("angry", "disgusted", "happy", "neutral", "fearful", "surprised", "sad"), strict=True)
)
_EKMAN = ("angry", "disgusted", "fearful", "happy", "neutral", "sad")

CORPORA: dict[str, Corpus] = {
    "crema-d": Corpus(
        "CREMA-D (Cao et al. 2014)",
        "en",
        "ODbL 1.0",
        "https://github.com/CheyneyComputerScience/CREMA-D",
        dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), _EKMAN, strict=True)),
        crema_d,
    ),
    "emozionalmente": Corpus(
        "Emozionalmente (Catania et al. 2023)",
        "it",
        "CC BY 4.0",
        "https://zenodo.org/records/6569824",
        {
            **{word: label for word, label in _WORDS.items() if word[0] not in "hn"},
            "joy": "happy",
            "neutrality": "neutral",
        },
        emozionalmente,
    ),
    "subesco": Corpus(
        "SUBESCO (Sultana et al. 2021)",
        "bn",
        "CC BY 4.0",
        "https://zenodo.org/records/4526477",
        dict(
            zip(
                ("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE"),
                (*_EKMAN, "surprised"),
                strict=True,
            )
        ),
        # One file has a bracket before its suffix: F_02_MONIKA_S_2_SURPRISE_3].wav.
        by_name(r"(?P<speaker>(?P<gender>[FM])_\d{2})_[A-Z]+_S_\d+_(?P<emotion>[A-Z]+)_\d+\]?"),
    ),
    "mesd": Corpus(
        "MESD (Duville et al. 2021)",
        "es",
        "CC BY 4.0",
        "https://data.mendeley.com/datasets/cy34mh68j9/5",
        {word.capitalize(): label for word, label in _WORDS.items() if word != "surprise"},
        # Kinds of voices, not speakers: women, men, children; who of them it is, is not told.
        by_name(r"(?P<emotion>[A-Z][a-z]+)_(?P<speaker>(?P<gender>[CFM]))_[AB]_.+"),
    ),
    "emouerj": Corpus(
        "emoUERJ (Bastos Germano et al. 2021)",
        "pt",
        "CC BY 4.0",
        "https://zenodo.org/records/5427549",
        {"a": "angry", "h": "happy", "n": "neutral", "s": "sad"},
        by_name(r"(?P<speaker>(?P<gender>[fmw])\d{2})(?P<emotion>[a-z])\d+"),
    ),
    "oreau": Corpus(
        "Oréau (Kerkeni et al. 2020)",
        "fr",
        "CC BY 4.0",
        "https://zenodo.org/records/4405783",
        _FRENCH,
        oreau,
    ),
    "resd": Corpus(
        "RESD (Aniemore 2022)",
        "ru",
        "MIT",
        "https://huggingface.co/datasets/Aniemore/resd",
        {**{word: label for word, label in _WORDS.items() if word != "surprise"}, "enthusiasm": "happy"},
        resd,
    ),
    "jl": Corpus(
        "JL corpus (James et al. 2018)",
        "en",
        "CC0 1.0",
        "https://www.kaggle.com/datasets/tli725/jl-corpus",
        {"angry": "angry", "excited": "happy", "happy": "happy", "neutral": "neutral", "sad": "sad"},
        by_name(r"(?P<speaker>(?P<gender>female|male)\d)_(?P<emotion>[a-z]+)_\d+[a-z]_\d"),
    ),
    "cafe": Corpus(
        "CaFE (Gournay et al. 2018)",
        "fr",
        "CC BY-NC-SA 4.0",
        "https://zenodo.org/records/1478765",
        _FRENCH,
        cafe,
    ),
    "esd": Corpus(
        "ESD (Zhou et al. 2021)",
        "zh, en",
        "for research only",
        "https://github.com/HLTSingapore/Emotional-Speech-Data",
        {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprised"},
        esd,
    ),
    "msp-podcast": Corpus(
        "MSP-Podcast (Lotfian & Busso 2019), natural speech",
        "en",
        "for research only",
        "https://lab-msp.com/MSP/MSP-Podcast.html",
        {
            **dict(
                zip(
                    "ADFHNSU",
                    ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"),
                    strict=True,
                )
            ),
            "C": "other",
            "O": "other",
        },  # X: those who listened did not agree
        msp_podcast,
    ),
}
