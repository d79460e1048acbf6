"""The keys and values of a batch that is copied for candidates, grows by a token a step, and loses the rows that have ended."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import Cache, DynamicLayer


class GrowingLayer(DynamicLayer):
    """One layer's keys and values, each (rows, heads, tokens, width), at the beginning of a longer tensor.

    A step writes its own token. transformers' layer concatenates instead: it copies all tokens before, at every step.
    """

    room = 128  # tokens by which a tensor that is full becomes longer

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self._buffers: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens; returns all of them."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        new = (key_states, value_states)
        if not self.is_initialized or end > self._buffers[0].shape[-2]:
            old = self._buffers
            self._buffers = [one.new_empty((*one.shape[:2], end + self.room, one.shape[-1])) for one in new]
            for buffer, before in zip(self._buffers, old, strict=False):
                buffer[:, :, :start] = before[:, :, :start]
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        for buffer, tokens in zip(self._buffers, new, strict=True):
            buffer[:, :, start:end] = tokens
        self._show(end)
        return self.keys, self.values

    def spread(self, columns: Tensor) -> None:
        """Make of one row many: token j of row i is the one row's token `columns[i, j]`."""
        columns = columns.to(self.device)
        self._buffers = [one[0][:, columns].transpose(0, 1) for one in (self.keys, self.values)]
        self._show(columns.shape[1])

    def take(self, rows: Tensor) -> None:
        """Replace the rows by those of these numbers, which may repeat."""
        rows = rows.to(self.device)
        self._buffers = [one.index_select(0, rows) for one in (self.keys, self.values)]
        self._show(self._buffers[0].shape[-2])

    def keep(self, rows: Sequence[int]) -> None:
        """Replace the rows by fewer, in place: row i stays, or takes the place of one that is left out, rows[i] >= len(rows)."""
        end = self.get_seq_length()
        moved = [place for place, row in enumerate(rows) if row != place]
        for buffer in self._buffers:
            if moved:
                buffer[moved, :, :end] = buffer[[rows[place] for place in moved], :, :end]
        self._buffers = [buffer[: len(rows)] for buffer in self._buffers]
        self._show(end)

    def _show(self, end: int) -> None:
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)


class GrowingCache(Cache):
    """Layers of `GrowingLayer` for a model whose layers all attend to keys and values.

    Layers with a sliding window keep all tokens too; the window is the mask's.
    """

    layers: list[GrowingLayer]

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=GrowingLayer)

    def spread(self, columns: Tensor) -> None:
        """See `GrowingLayer.spread`."""
        for layer in self.layers:
            layer.spread(columns)

    def take(self, rows: Tensor) -> None:
        """See `GrowingLayer.take`."""
        for layer in self.layers:
            layer.take(rows)

    def keep(self, rows: Sequence[int]) -> None:
        """See `GrowingLayer.keep`."""
        for layer in self.layers:
            layer.keep(rows)
