"""What the figures in `results/report.json` mean: one line a key, and the check that no key goes undocumented.

The one idea: a key is a path; `*` stands for any name, `[]` for each row of a list, `**` for anything below.
`python -m nexus_final.report_keys` prints the table of `docs/api/report.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

RUN = {
    "format": "version of this layout",
    "missing[]": "parts that this run has not measured (yet)",
    "not_finite[]": "keys whose measured value was infinite or not a number; they stand as null",
    "run.version": "version of Nexus",
    "run.seed": "seed of everything random",
    "run.quick": "whether it was a `--quick` run",
    "run.started": "when the run began (ISO 8601)",
    "run.finished": "when the report was made (ISO 8601)",
    "run.machine.cores": "processor cores that the run could use",
    "run.machine.memory": "main memory in bytes",
    "run.machine.device": "what the models ran on, for instance cpu",
    "run.machine.processor": "the processor's own name",
    "run.machine.platform": "operating system",
    "run.machine.python": "version of Python",
    "run.machine.torch": "version of torch",
    "run.machine.threads": "threads that torch used",
    "run.seconds.*": "seconds that each stage took",
    "run.config.**": "the run's settings, see `RunConfig`",
}
SOURCES = {
    "teacher.id": "the teacher's name in the registry",
    "teacher.path": "where it comes from",
    "teacher.params": "number of parameters (a count, or as the registry writes it)",
    "teacher.sha256": "SHA-256 of its weights",
    "teacher.license": "its licence, as stated by its authors",
    "teacher.others[]": "further teachers of the run",
    "data.sets[].name": "name of a text set",
    "data.sets[].kind": "prose or qa",
    "data.sets[].licence": "its licence, as far as known",
    "data.sets[].note": "what is in it",
    "data.sets[].splits.*.documents": "documents in each split",
    "data.sets[].splits.*.tokens": "tokens in each split, by the teacher's tokenizer",
}
PROFILE = {
    "profile.format": "version of the profile's layout",
    "profile.key": "hash of everything the profile follows from",
    "profile.model.**": "sizes of the profiled teacher, see `HybridConfig`",
    "profile.config.**": "how much was measured, see `ProfileConfig`",
    "profile.tokens.*": "tokens of each text used",
    "profile.seconds.*": "seconds of each step",
    "profile.attention_layers.recommended[]": "layers that stay attention in the student",
    "profile.attention_layers.method": "which placement was best on held-out text",
    "profile.attention_layers.*[]": "layers of each placement tried: greedy, single, even",
    "profile.windows.width": "tokens that one layer saw in the sensitivity sweep",
    "profile.windows.sinks": "first tokens that stayed visible",
    "profile.windows.kl[]": "KL to the full teacher when that layer alone sees the window, nats a token, one a layer",
    "profile.windows.rounds[].kl_before": "KL before a round of the greedy choice, nats a token",
    "profile.windows.rounds[].gain.*": "KL that leaving this layer attention saves, nats a token",
    "profile.windows.rounds[].chosen": "layer that the round chose",
    "profile.windows.comparison[].window": "width in all layers but the placed ones",
    "profile.windows.comparison[].placement": "which placement",
    "profile.windows.comparison[].kl": "KL to the full teacher on held-out text that is said twice, nats a token",
    "profile.windows.comparison[].ppl": "perplexity on that text",
    "profile.windows.comparison[].ratio": "perplexity over the full teacher's",
    "profile.layers.influence[]": "one minus the cosine between a layer's input and output",
    "profile.layers.*[].loss": "rise of the loss when this layer's part always says its mean, nats a token",
    "profile.layers.*[].kl": "KL to the full teacher then, nats a token",
    "profile.heads.score[]": "activation-aware score of each head, a row a layer",
    "profile.heads.switched_off[].layer": "layer of a head that was switched off alone",
    "profile.heads.switched_off[].index": "its number in the layer",
    "profile.heads.switched_off[].loss": "rise of the loss, nats a token",
    "profile.heads.switched_off[].kl": "KL to the full teacher, nats a token",
    "profile.mlp_groups.size": "channels in a group",
    "profile.mlp_groups.switched_off[].layer": "layer of a group of MLP channels that was switched off alone",
    "profile.mlp_groups.switched_off[].index": "its number in the layer",
    "profile.mlp_groups.switched_off[].loss": "rise of the loss, nats a token",
    "profile.mlp_groups.switched_off[].kl": "KL to the full teacher, nats a token",
    "profile.spectrum[].layer": "layer of a critical weight",
    "profile.spectrum[].matrix": "which matrix",
    "profile.spectrum[].full_rank": "its largest possible rank",
    "profile.spectrum[].stable_rank": "sum of squared singular values over the largest squared",
    "profile.spectrum[].effective_rank": "exp of the entropy of the squared singular values",
    "profile.spectrum[].rank_99": "directions that hold 99 % of the energy",
    "profile.circuit.share": "part of all heads, and of all groups, in the circuit",
    "profile.circuit.heads[]": "its heads as [layer, index]",
    "profile.circuit.mlp_groups[]": "its groups of MLP channels as [layer, index]",
    "profile.circuit.channels[]": "its MLP channels as [layer, [channels]]",
    "profile.circuit.test.passed": "whether the circuit passes and no shuffle does",
    "profile.circuit.test.required_ratio": "damage it has to do, in medians of the random sets",
    "profile.circuit.test.loss": "held-out loss of the whole teacher, nats a token",
    "profile.circuit.test.circuit.*": "`damage` (rise of the loss, nats), `ratio` to the median, `p_value`, `passed`",
    "profile.circuit.test.by_part.*": "damage of its heads alone and of its channels alone, nats",
    "profile.circuit.test.without_strongest.*": "the circuit's verdict without its strongest member",
    "profile.circuit.test.random.n": "random sets drawn, matched in size, layer and kind",
    "profile.circuit.test.random.median": "their median damage, nats",
    "profile.circuit.test.random.max": "their largest damage, nats",
    "profile.circuit.test.random.damage[]": "the damage of each, nats",
    "profile.circuit.test.shuffled[].*": "the same verdict for circuits of shuffled scores, which must fail",
    "profile.circuit.test.drawn_from": "what the random sets were drawn from",
    "profile.circuit.test.seed": "seed of the draw",
}
LEARNING = {
    "extraction.*.texts": "texts that a teacher was asked about",
    "extraction.*.tokens": "positions with a cached distribution of that teacher",
    "extraction.*.bytes": "size of the cache in bytes",
    "extraction.*.bytes_per_token": "bytes a position",
    "extraction.*.seconds": "seconds",
    "alignment.errors.*": "relative squared error of each converted layer: 0 is perfect, 1 says nothing",
    "alignment.errors_without_window.*": "the same in the student without window, whose layers were aligned further",
    "alignment.steps": "steps a layer",
    "alignment.steps_without_window": "steps a layer of the student without window",
    "alignment.texts": "texts used",
    "alignment.seconds": "seconds",
    "training.history[].step": "optimiser steps so far",
    "training.history[].loss": "distillation loss of the step, nats a token",
    "training.history[].grad_norm": "norm of the gradient before clipping",
    "training.history[].window": "window that the step was trained with, in tokens",
    "training.history[].*": "`ppl_window_W`: perplexity of a small held-out sample with window W",
    "training.steps": "optimiser steps",
    "training.tokens": "tokens seen, repeats counted",
    "training.seconds": "seconds",
    "training.windows[]": "windows that were learnt, in tokens; 0 in a set of weights of its own, the others in one",
    "training.parts.*.steps": "optimiser steps of each student: with windows, without any window",
    "training.parts.*.tokens": "tokens seen, repeats counted",
    "training.parts.*.seconds": "seconds, of the last go if it was interrupted",
    "training.parts.*.skipped": "samples and steps left out, for want of memory or for numbers that were none",
    "training.attention_layers.*[]": "layers that stay attention in each student",
    "training.settings.**": "see `TrainSettings`",
}
QUALITY = {
    "targets.ratio.*": "required: perplexity over the teacher's at most, by window",
    "targets.retained": "required: share of the teacher's accuracy and of its sound chat answers at least",
    "verdicts[].what": "what was required",
    "verdicts[].value": "what was measured",
    "verdicts[].target": "what it is held against",
    "verdicts[].at_most": "whether the target is an upper bound (else a lower one)",
    "verdicts[].passed": "whether it was reached",
    "perplexity.sets.*.*.teacher": "the teacher's perplexity on a held-out set at a length in tokens",
    "perplexity.sets.*.*.blocks": "blocks of that length measured",
    "perplexity.sets.*.*.windows.*.ppl": "the student's perplexity with a window, in the same run",
    "perplexity.sets.*.*.windows.*.ratio": "student over teacher",
    "perplexity.sets.*.*.windows.*.ratio_low": "lower end of its 95 % interval, paired over blocks",
    "perplexity.sets.*.*.windows.*.ratio_high": "upper end",
    "generation.window": "the student's window in tokens",
    "generation.sets.*.n": "questions of a held-out set, answered by generation",
    "generation.sets.*.teacher": "share that the teacher answers correctly",
    "generation.sets.*.student": "share that the student answers correctly",
    "generation.sets.*.retained": "student over teacher",
    "generation.sets.*.chance": "share that guessing gets right",
    "generation.details.retained_interval.*[]": "95 % interval of what is kept, paired over questions",
    "generation.details.verdicts.*.*": "chat answers by model and verdict: good, empty, loops, breaks off",
    "generation.details.seconds.*.*": "seconds by model and set",
    "generation.details.chat_tokens": "longest chat answer, in tokens",
    "generation.chat.n": "chat prompts answered greedily",
    "generation.chat.teacher": "share of the teacher's answers that neither loop nor break off",
    "generation.chat.student": "the student's share",
    "generation.chat.retained": "student over teacher",
}
CONTEXT = {
    "context.lengths[]": "tokens read before the measured step",
    "context.prefill_up_to": "longest text that was really read; longer states are filled with random numbers",
    "context.steps": "decode steps whose median counts",
    "context.threads": "threads of torch",
    "context.note": "how longer states were made",
    "context.models.*.plan": "layer kinds: A attention, M state space, W state space and window",
    "context.models.*.window": "width of the window in tokens, null without such layers",
    "context.models.*.parameters": "number of parameters",
    "context.models.*.dtype": "number format",
    "context.models.*.device": "what it ran on",
    "context.models.*.rows[].tokens": "tokens read",
    "context.models.*.rows[].bytes": "bytes of the decode state",
    "context.models.*.rows[].bytes_attention": "of these, in attention layers",
    "context.models.*.rows[].bytes_other": "of these, in all other layers",
    "context.models.*.rows[].decode_seconds": "median seconds a decoded token",
    "context.models.*.rows[].prefill_seconds_per_token": "seconds a token read, mean from the start; null if none was",
    "context.models.*.rows[].prefilled": "whether the text was really read",
}
ROUTER = {
    "router.macro_f1": "F1 on held-out paraphrases, mean over intents",
    "router.accuracy": "share of right intents",
    "router.ece": "expected calibration error",
    "router.abstain": "share of held-out questions on which it abstains",
    "router.intents[]": "names of the intents",
    "router.n.*": "examples in each split",
    "router.texts": "texts that it was judged on",
    "router.nll": "negative log-likelihood, nats a text",
    "router.temperature": "temperature that calibrates it",
    "router.threshold": "confidence below which it abstains",
    "router.depth": "after which block of the student it looks",
    "router.tried[].**": "figures on held-out texts of each depth tried",
    "router.seed": "seed of its training",
    "router.answered.coverage": "share of the intents proper that it answers",
    "router.answered.accuracy": "share right of what it answers",
    "router.beats_all": "whether its macro-F1 is above every baseline's",
    "router.flip_rate": "share of answers that typing slips change",
    "router.flip_rate_answered": "the same among texts that it answers",
    "router.abstention.aurc": "area under the risk-coverage curve, lower is better",
    "router.abstention.curve[].coverage": "share of texts answered, the surest first",
    "router.abstention.curve[].risk": "share wrong among them",
    "router.confusion.labels[]": "intents in the order of the rows",
    "router.confusion.rows[]": "counts: a row an intent, a column what was said",
    "router.settings.**": "see `RouterSettings`",
    "router.baselines.*.*": "the same figures of majority, TF-IDF with logistic regression, nearest neighbour",
    "router.reliability[].confidence": "mean confidence in a bin",
    "router.reliability[].accuracy": "share right in the bin",
    "router.reliability[].count": "answers in the bin",
    "router.seconds": "seconds of training",
}
RELEASE = {
    "release.window": "the released student's window in tokens",
    "release.why": "why this window",
    "release.folder": "where the release lies",
    "release.files.*": "bytes of each file",
    "release.parameters": "number of parameters",
    "release.hf.folder": "where the student without windows in the exportable layout lies, below the release",
    "release.hf.checked": "what was checked of it",
    "release.candidates.*.*": "figures of each window that was weighed",
}
KEYS: dict[str, str] = {
    **RUN, **SOURCES, **PROFILE, **LEARNING, **QUALITY, **CONTEXT, **ROUTER, **RELEASE,
}  # fmt: skip


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every figure below `value`, list rows as `[]`; empty mappings and lists have none."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            # A name may hold dots itself (a file's does): only its place in the path counts.
            yield from leaves(inner, f"{path}.{str(name).replace('.', '_')}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            if isinstance(inner, Mapping):
                yield from leaves(inner, f"{path}[]")
            else:
                yield f"{path}[]"
    else:
        yield path


def undocumented(report: Mapping[str, Any]) -> list[str]:
    """Paths in a report that no line of `KEYS` stands for, each once, in order."""
    known = [_pattern(key) for key in KEYS]
    return [path for path in dict.fromkeys(leaves(report)) if not any(p.fullmatch(path) for p in known)]


def _pattern(key: str) -> re.Pattern[str]:
    text = re.escape(key).replace(r"\.\*\*", r"\..+").replace(r"\*", r"[^.\[\]]+")
    return re.compile(re.sub(r"\\\[\\\]$", r"(\\[\\])?", text))  # null may stand where a list could not be measured


def keys_table() -> str:
    """All keys as a Markdown table."""
    rows = [f"| `{key}` | {meaning} |" for key, meaning in KEYS.items()]
    return "\n".join(["| key | meaning and unit |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(keys_table(), end="")
