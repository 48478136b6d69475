"""What was noticed about a file that stays usable: sound that is missing, a silent channel, a picture stretched.

An error costs the row; a remark is counted by its kind, named in `check` and `pack`, and the row stays.
"""

from typing import NamedTuple


class Remark(NamedTuple):
    """What was noticed: its `kind`, one of the names below, and a `detail` that holds what was found and expected."""

    kind: str
    detail: str


# Sound
SOUND_MISSING = "sound missing"
"""Less is there than the header promises: the file was cut, or its copy broke off. What is there is heard."""
WRONG_HEADER = "wrong header"
"""The header tells another length than the samples that are there (0 or stale after a power loss, 32-bit overflow)."""
DAMAGED_SOUND = "damaged sound"
"""Parts within the file cannot be decoded and are left out."""
SILENT = "silent recording"
"""Every sample is zero, or one constant, once the channels are mixed."""
CHANNELS_CANCEL = "channels cancel"
"""The mean of the channels is far weaker than each of them: one is the other inverted."""
DEAD_CHANNEL = "dead channel"
"""One channel is silent while another is not."""
CLIPPED = "clipped sound"
"""A notable share of the samples stands at full scale."""
OFFSET = "constant offset"
"""The mean of the samples is far from zero (DC)."""

# Pictures
STRETCHED = "stretched picture"
"""More than 8 bits, stretched by this picture's own percentiles: colours of two tiles cannot be compared."""
PARTLY_EMPTY = "partly empty picture"
"""A part of the picture holds no data and is shown black."""
SMALL_FOOTPRINT = "smaller than footprint"
"""The picture covers less ground than `signal.image.footprint_m` asks for."""
TURNED = "turned picture"
"""EXIF says that the picture is shown turned or mirrored; it was."""
BANDS_LEFT_OUT = "bands left out"
"""Bands of the file that are not shown."""
OUTSIDE_VALUE_RANGE = "outside value_range"
"""Most values become black or white with `signal.image.value_range`: it was made for other data."""
BLANK = "picture of one colour"
"""Every pixel is the same: mostly the undeclared filling beyond the edge of a scene."""

# Cells of a table
UNREADABLE_CELL = "unreadable cell"
"""An optional cell that cannot be read: the row stays without the value."""
SWAPPED = "coordinates swapped?"
"""The latitude is beyond 90 degrees and the longitude is not: the row stays without a place."""
OUT_OF_RANGE = "coordinates out of range"
"""Longitude beyond 180 or latitude beyond 90 degrees: the row stays without a place."""
NULL_ISLAND = "place is (0, 0)"
"""Longitude and latitude are both zero, which is mostly a missing place; it is kept."""
