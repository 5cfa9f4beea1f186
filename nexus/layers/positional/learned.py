"""Learned absolute positions.

The one idea: a table with a row for every position up to a longest one, trained like the words' table. Papers: Gehring
et al. 2017 (arXiv:1705.03122); Devlin et al. 2018 (arXiv:1810.04805), section 3.
"""

import torch
from torch import Tensor, nn


class LearnedEncoding(nn.Module):
    """Rows of a table.

    Args:
        max_length: rows. d_model: channels.
        std: of the start, 0.02 in BERT and GPT-2.
        offset: rows at the front that are no position (OPT and BART keep 2 for padding).
    """

    def __init__(self, max_length: int, d_model: int, std: float = 0.02, offset: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_length + offset, d_model) * std)
        self.max_length, self.offset = max_length, offset

    def forward(self, positions: Tensor) -> Tensor:
        """Encode ``positions`` (...) as (..., D).

        Raises:
            ValueError: a position has no row; a table cannot answer for what it never saw.
        """
        if positions.numel() and not 0 <= int(positions.min()) <= int(positions.max()) < self.max_length:
            raise ValueError(
                f"positions {int(positions.min())} to {int(positions.max())}: the table has rows 0 to "
                f"{self.max_length - 1}; make max_length larger, or resize()"
            )
        return nn.functional.embedding(positions + self.offset, self.weight)

    @torch.no_grad()
    def resize(self, max_length: int) -> None:
        """Stretch the table to another length by linear interpolation, a start for fine-tuning on longer texts."""
        head, rows = self.weight[: self.offset], self.weight[self.offset :]
        rows = nn.functional.interpolate(rows.T[None], size=max_length, mode="linear", align_corners=True)[0].T
        self.weight = nn.Parameter(torch.cat((head, rows)))
        self.max_length = max_length
