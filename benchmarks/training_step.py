"""How fast is a training step, beside a plain loop in fp32 and NCHW? At least 3 times where the CPU multiplies bfloat16
matrices itself; without, what channels last brings.

Ours is what `earthtone pretrain` runs: Lightning's trainer with the precision that `auto` chooses, channels last, the
clipped gradient. Both begin with the same uint8 batches: 32 pairs of 192 px and a window of 128 x 128. Each runs in a
process of its own; the median step counts.

    python benchmarks/training_step.py --steps 10 --steps_resnet50 4
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torchvision
from torch.nn import functional as F

from earthtone.device import choose_precision
from earthtone.models.config import ModelConfig
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.train.recipe import Recipe, TrainConfig
from machine import bfloat16_features, matrix_gain
from training import WARM_UP, random_batches, train

BATCH = 32


def recipe_of(encoder: str) -> Recipe:
    """An image encoder beside a ResNet-18 for sound."""
    audio = AudioConfig(mels=128, window_seconds=1.28)
    return Recipe(
        signal=SignalConfig(audio=audio, image=ImageConfig(pixels=192, stored_pixels=256)),
        model=ModelConfig(encoder, "resnet18"),
        train=TrainConfig(batch_size=BATCH, epochs=1, device="cpu"),
    )


def plain_steps(recipe: Recipe, count: int) -> list[float]:
    """Seconds of the steps that one writes first: torchvision's networks, InfoNCE, AdamW."""
    torch.manual_seed(0)
    see = getattr(torchvision.models, recipe.model.image_encoder)(num_classes=128)
    hear = torchvision.models.resnet18(num_classes=128)
    hear.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    optimizer = torch.optim.AdamW([*see.parameters(), *hear.parameters()], lr=1e-3)
    seconds = []
    for batch in random_batches(recipe, count):
        start = time.perf_counter()
        pictures = batch.image.permute(0, 3, 1, 2).contiguous().float() / 255
        sounds = batch.audio.transpose(2, 3).contiguous().float() / 255
        image, audio = F.normalize(see(pictures)), F.normalize(hear(sounds))
        scores, own = image @ audio.T / 0.07, torch.arange(BATCH)
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP:]


def measured(way: str, encoder: str, steps: int) -> float:
    """Seconds of a step, in a process of its own."""
    words = [sys.executable, __file__, "--child", way, "--encoder", encoder, "--steps", str(steps)]
    return float(json.loads(subprocess.check_output(words).splitlines()[-1]))


def main() -> None:
    """Print both ways and their ratio for both encoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="that are counted")
    parser.add_argument("--steps_resnet50", type=int, default=3)
    parser.add_argument("--child", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--encoder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        recipe, count = recipe_of(options.encoder), options.steps + WARM_UP
        if options.child == "plain":
            seconds = plain_steps(recipe, count)
        else:
            seconds, _ = train(recipe, random_batches(recipe, count))
        print(json.dumps(statistics.median(seconds)))
        return
    features = bfloat16_features()
    precision = choose_precision("auto", "cpu")
    print(f"{os.cpu_count()} cores, bfloat16 of the processor: {features}; precision auto is {precision}")
    print(f"a matrix product in bfloat16: {matrix_gain():.1f} times as fast as in fp32")
    for encoder, steps in (("resnet18", options.steps), ("resnet50", options.steps_resnet50)):
        found = {way: measured(way, encoder, steps) for way in ("plain", "ours")}
        for way, seconds in found.items():
            print(f"{encoder} + resnet18, {way:<5} {BATCH / seconds:7.1f} samples/s")
        ratio = found["plain"] / found["ours"]
        wanted = f">= 3 wanted: {'yes' if ratio >= 3 else 'no'}" if precision == "bf16-mixed" else "no bf16 units"
        print(f"{encoder} + resnet18, ratio {ratio:5.2f} ({wanted})")


if __name__ == "__main__":
    main()
