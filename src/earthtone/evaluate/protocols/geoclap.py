"""The protocol of GeoCLAP (Khanal et al., BMVC 2023, arXiv 2309.10667)."""

from earthtone.evaluate.average_ranks import MAX_BYTES
from earthtone.evaluate.embedded import EmbeddedPairs
from earthtone.evaluate.protocols.published import cosine_ranks, published_result
from earthtone.evaluate.retrieval import RetrievalResult

_TOLD = {
    "name": "geoclap",
    "difference": "Unlike the honest one it gives ties their average rank, counts ranks below 100 as R@100, and takes "
    "identical items for wrong; what its code prints as image to sound is sound to image and the other way round, here "
    "each direction has its right name.",
    "similarity": "The cosine of the embeddings, also of raw ones.",
}


def geoclap(
    pairs: EmbeddedPairs, *, resamples: int = 1000, seed: int = 0, max_bytes: int = MAX_BYTES
) -> RetrievalResult:
    """Return R@100 (rank < 100) and the median rank by cosine, under the right names of the directions.

    Raises DataError when there are no pairs.
    """
    return published_result(
        pairs, cosine_ranks(pairs, max_bytes=max_bytes), recalls={"R@100": 100.0}, told=_TOLD, similarity="cosine",
        resamples=resamples, seed=seed,
    )  # fmt: skip
