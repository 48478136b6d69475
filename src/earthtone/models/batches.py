"""Inputs of many items to rows of numbers: items share batches of one constant size, and no item changes another's."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from earthtone.errors import ConfigError

Rows = NDArray[np.float32]

_CPU_BATCH, _GPU_BATCH = 4, 32
_FIRST_ROWS = 1024  # room for them where it is not known how many come

#: Who has a model in evaluation mode now, and whether it was in training before.
_modes: WeakKeyDictionary[nn.Module, tuple[int, bool]] = WeakKeyDictionary()
_MODES_LOCK = RLock()  # a generator that nobody ends ends where memory is collected, perhaps while this is held


def constant_batch(device: torch.device) -> int:
    """Return how many inputs a forward pass has: 4 on a processor, 32 elsewhere.

    Kernels are chosen by shape, and another kernel rounds otherwise; so every pass has one size. Measured on an AMD
    EPYC (PyTorch 2.14, float32, one thread; two ResNet-18s, a ConvNeXt and a ViT at 192 pixels): with 1, 2, 4, 8, 16 or
    32 inputs a pass, an input gives the same bits in any company and at any place. An input costs about as much with 4
    as with 32, a fifth more with 2, two fifths more with 1; a single picture costs an eighth of what it does with 32.
    Sizes do not mix: 1 and 2 round otherwise than 4 to 32, and in a ConvNeXt 4 and 8 otherwise than 16 and 32.
    """
    return _CPU_BATCH if device.type == "cpu" else _GPU_BATCH


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Have a model in evaluation mode; the last of several threads that have it so puts its mode back."""
    with _MODES_LOCK:
        users, was_training = _modes.get(model, (0, model.training))
        _modes[model] = users + 1, was_training
        model.eval()
    try:
        yield
    finally:
        with _MODES_LOCK:
            users, was_training = _modes.pop(model)
            if users > 1:
                _modes[model] = users - 1, was_training
            else:
                model.train(was_training)


def rows_by_item(
    items: Iterable[NDArray[Any] | None],
    forward: Callable[[Tensor], Tensor],
    *,
    model: nn.Module,
    width: int,
    device: torch.device,
    batch: int | None = None,
) -> Iterator[Rows]:
    """Yield the rows (k, width) that `forward` gives of each item's inputs (k, ...), in order; none for None.

    An item is one picture or all windows of a recording; inputs are equal in shape unless `batch` is 1. They are
    pooled: a batch holds whatever comes next, and the last one alone is filled up with zeros. No more is held than an
    item, a batch and the rows of items that wait for it. The model is in evaluation mode meanwhile.
    """
    if batch is not None and (not isinstance(batch, Integral) or isinstance(batch, bool) or batch < 1):
        raise ConfigError(f"batch is {batch!r:.40}; how many inputs a pass has, 1 or more, expected")
    size = constant_batch(device) if batch is None else int(batch)
    waiting: deque[tuple[Rows, int]] = deque()  # rows of an item, and after how many inputs they are all there
    targets: list[Rows] = []
    chunk: NDArray[Any] = np.zeros(0)
    given = done = 0

    def run() -> None:
        with torch.inference_mode():  # here alone: items may come from a user's generator
            found = forward(torch.from_numpy(chunk).to(device)).float().cpu().numpy()
        for row, values in zip(targets, found, strict=False):
            row[:] = values
        targets.clear()

    with in_evaluation(model):
        for item in items:
            inputs = np.zeros(0) if item is None else item
            rows = np.empty((len(inputs), width), np.float32)
            given += len(inputs)
            waiting.append((rows, given))
            for row, values in zip(rows, inputs, strict=True):
                if not targets:
                    chunk = np.zeros((size, *values.shape), values.dtype)
                chunk[len(targets)] = values
                targets.append(row)
                if len(targets) == size:
                    run()
                    done += size
            while waiting and waiting[0][1] <= done:
                yield waiting.popleft()[0]
        if targets:
            run()
        yield from (rows for rows, _ in waiting)


def row_by_item(
    items: Iterable[NDArray[Any] | None], forward: Callable[[Tensor], Tensor], *, width: int, **options: Any
) -> Iterator[Rows]:
    """Yield the row (width,) of each item of one input (...), NaN for None; as `rows_by_item`."""
    single = (None if item is None else item[None] for item in items)
    for rows in rows_by_item(single, forward, width=width, **options):
        yield rows[0] if len(rows) else np.full(width, np.nan, np.float32)


def collected(rows: Iterable[Rows], count: int | None, columns: slice) -> Rows:
    """Return the `columns` of `count` rows as one array, without holding the other columns of all of them.

    Where their number is not known before, the array grows, and no second one is held.
    """
    width = columns.stop - columns.start
    out = np.empty((_FIRST_ROWS if count is None else count, width), np.float32)
    done = 0
    for done, row in enumerate(rows, 1):
        if done > len(out) and count is None:
            out.resize((len(out) * 5 // 4, width), refcheck=False)
        out[done - 1] = row[columns]
    out.resize((done, width), refcheck=False)
    return out
