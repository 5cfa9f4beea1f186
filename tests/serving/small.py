"""What the tests of the server share: a tiny release in double precision, and a batch that is stepped by hand."""

from contextlib import contextmanager

from fastapi.testclient import TestClient

from nexus.inference.generation import generate
from nexus.inference.release import GenerationDefaults, Release
from nexus.inference.sampling import Sampling
from nexus.serving.app import make_app
from nexus.serving.batch import Ask, Batch
from nexus.serving.engine import Engine
from tests.tiny_release import speak_ascii, text_tokenizer, tiny_model

END = 258
MODEL = {"plan": "MWMA"}


def release_of(folder=None, **changes):
    model = speak_ascii(tiny_model(**{**MODEL, **changes}).double())
    return Release(model, text_tokenizer(), GenerationDefaults(eos_ids=(END,)), folder)


def free_release(folder=None, **changes):
    """A release whose model may say any id: for texts that a grammar holds in form."""
    model = tiny_model(**{**MODEL, **changes}).double()
    return Release(model, text_tokenizer(), GenerationDefaults(eos_ids=(END,)), folder)


@contextmanager
def served(release=None, keys=(), limits=None, audit=None, **options):
    """A client of the application, without a socket."""
    engine = Engine(release or release_of(), **options)
    app = make_app(engine, keys=keys, limits=limits, audit=audit)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        client.engine = engine
        yield client


def alone(release, prompt, new=12, sampling=None):
    """The text of an answer read and written in one go, by the code that knows nothing of serving."""
    (ids,) = generate(release.model, [prompt], max_new_tokens=new, eos_ids=(END,), sampling=sampling)
    return release.tokenizer.decode(ids)


class Answers:
    """Collects the pieces of several requests to one batch."""

    def __init__(self, release, **options):
        self.batch = Batch(release, **options)
        self.pieces, self.rows = [], []

    def ask(self, prompt, new=12, sampling=None, **options):
        got = []
        ask = Ask(prompt=list(prompt), max_new_tokens=new, sampling=sampling or Sampling(temperature=0.0), **options)
        row = self.batch.row(ask, got.append)
        self.batch.waiting.append(row)
        self.pieces.append(got)
        self.rows.append(row)
        return len(self.rows) - 1

    def run(self):
        while self.batch.busy:
            self.batch.step()
        return [self.text(i) for i in range(len(self.rows))]

    def text(self, i):
        return "".join(piece.text for piece in self.pieces[i])
