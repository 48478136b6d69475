"""The classes of published sets with masks: the values or colours of their masks."""

from earthtone.data.labelled import Palette

_DEEPGLOBE = {
    "urban": (0, 255, 255), "agriculture": (255, 255, 0), "rangeland": (255, 0, 255), "forest": (0, 255, 0),
    "water": (0, 0, 255), "barren": (255, 255, 255),
}  # fmt: skip
_LOVEDA = {
    "background": (255, 255, 255), "building": (255, 0, 0), "road": (255, 255, 0), "water": (0, 0, 255),
    "barren": (159, 129, 183), "forest": (0, 255, 0), "agriculture": (255, 195, 128),
}  # fmt: skip
_ISPRS = {
    "impervious surfaces": (255, 255, 255), "building": (0, 0, 255), "low vegetation": (0, 255, 255),
    "tree": (0, 255, 0), "car": (255, 255, 0), "clutter": (255, 0, 0),
}  # fmt: skip
_BLACK = (0, 0, 0)


def _in_colour(colours: dict[str, tuple[int, int, int]], *, binarised: bool = False) -> Palette:
    return Palette(
        tuple(colours),
        colours={colour: index for index, colour in enumerate(colours.values())},
        ignored=frozenset({_BLACK}),
        shown=tuple(colours.values()),
        binarised=binarised,
    )


#: DeepGlobe's black is "unknown"; the masks' authors ask for a threshold of 128 a channel (Demir et al., CVPRW 2018).
#: LoveDA's 0 is no data (Wang et al., NeurIPS 2021). The ISPRS masks without boundaries are black along them.
PALETTES: dict[str, Palette] = {
    "deepglobe": _in_colour(_DEEPGLOBE, binarised=True),
    "loveda": Palette(
        tuple(_LOVEDA),
        values={index + 1: index for index in range(len(_LOVEDA))},
        ignored=frozenset({0}),
        shown=tuple(_LOVEDA.values()),
    ),
    "potsdam": _in_colour(_ISPRS),
    "vaihingen": _in_colour(_ISPRS),
}
