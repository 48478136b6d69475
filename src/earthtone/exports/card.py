"""The model card (Mitchell et al. 2019, arXiv 1810.03993): what a model learned from, how well it does, what it is for.

What nothing states is said to be not stated. No path of the maker's computer is in it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from earthtone.errors import one_line

NOT_STATED = "not stated"
_USES = (
    "Comparing places and recordings with each other: search by sound or by image, maps of where a sound would fit, "
    "features for classifiers of land cover and of soundscapes."
)
_NOT_USES = (
    "Do not use it to identify people, voices or private conversations, or to watch somebody.",
    "Do not use it as the only ground for a decision on land, protection, permits or safety: a near vector is a "
    "likeness, no detection, and no proof that a species or a source of sound is there.",
    "Do not expect it to hold where neither the imagery nor the recordings of its training come from: other sensors, "
    "metres a pixel, seasons, continents, microphones.",
)
_MARKUP = re.compile(r"([\\`*_<>\[\]|#~$])")


def plain(value: object, longest: int = 200) -> str:
    """Return a value as text in Markdown: one line, no markup, no terminal codes."""
    return _MARKUP.sub(r"\\\1", one_line(str(value), longest))


def front_matter(library: str, tags: Sequence[str], license_name: str | None) -> str:
    """Return the YAML at the top of a card; values are quoted as JSON, which YAML reads."""
    every = ["earthtone", "remote-sensing", "soundscape", "audiovisual", "image-feature-extraction", *tags]
    lines = ["---", f"library_name: {library}"]
    if license_name is not None:
        lines.append(f"license: {json.dumps(license_name)}")
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in every), "---", ""])


def card_sections(
    card: Mapping[str, Any],
    license_name: str | None,
    figures: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the lines of a card below its title: training data, licence, figures, uses, what it must not be used for.

    `figures` are lines of a table; `data` are counts of the table that it was trained on, where it is there.
    """
    lines = ["## Training data", ""]
    lines += _training(card, data or {})
    stated = plain(license_name) if license_name else f"{NOT_STATED}; ask the authors before you use or share it"
    lines += ["", "## Licence", "", f"- weights: {stated}"]
    taken = card.get("converted_from")
    if isinstance(taken, Mapping):
        lines.append(f"- converted from `{plain(taken.get('file'))}`: {plain(taken.get('license', NOT_STATED))}")
    held = (data or {}).get("licenses")
    lines.append(f"- training data: {held if held else NOT_STATED}")
    lines += ["", "## Figures", ""]
    lines += list(figures) if figures else _kept_figures(card)
    lines += ["", "## Intended use", "", _USES, "", "## What it must not be used for", ""]
    lines += [f"- {line}" for line in _NOT_USES]
    return lines


