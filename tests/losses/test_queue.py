"""The queue: a ring of the newest rows, with their groups and places; it travels in a state dict."""

import pytest
import torch
from torch import Tensor

from earthtone.losses import queue as queue_module
from earthtone.losses.queue import EmbeddingQueue, over_blocks
from earthtone.losses.twins import padded_groups, twins_between


def numbered(first: int, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows whose every value tells their number."""
    number = torch.arange(first, first + rows)
    column = number[:, None].float()
    return column.repeat(1, 2), -column.repeat(1, 2), torch.stack([number, number + 1000], 1), column.repeat(1, 3)


@pytest.mark.parametrize("batches", [[3], [3, 3], [3, 3, 3], [3, 1, 4, 2], [7], [2, 9], [5, 5, 5]])
def test_keeps_the_newest_rows_together_with_their_facts(batches: list[int]) -> None:
    queue, first = EmbeddingQueue(5, 2), 0
    for rows in batches:
        queue.push(*numbered(first, rows))
        first += rows
    kept = queue.rows(torch.float32)
    order = kept.image[:, 0].argsort()
    image, audio, groups, points = numbered(max(0, first - 5), min(first, 5))
    assert len(queue) == min(first, 5)
    assert torch.equal(kept.image[order], image)
    assert torch.equal(kept.audio[order], audio)
    assert torch.equal(kept.groups[order], padded_groups(groups))
    assert torch.equal(kept.points[order], points.double())


def test_an_empty_queue_has_no_rows_and_no_blocks() -> None:
    empty = EmbeddingQueue(5, 2).rows(torch.float64)
    assert empty.image.shape == (0, 2)
    assert over_blocks(lambda block: block, empty) == []


def test_a_partly_filled_queue_goes_on_from_its_state() -> None:
    queue, other = EmbeddingQueue(5, 2), EmbeddingQueue(5, 2)
    queue.push(*numbered(0, 3))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(*numbered(3, 4))
    for name, value in queue.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_what_was_handed_out_does_not_change_with_the_queue() -> None:
    queue = EmbeddingQueue(3, 2)
    queue.push(*numbered(0, 3))
    kept = queue.rows(torch.float32)
    before = [part.clone() for part in kept]
    queue.push(*numbered(10, 3))
    assert all(torch.equal(a, b) for a, b in zip(before, kept, strict=True))


def test_rows_without_groups_are_nobodys_twins() -> None:
    queue = EmbeddingQueue(4, 2)
    image, audio, groups, points = numbered(0, 2)
    queue.push(image, audio, None, points)
    queue.push(image, audio, groups, None)
    kept = queue.rows(torch.float32)
    wanted = torch.tensor([[0, 7], [-1, -1], [5, 1001], [8, 8]])
    expected = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(twins_between(padded_groups(wanted), None, kept.groups, kept.points), expected)


def test_blocks_cover_the_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "BLOCK", 2)
    queue = EmbeddingQueue(5, 2)
    queue.push(*numbered(0, 5))
    kept = queue.rows(torch.float32)
    blocks = over_blocks(lambda block: block, kept)
    assert [len(block.groups) for block in blocks] == [2, 2, 1]
    assert torch.equal(torch.cat([block.audio for block in blocks]), kept.audio)
