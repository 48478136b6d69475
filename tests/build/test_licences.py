"""Every form in which archives write a licence, and what sets of them may carry."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.licences import (
    AI_PREFERENCES,
    PUBLIC_DOMAIN,
    RESERVED,
    UNKNOWN,
    credit_line,
    is_admitted,
    licence_of,
    strictest,
)
from earthtone.errors import ConfigError

CODES = ("by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")
WORDS = {"by": "Attribution", "nc": "NonCommercial", "sa": "ShareAlike", "nd": "NoDerivatives"}
VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")


def forms(code: str, version: str) -> list[str]:
    """How archives write one and the same licence."""
    address = f"creativecommons.org/licenses/{code}/{version}"
    names = [WORDS[part] for part in code.split("-")]
    return [
        *(f"{start}{address}{end}" for start, end in itertools.product(
            ("http://", "https://", "//", "https://www.", "HTTP://"),
            ("", "/", "/deed.en", "/deed.pt_BR", "/deed", "/legalcode", "/legalcode.fr", "/deed.de/", "/?ref=x", "/#a"),
        )),
        f"CC_{code.upper().replace('-', '_')}_{version.replace('.', '_')}",
        f"cc-{code}-{version}", f"CC {code.upper()} {version}", f"CC-{code.upper()}-{version}",
        f" cc {code} {version} ",
        f"{'-'.join(names)} {version} International", f"Creative Commons {' '.join(names)} {version} Unported License",
        f"Creative Commons {'-'.join(names).replace('NonCommercial', 'Non-Commercial')} {version}",
        f"Attribution {version}" if code == "by" else f"{' '.join(names)} {version}",
    ]  # fmt: skip


@pytest.mark.parametrize(("code", "version"), list(itertools.product(CODES, VERSIONS)))
def test_all_forms_are_one_licence(code: str, version: str) -> None:
    for form in forms(code, version):
        found = licence_of(form)
        assert found.id == f"CC-{code.upper()}-{version}", form
        told = (found.attribution, found.non_commercial, found.share_alike, found.no_derivatives)
        assert told == tuple(part in code.split("-") for part in ("by", "nc", "sa", "nd")) and found.known
        assert found.version == version and licence_of(found.url) == found and licence_of(found.id) == found


@pytest.mark.parametrize(
    ("said", "id"),
    [
        ("cc0", "CC0-1.0"), ("CC0_1_0", "CC0-1.0"), ("Creative Commons 0", "CC0-1.0"), ("CC0 1.0 Universal", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"), ("CC Zero", "CC0-1.0"),
        ("CC0 1.0 Universal Public Domain Dedication", "CC0-1.0"), ("CC0-1.0", "CC0-1.0"),
        ("//creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"), ("Public Domain Mark 1.0", "CC-PDM-1.0"),
        ("pdm", "CC-PDM-1.0"), ("CC-PDM-1.0", "CC-PDM-1.0"), ("Public Domain", PUBLIC_DOMAIN),
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/de/", "CC-BY-NC-SA-3.0-DE"),
        ("https://creativecommons.org/licenses/by/3.0/igo/", "CC-BY-3.0-IGO"),
        ("https://creativecommons.org/licenses/by/3.0/de/deed.en", "CC-BY-3.0-DE"), ("CC BY 3.0 DE", "CC-BY-3.0-DE"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("cc-by", "CC-BY"), ("cc-by-nc-sa", "CC-BY-NC-SA"), ("Attribution NonCommercial", "CC-BY-NC"),
        ("by-nc", "CC-BY-NC"),
        ("MIT", "MIT"), ("ODbL", "ODbL-1.0"),
        ("All rights reserved", RESERVED), ("© all rights reserved", RESERVED),
        ("http://creativecommons.org/licenses/sampling+/1.0/", "CC-Sampling-Plus-1.0"),
        ("Sampling+", "CC-Sampling-Plus-1.0"),
    ],
)  # fmt: skip
def test_other_forms(said: str, id: str) -> None:
    assert licence_of(said).id == id


@pytest.mark.parametrize(
    "said",
    [
        None, "", " ", "null", "NA", "unknown", 4, 0.0, b"cc-by", "GPL-3 repo", "research use only", "cc",
        "by-sa-nd", "cc-by-by",
        "CC-BY-4.0 (Zenodo 5600379); imagery: Google Earth", "cc-by 5.0", "cc-by 3.0 4.0", "not cc-by", "nc", "cc-nc",
        "https://creativecommons.org/licenses/by/4.0/de/", "https://creativecommons.org.evil.example/licenses/by/4.0/",
        "https://example.org/?x=//creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/licenses/by/4.0/x/y",
        "see https://creativecommons.org/licenses/by/4.0/", "cc-by" + " " * 500 + "nd", "sharealike", "by-nc-sa-nd 4.0",
        "UNSPECIFIED",
    ],
)  # fmt: skip
def test_what_is_not_wholly_understood_is_unknown(said: object) -> None:
    found = licence_of(said)
    assert found.id == UNKNOWN and not found.known and not is_admitted(found, ("nc", "nd"))


@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(st.sampled_from([*WORDS, "cc", "4.0", "-", " ", "//", "sampling", "no"])).map("".join),
    )
)
def test_any_text_is_some_licence(text: str) -> None:
    found = licence_of(text)
    if found.known and found.id.startswith("CC-BY"):  # none is made freer than its own words
        plain = text.lower()
        assert found.non_commercial >= ("nc" in plain or "commercial" in plain)
        assert found.no_derivatives >= ("nd" in plain)
    assert licence_of(found.id).id in (found.id, UNKNOWN)


def test_what_is_admitted() -> None:
    def admitted(*allow: str) -> list[str]:
        return [
            code for code in ("cc0", "pdm", *(f"cc-{code}" for code in CODES)) if is_admitted(licence_of(code), allow)
        ]

    assert admitted() == ["cc0", "pdm", "cc-by", "cc-by-sa"]
    assert admitted("nc") == ["cc0", "pdm", "cc-by", "cc-by-sa", "cc-by-nc", "cc-by-nc-sa"]
    assert len(admitted("nc", "nd")) == 8
    with pytest.raises(ConfigError, match="--allow sa; nc, nd or both expected"):
        admitted("sa")
    assert (
        licence_of("cc-by", "NO_GEN_AI").ai_preference == "no-gen-ai" and licence_of("cc-by", "?").ai_preference == ""
    )
    assert all(licence_of("cc0", preference).ai_preference == preference for preference in AI_PREFERENCES)


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        (["cc0", "pdm"], "CC0-1.0"), (["cc0", "cc-by-4.0"], "CC-BY-4.0"), (["cc-by-3.0", "cc-by-4.0"], "CC-BY-4.0"),
        (["cc-by-4.0", "cc-by-sa-3.0"], "CC-BY-SA-4.0"), (["cc-by-nc-4.0", "cc-by-4.0"], "CC-BY-NC-4.0"),
        (["cc-by-nc-sa-4.0", "cc-by-4.0", "cc-by-nc-3.0"], "CC-BY-NC-SA-4.0"), (["CC BY 3.0 DE"], "CC-BY-3.0-DE"),
        (["cc-by-sa-4.0", "cc-by-nc-sa-4.0"], None), (["cc-by-sa-4.0", "cc-by-nc-4.0"], None), (["cc-by-nd-4.0"], None),
        (["cc0", ""], None), ([], None), (["mit", "cc-by-4.0"], None), (["mit"], "MIT"), (["mit", "cc0"], None),
    ],
)  # fmt: skip
def test_the_strictest_licence_of_a_set(said: list[str], whole: str | None) -> None:
    found = strictest(licence_of(one) for one in said)
    assert (None if found.licence is None else found.licence.id) == whole and found.why
    assert strictest(reversed([licence_of(one) for one in said])).licence == found.licence


def test_credit_lines() -> None:
    licence = licence_of("cc-by 4.0")
    line = "Dawn at the pond, A. Recordist, CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/), radio aporee"
    assert credit_line("Dawn at\nthe pond", "A. Recordist", licence, "radio aporee") == line
    assert credit_line("x", None, licence_of(None)) == "x, author unknown, licence unknown"
