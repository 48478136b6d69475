"""The protocol of the SoundingEarth release (Heidler et al. 2023, arXiv 2108.00688)."""

import numpy as np

from earthtone.evaluate.average_ranks import MAX_BYTES, AverageRanks, average_ranks
from earthtone.evaluate.embedded import EmbeddedPairs
from earthtone.evaluate.exact_search import first_equal
from earthtone.evaluate.protocols.published import places_of, published_result
from earthtone.evaluate.retrieval import RetrievalResult

RECALLS = {f"R@{k}": float(k) for k in (100, 500, 1000)}
KM_DEPTHS = (10, 100, 1000)
_TOLD = {
    "name": "soundingearth",
    "difference": "Unlike the honest one it ranks by Euclidean distance, divides that by each image's mean over the "
    "test recordings, gives ties their average rank, counts rank < k as within the first k, and takes identical items "
    "for wrong.",
    "similarity": "Minus the Euclidean distance of the embeddings as the model gives them. To rank images for a "
    "recording, the distances to each image are divided by their mean over all recordings of the test set; to rank "
    "recordings for an image this changes nothing.",
}


def soundingearth(
    pairs: EmbeddedPairs, *, resamples: int = 1000, seed: int = 0, max_bytes: int = MAX_BYTES
) -> RetrievalResult:
    """Return R@100, R@500, R@1000, median rank, D@10, D@100 and D@1000 as the release counts them.

    Unlike the release's own code it is deterministic: recordings are heard whole, no row is dropped. Raises DataError
    when there are no pairs.
    """
    return published_result(
        pairs, soundingearth_ranks(pairs, max_bytes=max_bytes), recalls=RECALLS, told=_TOLD, similarity="l2",
        resamples=resamples, seed=seed,
    )  # fmt: skip


def soundingearth_ranks(pairs: EmbeddedPairs, *, max_bytes: int = MAX_BYTES) -> dict[str, AverageRanks]:
    """Return the ranks and the kilometres of both directions. Raises DataError when there are no pairs."""
    places = places_of(pairs)
    depths = tuple(k for k in KM_DEPTHS if k < len(pairs))
    to_sound = average_ranks(pairs.image, pairs.audio, places, depths=depths, max_bytes=max_bytes)
    mean = to_sound.mean_distance[first_equal(pairs.image)]  # so that identical images go on tying
    divisor = np.where(mean > 0, mean, 1.0)
    to_image = average_ranks(pairs.audio, pairs.image, places, depths=depths, divisor=divisor, max_bytes=max_bytes)
    return {"image_to_sound": to_sound, "sound_to_image": to_image}
