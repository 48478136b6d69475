"""What the page's server answers with, as its OpenAPI tells it."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class Refused(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="what was found, what was expected, what to do")


class Column(BaseModel):
    """A column to colour and to filter by; its values are at api/columns/NAME."""

    name: str
    kind: Literal["category", "number", "time"]
    values: list[str] | None = Field(default=None, description="of a category: what its codes stand for")
    min: float | None = Field(default=None, description="of a number; of a time: days since 1970")
    max: float | None = None


class Band(BaseModel):
    """One band of a layer; value = number in the tile's RGB x scale + offset."""

    name: str
    title: str
    min: float
    max: float
    scale: float
    offset: float
    says: str


class Layer(BaseModel):
    """A map as tiles of values, which the page colours."""

    name: str
    title: str
    bands: list[Band]
    bounds: list[float] = Field(description="west, south, east, north in degrees")
    minzoom: int
    maxzoom: int
    attribution: str
    synthetic: bool
    classes: list[str] | None = None
    notes: list[str] = []
    files: list[str] = Field(default=[], description="to be downloaded from api/layers/NAME/files/FILE")


class ModelFacts(BaseModel):
    """The model that queries are embedded by."""

    name: str
    fingerprint: str
    ready: bool
    card: str | None = Field(description="where its card is")
    queries: list[Literal["sound", "image", "place"]]


class IndexFacts(BaseModel):
    """The table of embeddings."""

    fingerprint: str
    model: str
    dimensions: int
    windows: bool


class Limits(BaseModel):
    """What a query may have."""

    upload_bytes: int
    sound_seconds: int
    image_pixels: int
    hits: int
    queue: int


class MarksFacts(BaseModel):
    """The file of marks."""

    writable: bool
    name: str


class Basemap(BaseModel):
    """What lies below the points."""

    kind: Literal["outline", "tiles"]
    url: str | None = None
    attribution: str


class About(BaseModel):
    """What is served."""

    version: str
    title: str
    synthetic: bool
    items: dict[str, int] = Field(description="rows of images and of sounds")
    rows: int
    coordinates: bool
    plane: bool
    media: bool
    bounds: list[float] | None = Field(description="west, south, east, north; east above 180 across the antimeridian")
    metric: Literal["cosine", "distance"]
    score_is: str
    model: ModelFacts | None
    model_missing: str | None = Field(default=None, description="why there is no model")
    index: IndexFacts
    columns: list[Column]
    limits: Limits
    layers: list[Layer]
    marks: MarksFacts
    basemap: Basemap
    who: str


class Sound(BaseModel):
    """Where a recording is heard and seen."""

    url: str
    peaks: str
    spectrogram: str


class Item(BaseModel):
    """One row of the index."""

    row: int
    id: str
    key: str = Field(description="what it is called in marks")
    modality: Literal["image", "audio"]
    longitude: float | None
    latitude: float | None
    datetime: str | None
    source: str | None
    license: str | None
    attribution: str | None
    start_s: float | None
    seconds: float | None
    bounds: list[float] | None = Field(description="west, south, east, north of a tile in `crs`")
    crs: str | None
    picture: str | None
    sound: Sound | None
    missing: str | None = Field(description="why there is nothing to be seen or heard")
    more: dict[str, str | None]


class Tick(BaseModel):
    """A frequency on a spectrogram's axis."""

    hz: float
    at: float = Field(description="0 is the lower edge of the picture, 1 its upper one")


class Peaks(BaseModel):
    """The waveform of a recording."""

    seconds: float
    channels: int
    peaks: list[list[float]] = Field(description="of each channel least and greatest sample by turns, -1 to 1")
    notes: list[str] = Field(default=[], description="what was noticed while it was decoded")
    ticks: list[Tick] = Field(default=[], description="of the spectrogram's axis")


class Health(BaseModel):
    """Whether the server works."""

    state: Literal["alive", "ready", "loading"]
    rows: int
    model: Literal["ready", "loading", "none"]


Answers = dict[int | str, dict[str, Any]]
#: Of every address in the OpenAPI: what a refusal looks like.
REFUSALS: Answers = {
    status: {"model": Refused}
    for status in (400, 401, 403, 404, 408, 409, 411, 413, 414, 415, 416, 421, 422, 429, 500, 503)
}
