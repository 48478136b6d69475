"""Licences as archives write them - addresses, codes, names - brought to one form; what they allow; credit lines.

Nothing is guessed: what is not wholly understood is unknown, and unknown gives no rights.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from earthtone.build.options import AI_PREFERENCES, ALLOWED
from earthtone.data.pair import is_unknown
from earthtone.errors import ConfigError, did_you_mean

UNKNOWN = "unknown"
RESERVED = "all rights reserved"
PUBLIC_DOMAIN = "public domain"


@dataclass(frozen=True)
class Licence:
    """What a licence is, and what it asks for."""

    id: str
    """The SPDX id, such as CC-BY-NC-4.0; CC-BY where no version is said; or UNKNOWN, RESERVED, PUBLIC_DOMAIN."""
    version: str = ""
    url: str = ""
    """Of its deed; empty where no version is said."""
    attribution: bool = False
    share_alike: bool = False
    non_commercial: bool = False
    no_derivatives: bool = False
    known: bool = True
    """Whether it gives rights, and these are known here."""
    ai_preference: str = ""
    """One of AI_PREFERENCES, where the author said one."""

    @property
    def flags(self) -> tuple[str, ...]:
        """What it asks for, in words; `unknown` where that is not known."""
        said = ("attribution", "share_alike", "non_commercial", "no_derivatives")
        found = tuple(name.replace("_", "-") for name in said if getattr(self, name))
        return found if self.known else (*found, "unknown")


# How licences are read.

_VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
_DEED = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/(licenses|licences|publicdomain)/([a-z+-]+)"
    r"(?:/(\d\.\d)(?:/([a-z]{2}|igo|scotland))?)?(?:/(?:deed|legalcode)(?:[.-][a-z_-]{2,8})?)?/?(?:[?#].*)?"
)
_PHRASES = (
    (r"creative\s*commons|creativecommons", " cc "), (r"non[\s_-]*commercial", " nc "),
    (r"share[\s_-]*alike", " sa "), (r"no[\s_-]*deriv(atives?|s)?([\s_-]*works?)?", " nd "),
    (r"attribution", " by "), (r"public[\s_-]*domain", " pd "), (r"all\s+rights\s+reserved", " reserved "),
    (r"cc[\s_-]*zero", " cc0 "),
)  # fmt: skip
_VERSION = re.compile(r"(?<![\da-z])v?([1-9])[._ ](\d)(?!\d)")
#: Words of names that say nothing.
_IDLE = {"international", "unported", "generic", "universal", "license", "licence", "licensed", "under", "the", "a",
         "dedication", "intl", "v"}  # fmt: skip
_JURISDICTIONS = frozenset((
    "am", "ar", "at", "au", "az", "be", "bg", "br", "ca", "ch", "cl", "cn", "co", "cr", "cz", "de", "dk", "ec",
    "ee", "eg", "es", "fi", "fr", "ge", "gr", "gt", "hk", "hr", "hu", "ie", "igo", "il", "in", "it", "jp", "kr",
    "lt", "lu", "mk", "mt", "mx", "my", "nl", "no", "nz", "pe", "ph", "pl", "pr", "pt", "ro", "rs", "scotland",
    "se", "sg", "si", "sk", "th", "tr", "tw", "ua", "ug", "uk", "us", "uy", "ve", "vn", "za",
))  # fmt: skip
_PARTS = ("by", "nc", "nd", "sa")
_RETIRED = ("sampling", "sampling+", "nc-sampling+", "devnations")
#: Licences of others: SPDX id, address, whether they are contagious.
_OTHERS: Mapping[str, tuple[str, str, bool]] = {
    "mit": ("MIT", "https://spdx.org/licenses/MIT", False),
    "apache-2.0": ("Apache-2.0", "https://spdx.org/licenses/Apache-2.0", False),
    "bsd-3-clause": ("BSD-3-Clause", "https://spdx.org/licenses/BSD-3-Clause", False),
    "odbl-1.0": ("ODbL-1.0", "https://opendatacommons.org/licenses/odbl/1-0/", True),
    "odbl": ("ODbL-1.0", "https://opendatacommons.org/licenses/odbl/1-0/", True),
    "odc-by-1.0": ("ODC-By-1.0", "https://opendatacommons.org/licenses/by/1-0/", False),
    "odc-by": ("ODC-By-1.0", "https://opendatacommons.org/licenses/by/1-0/", False),
    "etalab-2.0": ("etalab-2.0", "https://spdx.org/licenses/etalab-2.0", False),
    "ogl-uk-3.0": ("OGL-UK-3.0", "https://spdx.org/licenses/OGL-UK-3.0", False),
    "gpl-3.0": ("GPL-3.0-only", "https://spdx.org/licenses/GPL-3.0-only", True),
    "gpl-3.0-only": ("GPL-3.0-only", "https://spdx.org/licenses/GPL-3.0-only", True),
    "gpl-3.0-or-later": ("GPL-3.0-or-later", "https://spdx.org/licenses/GPL-3.0-or-later", True),
}
_ZERO = Licence("CC0-1.0", "1.0", "https://creativecommons.org/publicdomain/zero/1.0/")
_MARK = Licence("CC-PDM-1.0", "1.0", "https://creativecommons.org/publicdomain/mark/1.0/")
_NOTHING = Licence(UNKNOWN, known=False)


def licence_of(said: object, ai_preference: object = None) -> Licence:
    """Return the licence that a cell says; UNKNOWN where it says none, or more than is understood.

    Addresses of deeds and legal codes, codes (`cc-by-nc`), names (`Attribution NonCommercial 4.0`), GBIF's constants.

    >>> licence_of("//creativecommons.org/licenses/by-nc-sa/3.0/de/").id, licence_of("CC_BY_4_0").id
    ('CC-BY-NC-SA-3.0-DE', 'CC-BY-4.0')
    >>> licence_of("CC BY 4.0; pictures: ask us").id
    'unknown'
    """
    found = _read(said) if isinstance(said, str) and not is_unknown(said) else _NOTHING
    preference = str(ai_preference or "").strip().lower().replace("_", "-")
    return replace(found, ai_preference=preference) if preference in AI_PREFERENCES else found


def _read(said: str) -> Licence:
    text = " ".join(said[:400].lower().split())
    if len(said) > 400:
        return _NOTHING
    if deed := _DEED.fullmatch(text):
        kind, code, version, place = deed.groups()
        if kind == "publicdomain":
            fits = version in (None, "1.0") and not place
            return {"zero": _ZERO, "mark": _MARK}.get(code, _NOTHING) if fits else _NOTHING
        if code in _RETIRED:
            return _retired(code)
        return _of_parts(code.split("-"), version or "", place or "")
    if "//" in text:
        return _NOTHING
    if text in _OTHERS:
        id, url, contagious = _OTHERS[text]
        return Licence(id, "", url, attribution=True, share_alike=contagious)
    return _of_name(text)


def _of_name(text: str) -> Licence:
    """Return the licence of a code or a name in small letters."""
    if re.fullmatch(r"(cc[\s_-]*)?(nc[\s_-]*)?sampling\s*(\+|plus)?[\s_-]*(1[._]0)?", text):
        return _retired("sampling+")
    for phrase, word in _PHRASES:
        text = re.sub(phrase, word, text)
    versions = _VERSION.findall(text)
    text = _VERSION.sub(" ", text)
    words = [word for word in re.split(r"[\s_\-\u2013\u2010,()/.]+", text) if word and word not in _IDLE]
    if len(versions) > 1 or len(words) > 8:
        return _NOTHING
    version = ".".join(versions[0]) if versions else ""
    if set(words) <= {"reserved", "copyright", "\u00a9", "c"} and "reserved" in words:
        return Licence(RESERVED, known=False)
    if version in ("", "1.0"):
        if words in (["cc0"], ["cc", "0"], ["cc", "zero"], ["cc", "cc0"], ["cc0", "pd"], ["zero"], ["cc", "0", "pd"]):
            return _ZERO
        if words in (["pdm"], ["cc", "pdm"], ["pd", "mark"], ["cc", "pd", "mark"]):
            return _MARK
        if words == ["pd"] and not version:
            return Licence(PUBLIC_DOMAIN)
    marked = words[:1] == ["cc"]
    place = words.pop() if len(words) > 1 and words[-1] in _JURISDICTIONS and version else ""
    parts = words[1:] if marked else words
    return _of_parts(parts, version, place)


def _of_parts(parts: list[str], version: str, place: str) -> Licence:
    """Return the licence of by, nc, sa, nd in any order."""
    odd = set(parts) - set(_PARTS) or len(set(parts)) < len(parts)
    wrong = odd or "by" not in parts or {"nd", "sa"} <= set(parts)
    if wrong or version not in ("", *_VERSIONS) or (place and version in ("", "4.0") and place != "igo"):
        return _NOTHING
    code = "-".join(part for part in _PARTS if part in parts)
    in_address = "by-nd-nc" if (code, version) == ("by-nc-nd", "1.0") else code
    url = f"https://creativecommons.org/licenses/{in_address}/{version}/{place and f'{place}/'}" if version else ""
    id = "-".join(filter(None, ("CC", code.upper(), version, place.upper())))
    return Licence(
        id, version, url, attribution=True, share_alike="sa" in parts, non_commercial="nc" in parts,
        no_derivatives="nd" in parts,
    )  # fmt: skip


def _retired(code: str) -> Licence:
    """Return a licence of Creative Commons that was withdrawn and forbids copies of the whole: no rights for us."""
    kind = "NC-Sampling-Plus" if code.startswith("nc") else "Sampling-Plus" if "+" in code else code.capitalize()
    return Licence(f"CC-{kind}-1.0", "1.0", attribution=True, non_commercial=code.startswith("nc"), known=False)


# What licences allow.


def is_admitted(licence: Licence, allow: Collection[str] = ()) -> bool:
    """Return whether rows of a licence may be used: CC0, public domain, BY, BY-SA and the like; more with `allow`.

    What is unknown or all rights reserved never is. Raises ConfigError for another word than those of ALLOWED.
    """
    for word in allow:
        if word not in ALLOWED:
            raise ConfigError(f"--allow {word}; {did_you_mean(word, ALLOWED)}nc, nd or both expected")
    return (
        licence.known
        and (not licence.non_commercial or "nc" in allow)
        and (not licence.no_derivatives or "nd" in allow)
    )


@dataclass(frozen=True)
class WholeLicence:
    """Under which licence a set may be published as a whole."""

    licence: Licence | None
    """None: under none; each row has its own."""
    why: str

    def __str__(self) -> str:
        return f"{self.licence.id}: {self.why}" if self.licence is not None else f"none: {self.why}"


def strictest(licences: Iterable[Licence]) -> WholeLicence:
    """Return the licence that a set of cut and joined rows would carry: share-alike and non-commercial are contagious.

    This is arithmetic of what the licences say, and no advice of a lawyer.
    """
    found = {replace(licence, ai_preference="") for licence in licences}
    if not found:
        return WholeLicence(None, "there are no rows")
    if any(not licence.known for licence in found):
        return WholeLicence(
            None, f"rows of unknown licence, or without rights ({_ids(x for x in found if not x.known)})"
        )
    if any(licence.no_derivatives for licence in found):
        told = _ids(licence for licence in found if licence.no_derivatives)
        return WholeLicence(None, f"{told}: what is cut or re-encoded may not be passed on")
    if len(found) == 1:
        return WholeLicence(next(iter(found)), "all rows have it")
    others = [licence for licence in found if licence.attribution and not licence.id.startswith("CC-")]
    if others:
        return WholeLicence(None, f"{_ids(others)} cannot be put under another licence: each row has its own")
    alike = [licence for licence in found if licence.share_alike]
    non_commercial = any(licence.non_commercial for licence in found)
    if len({licence.non_commercial for licence in alike}) > 1:
        return WholeLicence(None, f"{_ids(alike)} ask for different licences of the whole: each row has its own")
    if alike and non_commercial and not alike[0].non_commercial:
        told = _ids(licence for licence in found if licence.non_commercial)
        return WholeLicence(None, f"{_ids(alike)} cannot be joined with {told}: each row has its own")
    if not any(licence.attribution for licence in found):
        return WholeLicence(_ZERO, "nothing is asked for")
    parts = ["by", *(["nc"] if non_commercial else []), *(["sa"] if alike else [])]
    version = max(licence.version for licence in found if licence.attribution)
    whole = _of_parts(parts, version, "")
    return WholeLicence(whole, f"the strictest of {_ids(found)}")


def credit_line(title: str, author: str | None, licence: Licence, source: str | None = None) -> str:
    """Return what is to be printed beside a row: title, author, licence with its address, source.

    >>> credit_line("rec-1", "A. Recordist", licence_of("CC0"))
    'rec-1, A. Recordist, CC0-1.0 (https://creativecommons.org/publicdomain/zero/1.0/)'
    """
    named = "licence unknown" if licence.id == UNKNOWN else licence.id
    parts = [title, author or "author unknown", f"{named} ({licence.url})" if licence.url else named, source or ""]
    return ", ".join(" ".join(part.split()) for part in parts if part)


def _ids(licences: Iterable[Licence]) -> str:
    return ", ".join(sorted({licence.id for licence in licences}))
