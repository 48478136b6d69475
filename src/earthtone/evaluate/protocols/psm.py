"""The protocol of PSM and Sat2Sound (Khanal et al., ACM MM 2024, arXiv 2408.07050; arXiv 2505.13777)."""

from earthtone.evaluate.average_ranks import MAX_BYTES
from earthtone.evaluate.embedded import EmbeddedPairs
from earthtone.evaluate.protocols.published import cosine_ranks, published_result
from earthtone.evaluate.retrieval import RetrievalResult

_TOLD = {
    "name": "psm",
    "difference": "Unlike the honest one it gives ties their average rank, counts ranks below a tenth of the gallery "
    "as R@10%, and takes identical items for wrong; the cosine is that of the embeddings alone, without PSM's "
    "uncertainties and metadata.",
    "similarity": "The cosine of the embeddings, also of raw ones.",
}


def psm(pairs: EmbeddedPairs, *, resamples: int = 1000, seed: int = 0, max_bytes: int = MAX_BYTES) -> RetrievalResult:
    """Return R@10% (rank < 0.1 N) and the median rank by cosine. Raises DataError when there are no pairs."""
    return published_result(
        pairs, cosine_ranks(pairs, max_bytes=max_bytes), recalls={"R@10%": 0.1 * len(pairs)}, told=_TOLD,
        similarity="cosine", resamples=resamples, seed=seed,
    )  # fmt: skip
