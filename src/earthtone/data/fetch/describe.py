"""A catalogue's entries in words: for the terminal and for the page in the documentation."""

from collections.abc import Mapping

from earthtone.data.fetch.catalogue import PublicSet, RemoteFile
from earthtone.data.fetch.disk import size_text
from earthtone.wording import one_line_each


def row(entry: PublicSet) -> tuple[str, str, str, str, str]:
    """Return name, download, licence, items and what, as the table shows them."""
    return entry.name, download_text(entry), entry.licence or "not found", entry.items, entry.what


def download_text(entry: PublicSet) -> str:
    """Return how large a download is, as far as it is known, and whether it goes by hand."""
    if entry.by_hand:
        return "by hand"
    if not entry.files:
        return "host tells"
    if entry.bytes is not None or not entry.known_bytes:
        return size_text(entry.bytes)
    largest_known = any(file.bytes for file in entry.files if file.unpack)
    return f"{'' if largest_known else 'over '}{size_text(entry.known_bytes)}"


def long_text(entry: PublicSet) -> str:
    """Return all that the catalogue knows of a set, in lines."""
    lines = [f"{entry.name}: {entry.title}", f"  {entry.what}", f"  items: {entry.items}"]
    lines.append(f"  licence: {entry.licence or 'not found; look at the homepage'}")
    lines += [f"  {entry.licence_note}"] if entry.licence_note else []
    lines += [f"  cite: {entry.citation}", f"  homepage: {entry.homepage}"]
    lines.append(f"  parts for --subset: {', '.join(entry.part_names)}")
    lines += [f"  file: {file_text(file)}" for file in entry.files]
    if not entry.files:
        lines.append("  files: their names, sizes and checksums are asked of the host when the set is fetched")
    lines += [f"  note: {note}" for note in entry.notes]
    lines += [f"  by hand {number}: {step}" for number, step in enumerate(entry.by_hand, 1)]
    return one_line_each(lines)


def file_text(file: RemoteFile) -> str:
    """Return a file's name, size and checksum, or that they were not found."""
    checksum = f"sha256 {file.sha256}" if file.sha256 else f"md5 {file.md5}" if file.md5 else "checksum not found"
    size = f"{file.bytes} bytes" if file.bytes is not None else "size not found"
    return f"{file.name} ({file.part}), {size}, {checksum}"


def markdown_table(sets: Mapping[str, PublicSet]) -> str:
    """Return the catalogue as a table of the documentation."""
    lines = ["| name | what | items | download | checksum | licence | cite |", "|---|---|---|---|---|---|---|"]
    for entry in sets.values():
        known = sum(1 for file in entry.files if file.sha256 or file.md5)
        checks = f"{known} of {len(entry.files)} files" if entry.files else "host tells"
        licence = f"{entry.licence or 'not found'}{'. ' + entry.licence_note if entry.licence_note else ''}"
        cells = (f"[`{entry.name}`]({entry.homepage})", entry.what, entry.items, download_text(entry), checks)
        lines.append(f"| {' | '.join((*cells, licence, entry.citation))} |")
    return "\n".join(lines)
