"""What is known of published sets of recordings with overhead images: columns, licences, metres a pixel."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

#: SoundingEarth's pictures are 1024 x 1024 pixels of Google Earth. The metres a pixel are the published value, the
#: same for all of them; they were not measured, and Google Earth's own vary with the latitude.
GOOGLE_EARTH_GSD_M = 0.2
SOUNDINGEARTH_LICENSE = "CC-BY-4.0 (Zenodo 5600379); imagery: Google Earth"
SOUNDINGEARTH_ATTRIBUTION = "SoundingEarth (Heidler et al.); recordings: Radio Aporee; imagery: Google Earth"


@dataclass(frozen=True)
class Release:
    """A set that is published as Parquet files: where a pair's own values are, and what is the same for all rows.

    `columns` maps a pair's names to the release's columns, each of which must be there; `gsd_m` are the metres a pixel
    of each image column; `aside` are columns that are known and not carried.
    """

    name: str
    columns: Mapping[str, str]
    carried: tuple[str, ...]
    gsd_m: Mapping[str, float]
    license: str
    attribution: str
    aside: tuple[str, ...]
    source: str | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """All columns of the release."""
        return (*self.columns.values(), *self.carried, *self.aside)


#: As the data sets' own build scripts lay them out (github.com/mvrl/sat2sound, data_prep/build_hf_*.py).
RELEASES = (
    Release(
        name="MVRL/SoundingEarth",
        columns={
            "id": "sample_id", "image": "googleearth_image", "audio": "audio",
            "longitude": "longitude", "latitude": "latitude", "datetime": "date_recorded",
        },
        carried=("short_id", "audio_caption", "audio_caption_source", "llava_caption_googleearth_zl1"),
        gsd_m={"googleearth_image": GOOGLE_EARTH_GSD_M},
        license="research use only",
        attribution=f"MVRL/SoundingEarth (Khanal et al.), after {SOUNDINGEARTH_ATTRIBUTION}",
        aside=("mel_features",),
        source="aporee",
    ),
    Release(
        name="MVRL/GeoSound",
        columns={
            "id": "sample_id", "image": "bingmap_image", "audio": "audio", "source": "source",
            "longitude": "longitude", "latitude": "latitude", "datetime": "date",
        },
        carried=(
            "audio_caption", "audio_caption_source",
            *(f"llava_caption_{sky}_zl{zoom}" for sky in ("bingmap", "sentinel") for zoom in (1, 3, 5)),
            "description", "tags", "title", "scientific_name", "common_name", "sound_format", "text", "address",
            "original_sampling_rate", "bin_id",
        ),
        gsd_m={"bingmap_image": 0.6, "sentinel_image": 10.0},
        license="research use only",
        attribution="MVRL/GeoSound (Khanal et al.); recordings: iNaturalist, YFCC100M, Radio Aporee, Freesound; "
        "imagery: Bing Maps, Sentinel-2",
        aside=("mel_features", "sentinel_image"),
    ),
)  # fmt: skip


def release_with(columns: Collection[str]) -> Release | None:
    """Return the release that a table with these columns is of, also when one of them has another name; or None."""
    found = set(columns)
    for release in RELEASES:
        own = set(release.columns.values()) | set(release.gsd_m)
        # names that nobody else gives: a licence must not be put on another set
        telling = {*release.gsd_m, *(name for name in release.carried if name.startswith("llava_caption_"))}
        if len(own & found) > len(own) / 2 and found & telling:
            return release
    return None
