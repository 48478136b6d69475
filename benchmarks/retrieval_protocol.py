"""Is the release's evaluation, with all of its figures, at least 50 times faster than a pandas loop over the queries?

The loop is the straightforward one: for each query a DataFrame of distances, `rank`, `nsmallest` for 10, 100 and 1000,
and the haversine formula by key. It is measured on a sample of queries, spread over all, and extrapolated; the whole
loop would take minutes. Ranks and kilometres of the sample must be equal to ours. Needs no data; embeddings are random,
their noise set so that half of the partners are found within the first 700 or so, as published systems do.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.evaluate.protocols import SOUNDINGEARTH_KM_DEPTHS as KM_DEPTHS
from earthtone.evaluate.protocols import evaluate_by, soundingearth_ranks
from earthtone.evaluate.ranking import EmbeddedPairs

COUNT, DIMENSIONS, SAMPLE = 10_000, 128, 100
NOISE = 3.1


def pairs_of(count: int) -> EmbeddedPairs:
    """Return pairs whose embeddings are as far apart as a model's of middling skill."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((count, DIMENSIONS))
    audio = image + NOISE * rng.standard_normal((count, DIMENSIONS))
    return EmbeddedPairs(
        ids=[str(key) for key in range(count)], image=image.astype(np.float32), audio=audio.astype(np.float32),
        longitude=rng.uniform(-180, 180, count), latitude=rng.uniform(-90, 90, count),
        image_group=np.arange(count), audio_group=np.arange(count), similarity="l2",
    )  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what the work gives, its seconds on the clock and on the processors."""
    clock, cpu = time.perf_counter(), time.process_time()
    return work(), time.perf_counter() - clock, time.process_time() - cpu


def plain_distances(pairs: EmbeddedPairs, recordings: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distances of all images from some recordings, one recording at a time."""
    import torch

    image, audio = torch.from_numpy(pairs.image), torch.from_numpy(pairs.audio)
    found = np.zeros((len(recordings), len(image)))
    for row, recording in enumerate(recordings):
        found[row] = torch.linalg.norm(image - audio[recording].unsqueeze(0), ord=2, dim=1).numpy()
    return found


def plain_loop(
    pairs: EmbeddedPairs, distances: NDArray[np.float64], sample: NDArray[np.int64], keys: NDArray[np.int64]
) -> list[dict[str, float]]:
    """Return rank and kilometres of some queries; row i of `distances` are those of query `sample[i]`."""
    import pandas as pd

    place = {key: row for row, key in enumerate(keys)}

    def haversine(first: list[int], second: Any) -> NDArray[np.float64]:
        one, two = list(map(place.get, first)), list(map(place.get, second))
        east, north = np.radians(pairs.longitude), np.radians(pairs.latitude)
        half = np.square(np.sin((north[two][None] - north[one][:, None]) / 2))
        half = half + np.cos(north[one])[:, None] * np.cos(north[two])[None] * np.square(
            np.sin((east[two][None] - east[one][:, None]) / 2)
        )
        return np.asarray(2 * 6371 * np.arcsin(np.sqrt(half)))

    results = []
    for row, query in enumerate(sample):
        frame = pd.DataFrame({"key": keys, "dist": distances[row]}).set_index("key")
        frame["rank"] = frame.dist.rank()
        result = {"rank": float(frame.loc[keys[query], "rank"])}
        for depth in KM_DEPTHS:
            result[f"km@{depth}"] = float(np.min(haversine([keys[query]], frame.nsmallest(depth, "dist").index)))
        results.append(result)
    return results


def exact(pairs: EmbeddedPairs, sample: NDArray[np.int64], divisor: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return float64 distances of a sample: with `divisor` of recordings to all images, else the other way round."""
    queries, gallery = (pairs.image, pairs.audio) if divisor is None else (pairs.audio, pairs.image)
    apart = [np.sqrt(((queries[row].astype(np.float64) - gallery) ** 2).sum(axis=1)) for row in sample]
    return np.array(apart) / (1.0 if divisor is None else divisor)


def compare() -> None:
    """Time both, check the sample, print the ratios; ours is timed before and after the loop."""
    pairs, keys = pairs_of(COUNT), 7 * np.arange(COUNT) + 3
    sample = np.arange(0, COUNT, COUNT // SAMPLE)
    evaluate_by("soundingearth", pairs_of(500), resamples=2)  # imports
    plain_loop(pairs, exact(pairs, sample[:2], None), sample[:2], keys)
    found, first_clock, first_cpu = timed(lambda: soundingearth_ranks(pairs))
    _, plain_clock, plain_cpu = timed(lambda: plain_distances(pairs, sample))
    for direction, divisor in (("image_to_sound", None), ("sound_to_image", found["image_to_sound"].mean_distance)):
        distances = exact(pairs, sample, divisor)
        told, loop_clock, loop_cpu = timed(lambda given=distances: plain_loop(pairs, given, sample, keys))
        plain_clock, plain_cpu = plain_clock + loop_clock, plain_cpu + loop_cpu
        assert [one["rank"] for one in told] == found[direction].rank[sample].tolist(), direction
        for depth in KM_DEPTHS:
            km = [one[f"km@{depth}"] for one in told]
            np.testing.assert_allclose(km, found[direction].km[depth][sample], rtol=1e-9)
    _, last_clock, last_cpu = timed(lambda: soundingearth_ranks(pairs))
    _, whole_clock, whole_cpu = timed(lambda: evaluate_by("soundingearth", pairs, resamples=1000))
    clock, cpu, times = (first_clock + last_clock) / 2, (first_cpu + last_cpu) / 2, COUNT / len(sample)
    median = np.median(found["image_to_sound"].rank)
    print(f"{COUNT:,} pairs, {DIMENSIONS} dimensions, both directions; median rank {median:,.0f}")
    print(f"ranks and kilometres are equal on the sample of {len(sample)} queries a direction")
    print(
        f"pandas loop     {times * plain_clock:8.1f} s  {times * plain_cpu:8.1f} s of CPU, {times:.0f} times the sample"
    )
    print(f"ours            {clock:8.2f} s  {cpu:8.2f} s of CPU")
    print(f"with intervals  {whole_clock:8.2f} s  {whole_cpu:8.2f} s of CPU")
    print(f"ratio           {times * plain_clock / clock:8.1f}    {times * plain_cpu / cpu:8.1f}")


def memory(count: int) -> None:
    """Print what the whole process needs at most, in a process of its own."""
    evaluate_by("soundingearth", pairs_of(count), resamples=1000)
    print(f"{count:,} pairs: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB at most")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        memory(int(sys.argv[1]))
    else:
        for size in (COUNT, 5 * COUNT):  # first: a process inherits the record of the one that started it
            subprocess.run([sys.executable, __file__, str(size)], check=True)
        compare()
