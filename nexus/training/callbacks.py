"""What may listen to a run: callbacks, and the loggers (terminal, JSON lines, text, TensorBoard) that are callbacks.

The one idea: the trainer reports one flat row of numbers for each logged step and each evaluation; all listeners get
the same row.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus.training.loop import Trainer

Row = Mapping[str, Any]
LOG = logging.getLogger("nexus.train")


class Callback:
    """Does nothing; override what you want to hear of."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step."""

    def on_step(self, trainer: Trainer, row: Row) -> None:
        """After a logged step."""

    def on_evaluate(self, trainer: Trainer, row: Row) -> None:
        """After an evaluation."""

    def on_save(self, trainer: Trainer, folder: Path) -> None:
        """After a checkpoint."""

    def on_end(self, trainer: Trainer) -> None:
        """When the run is over, also when it fails or is interrupted."""


class JSONLLogger(Callback):
    """One JSON line for each row, appended; readable while the run goes on."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None

    def on_start(self, trainer: Trainer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            _drop_rows_after(self.path, trainer.step)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  # open for the length of the run

    def on_step(self, trainer: Trainer, row: Row) -> None:
        assert self._file is not None
        self._file.write(json.dumps({k: _storable(v) for k, v in row.items()}) + "\n")
        self._file.flush()

    def on_evaluate(self, trainer: Trainer, row: Row) -> None:
        self.on_step(trainer, row)

    def on_end(self, trainer: Trainer) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _drop_rows_after(path: Path, step: int) -> None:
    """A resumed run writes the rows after its checkpoint again; the first ones would stand twice."""
    from nexus.core.files import atomic_write

    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line).get("step", 0) <= step:
                kept.append(line)
        except ValueError:  # the line a kill cut short
            continue
    with atomic_write(path) as handle:
        handle.write("".join(f"{line}\n" for line in kept).encode())


def _storable(value: Any) -> Any:
    # JSON has no NaN; as text it stays readable for every other program
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class TextLogger(Callback):
    """Rows as ``key=value`` lines on the logger ``nexus.train``, which `logs/train.log` collects."""

    def on_step(self, trainer: Trainer, row: Row) -> None:
        LOG.info("%s", " ".join(f"{key}={_short(value)}" for key, value in row.items()))

    def on_evaluate(self, trainer: Trainer, row: Row) -> None:
        self.on_step(trainer, row)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class ConsoleLogger(Callback):
    """A progress bar with loss, rate and tokens a second."""

    def __init__(self, console: Any = None) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None
        self._since = 0.0

    def on_start(self, trainer: Trainer) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console)
        self._task = self._bar.add_task("starting", total=trainer.config.steps, completed=trainer.step)
        self._bar.start()
        self._since = time.perf_counter()

    def on_step(self, trainer: Trainer, row: Row) -> None:
        text = f"loss {row['loss']:.4f}  rate {row['learning_rate']:.2e}  {row['tokens_per_second']:.0f} tokens/s"
        self._bar.update(self._task, completed=trainer.step, description=text)

    def on_evaluate(self, trainer: Trainer, row: Row) -> None:
        found = "  ".join(f"{key} {value:.4f}" for key, value in row.items() if isinstance(value, float))
        self._bar.console.print(f"step {trainer.step}: {found}", markup=False)

    def on_end(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._bar.stop()


class TensorBoardLogger(Callback):
    """Scalars for TensorBoard; a run that is taken up again writes over what it does anew.

    Raises:
        ImportError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoardLogger needs tensorboard; pip install 'nexus-ai[tensorboard]'") from error
        self._make, self._folder = SummaryWriter, str(folder)
        self._writer: Any = None

    def on_start(self, trainer: Trainer) -> None:
        self._writer = self._make(self._folder, purge_step=trainer.step + 1)

    def on_step(self, trainer: Trainer, row: Row) -> None:
        for key, value in row.items():
            if isinstance(value, (int, float)) and key != "step":
                self._writer.add_scalar(key, value, trainer.step)

    def on_evaluate(self, trainer: Trainer, row: Row) -> None:
        self.on_step(trainer, row)

    def on_end(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()


class EarlyStopping(Callback):
    """Stop after ``patience`` evaluations in a row that were no better; the count is saved with the run."""

    def __init__(self, patience: int) -> None:
        self.patience, self.waited = patience, 0

    def on_evaluate(self, trainer: Trainer, row: Row) -> None:
        self.waited = 0 if row["best"] else self.waited + 1
        if self.waited >= self.patience:
            trainer.stop(f"no better evaluation in {self.waited}")

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"waited": self.waited}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Set the count."""
        self.waited = int(state["waited"])
