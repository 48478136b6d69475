"""The one worker that embeds what visitors send: the same vectors alone and in company, and a queue that has an end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi import HTTPException
from numpy.typing import NDArray

from earthtone.models.two_tower import TwoTower
from earthtone.serve.batching import ModelWorker


def windows(model: TwoTower, count: int, seed: int) -> NDArray[np.uint8]:
    audio = model.signal.audio
    shape = (count, audio.window_frames, audio.mels)
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def view(model: TwoTower, seed: int) -> NDArray[np.uint8]:
    side = model.signal.image.pixels
    [found] = model.views([np.random.default_rng(seed).integers(0, 255, (side, side, 3)).astype(np.uint8)], [None])
    return found


def test_vectors_are_the_models_own_alone_and_in_company(tiny_model: TwoTower) -> None:
    sounds = [windows(tiny_model, 1 + n % 5, n) for n in range(8)]
    pictures = [view(tiny_model, n) for n in range(5)]
    alone = [tiny_model.embed_windows([sound])[0] for sound in sounds]
    seen = np.stack(list(tiny_model.encoded_images(pictures)))[:, tiny_model.image_tower.features :]
    worker = ModelWorker(lambda: tiny_model, 64)
    try:
        with ThreadPoolExecutor(13) as pool:
            heard = [pool.submit(worker.sound, sound) for sound in sounds]
            looked = [pool.submit(worker.picture, picture) for picture in pictures]
            for found, sound, wanted in zip(heard, sounds, alone, strict=True):
                assert np.array_equal(found.result().vector, wanted)
                assert len(found.result().windows) == len(sound)
            for found, wanted in zip(looked, seen, strict=True):
                assert np.array_equal(found.result().vector, wanted)
        assert worker.waiting == 0
    finally:
        worker.close()


def test_who_waits_shares_passes_and_a_short_sound_does_not_wait_for_a_long_one(tiny_model: TwoTower) -> None:
    go, ended = threading.Event(), []

    def model() -> TwoTower:
        go.wait(20)
        return tiny_model

    worker = ModelWorker(model, 64)
    try:
        with ThreadPoolExecutor(8) as pool:
            for number, count in enumerate((200, 1, 1, 1, 1)):
                job = pool.submit(worker.sound, windows(tiny_model, count, number))
                job.add_done_callback(lambda _, number=number: ended.append(number))
                while worker.waiting <= number:
                    time.sleep(0.01)
            go.set()
        assert ended[-1] == 0 and len(ended) == 5
        assert worker.passes <= 200 // 16 + 2
    finally:
        worker.close()


def test_a_full_queue_and_a_faulty_model_are_told(tiny_model: TwoTower) -> None:
    go = threading.Event()

    def model() -> TwoTower:
        go.wait(20)
        raise ValueError("no weights")

    worker = ModelWorker(model, 2)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(worker.sound, windows(tiny_model, 1, 0)) for _ in range(2)]
        while worker.waiting < 2:
            time.sleep(0.01)
        with pytest.raises(HTTPException) as refusal:
            worker.sound(windows(tiny_model, 1, 1))
        assert refusal.value.status_code == 503 and refusal.value.headers == {"Retry-After": "2"}
        go.set()
        for job in jobs:
            with pytest.raises(ValueError, match="no weights"):
                job.result()
    assert worker.waiting == 0
    worker.close()
    with pytest.raises(HTTPException, match="ending"):
        worker.sound(windows(tiny_model, 1, 1))
