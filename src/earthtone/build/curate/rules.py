"""The rules: what a row was measured to be, the threshold, and whether it stays. One function a rule.

Rules on duplicates lie in `duplicates.py`: they need the other rows.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from earthtone.build.curate.measure import STILL, Facts
from earthtone.build.curate.places import FARTHEST_KM, outlines
from earthtone.build.licences import is_admitted, licence_of
from earthtone.build.options import RULES, CurateOptions
from earthtone.build.row_facts import UNCERTAINTY
from earthtone.data.pair import SAME_DEGREES, Pair, UnreadableCell, is_unknown, number

Verdict = Literal["stays", "noted", "dropped", "not judged", "off"]


@dataclass(frozen=True)
class Finding:
    """What a rule says of a row."""

    value: str
    """What was found."""
    threshold: str
    """What is expected."""
    verdict: Verdict
    figure: float | None = None
    """The value as a number, where it is one: for histograms."""

    @property
    def detail(self) -> str:
        """Value and threshold in one line."""
        return f"{self.value}; {self.threshold} expected"


def unjudged(why: str) -> Finding:
    """Return what is said where there is nothing to judge."""
    return Finding(why, "", "not judged")


#: Columns in which archives tell these, in small letters with `_` between words.
COUNTRY = ("country", "country_code", "countrycode", "cnt", "iso_a2", "iso_a3")
AI_PREFERENCE = ("ai_preference", "gen_ai_preference")


def cell(pair: Pair, names: tuple[str, ...]) -> str | None:
    """Return what the first of some columns says that a row has; None where none says anything."""
    known = {plain(name): value for name, value in pair.extra.items()}
    return next((known[name] for name in names if not is_unknown(known.get(name))), None)


def plain(name: str) -> str:
    """Return the name of a column in small letters, `_` between its words."""
    return re.sub(r"[\s.:-]+", "_", name.strip().lower())


def uncertainty_m(pair: Pair) -> float | None:
    """Return how well a row's place is known, in metres; None where it does not tell."""
    try:
        found = number(cell(pair, UNCERTAINTY))
    except UnreadableCell:
        return None
    return None if found is None or found < 0 else found


# Files.


