"""Speed and size of an extraction from a resident teacher, and where the time goes.

    python benchmarks/extraction.py --teacher FOLDER --tokens 2048

Random tokens; one JSON line. With one thread the times are the process's own CPU time, so that neighbours on the
machine disturb less; with more they are the wall's.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from nexus.inference.bridge import load_hf_folder
from nexus_final.librarian import Librarian
from nexus_final.teacher_source import ResidentTeacher


def main() -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=2_048)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    model = load_hf_folder(options.teacher)
    teacher = ResidentTeacher.of(model, clock=clock)
    ids = torch.randint(model.config.vocab_size, (options.tokens // options.length, options.length))
    with tempfile.TemporaryDirectory() as folder:
        start = clock()
        report = Librarian(folder).extract(teacher, ids)
        seconds = clock() - start
    parts = dict(teacher.seconds)
    parts["rest"] = seconds - sum(parts.values())
    result = {
        "threads": options.threads,
        "tokens": report.tokens,
        "tokens_per_second": round(report.tokens / seconds, 1),
        "share": {name: round(value / seconds, 4) for name, value in parts.items()},
        "microseconds_per_token": {name: round(value / report.tokens * 1e6, 1) for name, value in parts.items()},
        "bytes_per_token": round(report.bytes_per_token, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