def _training(card: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    found = card.get("data")
    if "untrained" in card:
        return ["None: the weights are random."]
    if not isinstance(found, Mapping):
        return [f"{NOT_STATED.capitalize()}."]
    lines = [f"- data: `{plain(Path(str(found.get('path', ''))).name) or NOT_STATED}`"]
    rows = found.get("rows")
    lines.append(f"- pairs of image and sound: {rows:,}" if isinstance(rows, int) else f"- pairs: {NOT_STATED}")
    split = found.get("split")
    dealt = split.get("by") if isinstance(split, Mapping) else None
    lines.append(
        f"- fingerprint `{plain(found.get('fingerprint', NOT_STATED))}`, split by {plain(dealt or NOT_STATED)}"
    )
    lines.append(f"- sources: {data.get('sources') or NOT_STATED}")
    lines.append(f"- attribution: {data.get('attributions') or NOT_STATED}")
    recipe = card.get("recipe")
    if isinstance(recipe, Mapping):
        loss, train = recipe.get("loss", {}), recipe.get("train", {})
        lines.append(
            f"- training: loss {plain(loss.get('name', NOT_STATED))}, batches of "
            f"{plain(train.get('batch_size', '?'))}, {plain(train.get('epochs', '?'))} epochs, "
            f"seed {plain(train.get('seed', '?'))}"
        )
        if (control := train.get("control", "none")) != "none":
            lines.append(f"- a control, no training to be used: train.control {plain(control)}")
    versions = card.get("versions")
    if isinstance(versions, Mapping):
        lines.append(f"- software: {', '.join(f'{plain(name)} {plain(value)}' for name, value in versions.items())}")
    return lines


def _kept_figures(card: Mapping[str, Any]) -> list[str]:
    """Return what training noted of its validation pairs, which has no intervals."""
    found = card.get("validation")
    figures = {key: value for key, value in (found if isinstance(found, Mapping) else {}).items() if _is_number(value)}
    if not figures:
        return [f"{NOT_STATED.capitalize()}."]
    rows = [f"| {plain(name)} | {value:.4g} | {NOT_STATED} |" for name, value in figures.items()]
    return [
        "On validation pairs, by which the weights were chosen, so that they are on the high side:", "",
        "| figure | value | 95 % interval |", "|---|---|---|", *rows,
    ]  # fmt: skip


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def retrieval_lines(result: Any, split: str, data: str) -> list[str]:
    """Return a retrieval's figures as lines of Markdown, each with its interval and its chance."""
    lines = [
        f"Retrieval on {result.gallery:,} pairs, split {plain(split)} of `{plain(data)}`; protocol "
        f"{plain(result.facts['protocol']['name'])}, 95 % bootstrap intervals:", "",
        "| direction | figure | value | 95 % interval | chance |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for direction, figures in result.figures.items():
        for name, each in figures.items():
            chance = "" if each.chance is None else f"{each.chance:.4g}"
            lines.append(
                f"| {direction.replace('_', ' ')} | {plain(name)} | {each.value:.4g} | "
                f"{each.low:.4g} to {each.high:.4g} | {chance} |"
            )
    return lines


def model_card(
    name: str, card: Mapping[str, Any], *, license_name: str | None, figures: Sequence[str], data: Mapping[str, Any],
    files: Sequence[str], repo: str,
) -> str:  # fmt: skip
    """Return the card of a model of ours on the hub, as Markdown with its YAML."""
    model = card.get("model", {})
    towers = f"{plain(model.get('image_encoder', NOT_STATED))} and {plain(model.get('audio_encoder', NOT_STATED))}"
    what = f"Image and sound encoders ({towers}) into one space of {plain(model.get('dimensions', '?'))} dimensions"
    learned = "sound and overhead imagery of the same place"
    backbone = not isinstance(model, Mapping) or not model
    if (only := model.get("only")) in ("image", "audio"):
        kind, learned = ("image", "overhead imagery alone") if only == "image" else ("sound", "recordings alone")
        encoder = plain(model.get(f"{only}_encoder", NOT_STATED))
        what = f"One encoder, of {kind}s ({encoder}), into a space of {plain(model.get('dimensions', '?'))} dimensions"
    opened = (
        f'earthtone.open_backbone("{plain(repo.rpartition("/")[2])}")'
        if backbone
        else f'model = earthtone.load_model("{plain(repo.rpartition("/")[2])}")'
    )
    if backbone:
        what = f"An image encoder ({plain(card.get('encoder', NOT_STATED))})"
    lines = [
        front_matter("earthtone", [], license_name), f"# {plain(name, 80)}", "",
        f"{what}, trained with Earthtone on {learned}, without labels."
        if "untrained" not in card
        else f"{what}, untrained.", "",
        "```sh", f"earthtone pull {plain(repo)} --out {plain(repo.rpartition('/')[2])}", "```", "",
        "```python", "import earthtone", "", opened, "```", "",
        *(f"- `{plain(file)}`" for file in files), "",
        *card_sections(card, license_name, figures, data), "",
    ]  # fmt: skip
    return "\n".join(lines)
