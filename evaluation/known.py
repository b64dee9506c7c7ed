"""What is known of some public corpora that a figure does not show; told beside it, by the corpus' name.

`FLOORS`: the UAR that a random forest reaches on length and level alone, speakers kept apart: what a recording
procedure gives away without a word being understood. A model near its floor has heard nothing.
"""

FLOORS = {
    "emodb": 0.39,
    "ravdess": 0.37,
    "nemo": 0.17,
    "rakshak": 0.35,
    "turev": 0.38,
    "tess": 0.24,
    "ased": 0.29,
}

CAVEATS = {
    "emodb": "acted; each file is normalized to full scale, so level tells nothing; boredom counts as `other`",
    "ravdess": "acted, two fixed sentences, very quiet recordings (median -40 dB); calm counts as `neutral`",
    "nemo": "acted, the same sentences in every emotion",
    "rakshak": "labels not validated, some recordings appear under two labels; home and street noise",
    "esc10": "no speech: sounds that should be called `unknown` or not be let through at all",
    "tess": "two voices and one carrier phrase: a model may know the voices rather than the emotions",
    "turev": "single words",
    "ased": "ends trimmed, since padding gave the label away; parts have one emotion per sentence: words tell it",
}
