"""report.md: the results as a person reads them. Text out; nothing is computed here but layout."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.about import About
from evaluation.intervals import FEW, Assessment, Estimate
from evaluation.known import FLOORS
from evaluation.results import AIM_FALSE, AIM_FOUND, WHOLE, Results, UnknownCheck
from evaluation.source import TURNS
from evaluation.wording import caveats, interval, mark, mean_mark, number, percentage, share, table, time_name
from stream.types import LABELS


def write(results: Results, about: About, pictures: Sequence[tuple[str, str]]) -> str:
    """The report; `pictures`: file names, with what they show."""
    lines = [*_head(about), *_in_short(results, about), *_corpora(results, about)]
    for condition in about.conditions:
        lines += _whole(results, condition)
    lines += [*_live(results, about), *_recalls(results, about), *_unknown(results, about)]
    lines += _life(results, about)
    lines += ["## Pictures", "", *(f"![{what}]({name})\n" for name, what in pictures)] if pictures else []
    return "\n".join([*lines, *_reading(about)]) + "\n"


def _head(about: About) -> list[str]:
    weights = f", weights `{about.weights}`" if about.weights else ""
    limit = f", at most {about.limit} clips per corpus" if about.limit is not None else ""
    lines = [
        f"# `{about.model}` on {about.dataset}",
        "",
        f"{about.date}. Model `{about.model}` ({about.device}, {about.dtype}{weights}). Split `{about.split}`"
        f"{limit}; {about.audio_s / 60:.1f} min of audio; seed {about.seed}; took {about.took_s:.0f} s.",
        "",
        about.gate,
        "",
    ]
    if about.unreadable:
        lines += [f"{len(about.unreadable)} clips could not be read and are not in any figure:", ""]
        lines += [*(f"- {name}: {why}" for name, why in about.unreadable), ""]
    return lines


def _in_short(results: Results, about: About) -> list[str]:
    emotional = results.panels[about.conditions[0], WHOLE].restricted
    if not emotional:
        return []
    flag = mean_mark(results)
    rows = []
    for condition in about.conditions:
        panels = {time: results.panels[condition, time] for time in (WHOLE, *about.times)}
        means = [panel.mean_restricted for panel in panels.values()]
        errors = panels[WHOLE].mean_nine
        rows.append(
            [condition, *(interval(m.estimate("uar"), flag) for m in means if m)]
            + ([interval(errors.estimate("ece"), flag)] if errors else [])
        )
    head = ["UAR, restricted", *map(time_name, (WHOLE, *about.times)), "calibration error, nine-way"]
    return ["## In short", "", f"Mean over {', '.join(emotional)}.", "", *table(head, rows)]


def _corpora(results: Results, about: About) -> list[str]:
    head = ["corpus", "language", "clips", "speakers", "labels", "no speech found", "caveats"]
    rows = []
    for corpus in results.corpora:
        who, clips = results.who[corpus], [results.clips[i] for i in results.rows(corpus)]
        silent = ", ".join(
            f"{condition} {results.silent(condition, corpus)}" for condition in about.conditions
        )
        unnamed = f" + {who.n_unnamed} clips unnamed" if who.n_unnamed and who.n_speakers else ""
        languages = sorted({clip.language for clip in clips} - {""})
        rows.append(
            [
                corpus,
                ", ".join(languages) or "–",
                str(len(clips)),
                f"{who.n_speakers or 'not known'}{unnamed}",
                ", ".join(LABELS[label] for label in results.labels[corpus]),
                silent,
                "; ".join(caveats(results, about, corpus)) or "–",
            ]
        )
    return ["## The data", "", *table(head, rows)]


def _cells(one: Assessment, flag: str) -> list[str]:
    return [
        interval(one.estimate(name), flag) for name in ("uar", "wa", "macro_f1", "ece", "ece_mass", "brier")
    ]


def _whole(results: Results, condition: str) -> list[str]:
    panel = results.panels[condition, WHOLE]
    figures = ["UAR", "WA", "macro-F1", "ECE", "ECE, equal mass", "Brier"]
    flag = mean_mark(results)
    lines = [f"## Whole utterances, {condition}", ""]
    if panel.restricted:
        rows = [
            [
                corpus,
                number(1 / len(results.labels[corpus])),
                number(FLOORS.get(corpus, float("nan"))),
                *_cells(one, mark(results, corpus)),
            ]
            for corpus, one in panel.restricted.items()
        ]
        if panel.mean_restricted:
            rows.append(["**mean**", "", "", *_cells(panel.mean_restricted, flag)])
        lines += ["Restricted: the answer is sought among the labels that the corpus has.", ""]
        lines += table(["corpus", "chance UAR", "floor", *figures], rows)
    rows = [[corpus, *_cells(one, mark(results, corpus))] for corpus, one in panel.nine.items()]
    if panel.mean_nine:
        rows.append(["**mean of those with two labels or more**", *_cells(panel.mean_nine, flag)])
    lines += ["Nine-way: what the product says.", "", *table(["corpus", *figures], rows)]
    return lines


def _live(results: Results, about: About) -> list[str]:
    if not about.times:
        return []
    lines = [
        "## Live",
        "",
        "UAR, restricted, of the smoothed state that a listener has seen, so long after speech began.",
        "",
    ]
    head = ["corpus", "condition", *map(time_name, about.times), "at the end (whole)", "still speaking then"]
    rows = []
    for corpus in results.panels[about.conditions[0], WHOLE].restricted:
        for condition in about.conditions:
            panels = [results.panels[condition, time] for time in (*about.times, WHOLE)]
            ongoing = " / ".join(f"{100 * panel.ongoing[corpus]:.0f} %" for panel in panels[:-1])
            flag = mark(results, corpus)
            cells = [interval(panel.restricted[corpus].estimate("uar"), flag) for panel in panels]
            rows.append([corpus, condition, *cells, ongoing])
    return [*lines, *table(head, rows)]


def _recalls(results: Results, about: About) -> list[str]:
    lines = ["## Recall of each label", "", "Whole utterances, restricted.", ""]
    used = sorted({label for corpus in results.emotional for label in results.labels[corpus]})
    for condition in about.conditions:
        rows = []
        for corpus, one in results.panels[condition, WHOLE].restricted.items():
            estimate, flag = one.estimate("recall"), mark(results, corpus)
            parts = list(zip(estimate.value, estimate.low, estimate.high, strict=True))
            rows.append([corpus, *(interval(Estimate(*parts[label]), flag) for label in used)])
        if rows:
            lines += [
                f"{condition.capitalize()}:",
                "",
                *table(["corpus", *(LABELS[label] for label in used)], rows),
            ]
    return lines


def _unknown(results: Results, about: About) -> list[str]:
    def found(check: UnknownCheck) -> list[str]:
        return [
            f"{check.noise_heard} of {check.noise}",
            percentage(check.found) if check.found else "–",
            f"{check.speech_heard} of {check.speech}",
            percentage(check.false) if check.false else "–",
            percentage(check.false_of_all) if check.false_of_all else "–",
        ]

    head = [
        "condition",
        "clips without speech let through",
        f"called `unknown` (aim: {100 * AIM_FOUND:.0f} % or more)",
    ]
    head += ["clips of speech let through", f"called `unknown` (aim: under {100 * AIM_FALSE:.0f} %)"]
    head += ["those not let through counted, too"]
    rows = [[condition, *found(results.unknown[condition])] for condition in about.conditions]
    text = "Whole utterances, nine-way. The clips labeled `unknown` are those without speech."
    return ["## `unknown`", "", text, "", *table(head, rows)]


def _life(results: Results, about: About) -> list[str]:
    lives = [(condition, results.life[condition]) for condition in about.conditions]
    if not any(of.neutral_clips for _, of in lives):
        return []
    corpora = list(lives[0][1].as_emotion)
    head = ["condition", *corpora, "mean", "of clips", "emotions shown per hour", "alerts per hour"]
    rows = [
        [
            condition,
            *(percentage(of.as_emotion[corpus]) for corpus in corpora),
            share(of.as_emotion_mean),
            str(of.neutral_clips),
            f"{of.false_emotions_per_hour:.0f}" if of.false_emotions_per_hour is not None else "–",
            f"{of.false_alerts_per_hour:.1f}" if of.false_alerts_per_hour is not None else "–",
        ]
        for condition, of in lives
    ]
    lines = ["## In life", "", f"The model's prior: `{about.prior}`. Neutral speech shown as an emotion:", ""]
    lines += table(head, rows)
    lines += [
        "Of all alerts those are right whose emotion the clip has, where so much of the speech is emotional:"
    ]
    lines += ["", f"Rules: {', '.join(about.rules) or 'none'}.", ""]
    head = ["condition", *(f"{p:.0%} emotional" for p in lives[0][1].alerts_right)]
    lines += table(head, [[name, *(share(x) for x in of.alerts_right.values())] for name, of in lives])
    head = ["condition", "ECE", "WA", "uncertain", "right of these", "right of the others"]
    rows = []
    for condition, of in lives:
        mixed = [interval(of.mixed.estimate(name)) if of.mixed else "–" for name in ("ece", "wa")]
        doubts = [percentage(x) if x else "–" for x in (of.uncertain, of.uncertain_right, of.certain_right)]
        rows.append([condition, *mixed, *doubts])
    lines += [
        "All clips of speech, counted so that half of them are neutral (ECE, WA); as they come (the rest):"
    ]
    lines += ["", *table(head, rows)]
    head = [
        "condition",
        *(f"{what}, {c}" for what in ("arousal", "valence") for c in lives[0][1].arousal_auc),
    ]
    aucs = [
        [
            name,
            *(
                number(each.get(c, float("nan")))
                for each in (of.arousal_auc, of.valence_auc)
                for c in of.arousal_auc
            ),
        ]
        for name, of in lives
    ]
    text = (
        "AUC: arousal of angry and happy above neutral and sad; valence of happy above the unpleasant ones."
    )
    return [*lines, text, "", *table(head, aucs)]


def _reading(about: About) -> list[str]:
    return [READING.format(few=FEW, noise_db=about.noise_db, turns=TURNS)]


READING = """\
## How to read this

- In brackets: 95 % intervals from a bootstrap over speakers: what other speakers of the same kind, recorded in
  the same way, might have given. They do not cover another language, microphone or task.
- \\* fewer than {few} speakers: the interval is widened to hold that over clips, and is rough all the same.
  † over clips, since there are no speakers to draw from.
- *Chance*: the UAR of an answer that is always the same. *Floor*: the UAR from clip length and level alone, where
  it has been measured: what a corpus gives away by the way it was recorded.
- A clip in which the gate finds no speech is a wrong answer in the restricted figures (whose ECE and Brier leave
  it out) and `unknown` in the nine-way ones. So is a live reading taken before there was any result.
- telephone: 300 to 3400 Hz, 8 kHz, µ-law. noise: pink noise, or babble of other voices, {noise_db:g} dB below the
  speech. conversation: clean, but up to {turns} clips of one speaker in one session, in random order, all counted;
  in the other conditions each clip is a session of its own and nothing is known of the voice.
- The intervals of calibration error are moved to undo the bootstrap's own upward bias; a share of none or all has
  the exact binomial bound.

What each figure means: docs/evaluate.md."""