def _unreadable(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.fault is not None:
        return Finding(" ".join(facts.fault.split())[:400], "a file that can be decoded", "dropped")
    return Finding("decoded whole", "a file that can be decoded", "stays")


def _limit(value: float, shown: str, limit: str, beyond: bool) -> Finding:
    return Finding(shown, limit, "dropped" if beyond else "stays", value)


def _short(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.sound is None:
        return unjudged("no sound")
    seconds, least = facts.sound.seconds, options.min_seconds
    return _limit(seconds, f"{seconds:.4g} s of sound", f"at least {least:g} s", seconds < least)


def _constant(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    still = facts.sound is not None and facts.sound.span <= STILL and not facts.sound.cancels
    blank = facts.image is not None and facts.image.blank
    said = [*(["every sample is the same"] * still), *(["every pixel is the same"] * blank)]
    return Finding(" and ".join(said) or "changes", "some change", "dropped" if said else "stays")


def _level(facts: Facts) -> float | None:
    """Return the level of a sound; of one whose channels cancel, that of its loudest channel."""
    if facts.sound is None:
        return None
    return facts.sound.loudest_db if facts.sound.cancels else facts.sound.level_db


def _silent(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    level, least = _level(facts), options.min_level_db
    if level is None:
        return unjudged("no sound")
    return _limit(level, f"{level:.1f} dBFS", f"at least {least:g} dBFS", level < least)


def _clipped(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.sound is None:
        return unjudged("no sound")
    share, most = facts.sound.clipped, options.max_clipped
    shown = f"{100 * share:.3g} % of the samples at full scale"
    return _limit(share, shown, f"at most {100 * most:g} %", share > most)


def _offset(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.sound is None:
        return unjudged("no sound")
    mean, most = facts.sound.offset, options.max_offset
    return _limit(abs(mean), f"a mean of {mean:+.3f} of full scale", f"at most {most:g}", abs(mean) > most)


def _cancel(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.sound is None or facts.sound.channels < 2:
        return unjudged("no two channels")
    expected = "channels that can be averaged"
    if not facts.sound.cancels:
        return Finding("they do not cancel", expected, "stays")
    return Finding("they cancel: take one (signal.audio.channel: loudest)", expected, "noted")


def _wind(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.sound is None or facts.sound.wind is None:
        return unjudged("no sound" if facts.sound is None else "silence, channels that cancel, or too short")
    share, most = facts.sound.wind, options.max_wind
    beyond: Verdict = "stays" if share <= most else "dropped" if options.wind == "drop" else "noted"
    return Finding(f"{100 * share:.1f} % of the power below 100 Hz", f"at most {100 * most:g} %", beyond, share)


def _speech(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.sound is None or facts.sound.speech is None:
        return unjudged("no sound" if facts.sound is None else "not heard for speech")
    share, most = facts.sound.speech, options.max_speech
    beyond: Verdict = "stays" if share <= most else "dropped" if options.speech == "drop" else "noted"
    return Finding(f"{100 * share:.1f} % speech", f"at most {100 * most:g} %", beyond, share)


def _tags(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if facts.sound is None or facts.sound.tags is None:
        return unjudged("no sound" if facts.sound is None else "not heard by the tagger")
    tags = facts.sound.tags
    shown = ", ".join(f"{name} {sure:.2f}" for name, sure in tags.items()) or "no tags"
    beyond = any(tags.get(name, 0.0) >= options.max_tag for name in options.drop_tags)
    wanted = f"less than {options.max_tag:g} of {', '.join(options.drop_tags) or 'nothing'}"
    return Finding(shown[:200], wanted, "dropped" if beyond else "stays")


# Rights.


def _licence(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    licence = licence_of(pair.license)
    said = licence.id if licence.id != "unknown" or not pair.license else f"unknown ({pair.license!r:.60})"
    wanted = "a licence that admits it (--allow nc, nd; --any_licence for what is your own)"
    return Finding(said, wanted, "stays" if is_admitted(licence, options.allow) else "dropped")


def _ai(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    preference = licence_of(pair.license, cell(pair, AI_PREFERENCE)).ai_preference
    if not preference:
        return unjudged("no preference is told")
    refused = preference in options.refuse_ai
    return Finding(preference, f"none of {', '.join(options.refuse_ai)}", "dropped" if refused else "stays")


# Places. No coordinates are told: what is written may be published.


def _null_island(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if pair.longitude is None or pair.latitude is None:
        return unjudged("no place")
    there = abs(pair.longitude) <= SAME_DEGREES and abs(pair.latitude) <= SAME_DEGREES
    return Finding("(0, 0)" if there else "another place", "another place than (0, 0)", "dropped" if there else "stays")


def _uncertain(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    if options.tile_m is None:
        return unjudged("--tile_m is not given")
    most, metres = options.tile_m / 2, uncertainty_m(pair)
    wanted = f"at most {most:g} m, half of a tile"
    if metres is None:
        verdict: Verdict = "dropped" if options.uncertainty_known else "stays"
        return Finding("not told", f"{wanted}, and known" if options.uncertainty_known else wanted, verdict)
    return _limit(metres, f"known to {metres:g} m", wanted, metres > most)


def _sea(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    said = cell(pair, COUNTRY)
    if pair.longitude is None or pair.latitude is None:
        return unjudged("no place")
    if not options.on_land and (said is None or outlines().find(said) is None):
        return unjudged("no country is told that is understood, nor --on_land")
    inside, km = _nearest(pair.longitude, pair.latitude, None)
    wanted = f"land at most {options.border_km:g} km away"
    if inside is not None or km <= options.border_km:
        return Finding("on land" if inside is not None else f"{km:.0f} km from land", wanted, "stays")
    beyond: Verdict = "dropped" if options.sea == "drop" else "noted"
    return Finding(f"{_km(km)} from land of the outlines", wanted, beyond, km)


def _country(pair: Pair, facts: Facts, options: CurateOptions) -> Finding:
    said = cell(pair, COUNTRY)
    if pair.longitude is None or pair.latitude is None or said is None:
        return unjudged("no place" if said is not None else "no country is told")
    country = outlines().find(said)
    if country is None:
        return unjudged(f"{said!r:.40} is not understood")
    inside, km = _nearest(pair.longitude, pair.latitude, country)
    name = outlines().names[country]
    wanted = f"{name} at most {options.border_km:g} km away"
    if inside is None or inside == country or km <= options.border_km:
        where = "in it" if inside == country else "in the sea" if inside is None else f"{km:.0f} km from it"
        return Finding(where, wanted, "stays")
    return Finding(f"in {outlines().names[inside]}, {_km(km)} from {name}", wanted, "dropped", km)


def _km(km: float) -> str:
    return f"more than {km:.0f} km" if km >= FARTHEST_KM else f"{km:.0f} km"


@lru_cache(maxsize=65_536)
def _nearest(longitude: float, latitude: float, country: int | None) -> tuple[int | None, float]:
    """Return the country that a place lies in, and how far it is from an outline, where that is asked for."""
    inside = outlines().country_at(longitude, latitude)
    if inside is not None and country in (None, inside):
        return inside, 0.0
    return inside, outlines().km_to(longitude, latitude, country)


Judge = Callable[[Pair, Facts, CurateOptions], Finding]
#: How each rule of `RULES` judges a row by itself.
JUDGES: Mapping[str, Judge] = {
    "unreadable": _unreadable, "short": _short, "constant": _constant, "silent": _silent, "clipped": _clipped,
    "offset": _offset, "cancel": _cancel, "wind": _wind, "speech": _speech, "tags": _tags, "licence": _licence,
    "ai": _ai, "null-island": _null_island, "uncertain": _uncertain, "sea": _sea, "country": _country,
}  # fmt: skip


def judge(pair: Pair, facts: Facts, options: CurateOptions, all_of_them: bool = False) -> dict[str, Finding]:
    """Return what each rule that counts says of a row, in the order of `RULES`; or `all_of_them`, off or not."""
    found: dict[str, Finding] = {}
    for rule in RULES:
        if rule not in JUDGES:
            continue
        if options.counts(rule):
            found[rule] = JUDGES[rule](pair, facts, options)
        elif all_of_them:
            found[rule] = Finding("", "", "off")
    return found
