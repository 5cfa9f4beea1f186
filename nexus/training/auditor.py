"""The auditor's tools under one name; they live in :mod:`nexus.training.audit`, one idea a file.

"If you don't audit the gradients, you are training on hope."
"""

from __future__ import annotations

from nexus.training.audit.classes import (
    classify_convergence,
    classify_gradient_norm,
    classify_update_ratio,
    update_ratio,
)
from nexus.training.audit.diagnosis import diagnose
from nexus.training.audit.findings import Finding
from nexus.training.audit.journal import write_journal_entry, write_smoke_test
from nexus.training.audit.live import watch
from nexus.training.audit.page import write_page
from nexus.training.audit.probes import can_overfit_one_batch, learning_rate_range_test, sees_future
from nexus.training.audit.record import Record, read_record
from nexus.training.audit.replay import Origin, find_origin
from nexus.training.audit.shapes import ShapeError, check_shapes
from nexus.training.audit.syncs import Sync, find_device_syncs
from nexus.training.audit.watch import Auditor, Seen

__all__ = [
    "Auditor",
    "Finding",
    "Origin",
    "Record",
    "Seen",
    "ShapeError",
    "Sync",
    "can_overfit_one_batch",
    "check_shapes",
    "classify_convergence",
    "classify_gradient_norm",
    "classify_update_ratio",
    "diagnose",
    "find_device_syncs",
    "find_origin",
    "learning_rate_range_test",
    "read_record",
    "sees_future",
    "update_ratio",
    "watch",
    "write_journal_entry",
    "write_page",
    "write_smoke_test",
]
