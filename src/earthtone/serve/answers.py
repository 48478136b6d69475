"""What the page's server answers with, as its OpenAPI tells it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


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
    min: float | None = Field(description="null where the band has no values")
    max: float | None
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
    footprint: list[tuple[float, float]] | None = Field(
        default=None, description="(longitude, latitude) of a tile's corners; longitudes go on beyond 180"
    )
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


# What is searched by, and what is found.

MOST_EXAMPLES = 50
Longitude = Annotated[float, Field(ge=-540, le=540, description="degrees; beyond 180 as maps go on around the globe")]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Short = Annotated[str, Field(max_length=200)]
Words = Annotated[list[Short], Field(max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Example(_Strict):
    """One thing that hits should be like, or not: exactly one of the four."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1, "maxProperties": 1})

    row: Annotated[int, Field(ge=0, le=2**53)] | None = None
    id: Annotated[str, Field(min_length=1, max_length=10_000)] | None = Field(
        default=None, description="or key of an item"
    )
    place: tuple[Longitude, Latitude] | None = Field(default=None, description="the tile there, or the nearest picture")
    upload: Annotated[str, Field(pattern="^[0-9a-f]{24}$")] | None = Field(
        default=None, description="as api/uploads called it"
    )


class Filters(_Strict):
    """Which rows are looked at; all that are given must hold."""

    box: tuple[Longitude, Latitude, Longitude, Latitude] | None = Field(
        default=None, description="west, south, east, north"
    )
    polygon: Annotated[list[tuple[Longitude, Latitude]], Field(min_length=3, max_length=500)] | None = None
    hours: Short | None = Field(default=None, description="in UTC: 4-9, 22-4")
    hours_solar: Short | None = Field(default=None, description="by the sun")
    months: Short | None = Field(default=None, description="4-6, apr-jun, 11-2")
    season: Short | None = Field(default=None, description="spring, summer, autumn or winter, where the row lies")
    dates: Short | None = Field(default=None, description="2020, 2020-03..2021-06-15")
    source: Words = Field(default=[], description="any of these; * stands for any letters")
    license: Words = Field(default=[], description="any of these; * stands for any letters")
    where: Annotated[dict[Short, Words], Field(max_length=50)] = Field(
        default={}, description="of a column: any of exactly these"
    )
    compare: Annotated[list[Short], Field(max_length=50)] = Field(default=[], description="quality>=3, label!=forest")


class Passing(BaseModel):
    """What filters leave, or which of them say nothing that can be understood."""

    rows: int = Field(description="that pass all of them; 0 where one is wrong")
    of: int
    items: dict[str, int] = Field(description="images and sounds among those that pass")
    says: str | None = Field(default=None, description="why nothing passes")
    wrong: dict[str, str] = Field(default={}, description="of each filter that is wrong: what is expected")


LONGEST_QUERY = 300  # letters of a query's name: with per cent signs it fits into an address


class MarksAsked(_Strict):
    """Whether marks rank."""

    query: Annotated[str, Field(max_length=LONGEST_QUERY)]
    on: bool = True


class Query(_Strict):
    """What is searched for."""

    like: Annotated[list[Example], Field(max_length=MOST_EXAMPLES)] = []
    unlike: Annotated[list[Example], Field(max_length=MOST_EXAMPLES)] = []
    marks: MarksAsked | None = None
    find: Literal["image", "audio", "all"] | None = Field(
        default=None, description="default: the other medium than the query"
    )
    windows: Literal["best", "all"] = Field(default="best", description="of a recording: its best window, or each")
    borderline: bool = Field(
        default=False, description="the rows nearest to a score, to be marked, in place of the best"
    )
    target_score: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    filters: Filters = Filters()


class Search(Query):
    """A query, and how many hits."""

    k: Annotated[int, Field(ge=1, le=1000)] = 20


class Click(_Strict):
    """A place on the map."""

    longitude: Longitude
    latitude: Latitude
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    filters: Filters = Filters()


class Hit(Item):
    """A row that was found."""

    rank: int
    score: float = Field(description="what it is says `score_is`; more is better")
    percentile: float = Field(description="of the other rows searched, how many per cent rank behind")
    verdict: Literal["right", "wrong"] | None = None
    spread: float | None = Field(
        default=None, description="standard deviation of the score over the windows of the query"
    )


class MarkReport(BaseModel):
    """What marks did."""

    right: int
    wrong: int
    left_out: int
    precision_before: float | None
    precision_after: float | None
    before_is: str
    too_few: bool
    problems: list[str]
    says: list[str] = Field(description="the same as sentences")


class Found(BaseModel):
    """The answer of a search."""

    query: str = Field(description="as it is called in marks")
    score_is: str
    find: Literal["image", "audio", "all"]
    searched: int
    of: int
    hits: list[Hit]
    notes: list[str]
    marks: MarkReport | None = None
    chance: str = Field(description="what the same answer would be by chance")


class Clicked(Found):
    """The answer of a click: sounds that are likely there."""

    picture: Item | None = Field(description="the tile there, or the nearest picture")
    km: float | None = Field(description="how far away the nearest picture is; null for the tile there")


class Upload(BaseModel):
    """What was sent; its vectors are kept for a while."""

    upload: str = Field(description="what it is called in queries")
    kind: Literal["sound", "image"]
    name: str
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    notes: list[str]


class MarkSaid(_Strict):
    """What somebody says of a hit."""

    key: Annotated[str, Field(min_length=1, max_length=10_000, description="of the hit")]
    query: Annotated[str, Field(max_length=LONGEST_QUERY, description="as the answer called it")]
    verdict: Literal["right", "wrong", "unsure"] = Field(description="unsure takes back")
    who: Annotated[str, Field(max_length=80)] = ""


class MarkKept(BaseModel):
    """A line of the file of marks."""

    key: str
    query: str
    verdict: Literal["right", "wrong", "unsure"]
    time: str
    who: str


class MarksTold(BaseModel):
    """The marks of a query; of several on one thing by one person the last one counts."""

    marks: list[MarkKept]
    of: int = Field(description="how many there are in all")
    queries: dict[str, int] = Field(description="how many lines each query has")
    problems: list[str]


class Health(BaseModel):
    """Whether the server works."""

    state: Literal["alive", "ready", "loading"]
    rows: int
    model: Literal["ready", "loading", "none"]


Answers = dict[int | str, dict[str, Any]]
#: Of every address in the OpenAPI: what a refusal looks like.
REFUSALS: Answers = {
    status: {"model": Refused}
    for status in (400, 401, 403, 404, 408, 409, 411, 413, 414, 415, 416, 421, 422, 429, 431, 500, 503)
}
