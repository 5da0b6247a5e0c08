"""The library against a dictionary: whatever is done in whatever order, with crashes between, both say the same."""

import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from lightmeter.library import gc
from lightmeter.library.contents import Tag
from lightmeter.library.fsck import fsck
from lightmeter.library.store import open_library
from lightmeter.types import Item

NUMBERS = st.integers(0, 7)
DIM = 2


def content_id(number):
    return hashlib.sha256(b"%d" % number).hexdigest()


class CrashError(Exception):
    pass


class Against(RuleBasedStateMachine):
    """Model: path → content, content → feature value, removed contents, (path, tag) → score."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.library = open_library(self.folder, create=True)
        self.series = self.library.series("toy", "item", DIM)
        self.paths, self.values, self.tags = {}, {}, {}
        self.known, self.removed = set(), set()
        self.old_many, gc.MANY_SMALL = gc.MANY_SMALL, 4

    def teardown(self):
        self.library.close()
        health = fsck(self.folder)
        gc.MANY_SMALL = self.old_many
        shutil.rmtree(self.folder)
        assert health.problems == ()

    def key(self, number):
        return self.library.catalogue.value("SELECT key FROM items WHERE id = ?", (content_id(number),))

    def see(self, path, number):
        key = self.library.add_content(Item(content_id(number), "image", number))
        self.library.add_path(f"/{path}", key, size_bytes=number, mtime_ns=0)

    @rule(path=NUMBERS, number=NUMBERS)
    def see_a_file(self, path, number):
        self.see(path, number)
        old = self.paths.get(path)
        self.paths[path] = number
        self.known.add(number)
        self.removed.discard(number)
        if old is not None and old != number:
            self.tags = {(p, t): s for (p, t), s in self.tags.items() if p != path or s is None}
            if old not in self.paths.values():
                self.removed.add(old)

    @rule(value=st.integers(0, 99), count=st.integers(1, 3), replace=st.booleans())
    def encode(self, value, count, replace):
        numbers = sorted(n for n in self.known - self.removed if replace or n not in self.values)[:3]
        if not numbers:
            return
        owners = np.repeat([self.key(n) for n in numbers], count)
        self.library.append(self.series, owners, np.full((len(owners), DIM), value), replace=replace)
        self.values.update(dict.fromkeys(numbers, (value, count)))

    @rule(path=NUMBERS, tag=st.sampled_from("ab"), score=st.sampled_from([None, 0.25, 0.5]))
    def label(self, path, tag, score):
        if path in self.paths:
            self.library.set_tags([Tag(self.library.known_path(f"/{path}").key, tag, score, "toy")])
            if score is None or self.tags.get((path, tag), 1) is not None:
                self.tags[path, tag] = score

    @rule(number=NUMBERS)
    def remove(self, number):
        if number in self.known:
            self.library.remove([self.key(number)])
            self.removed.add(number)

    @rule(path=NUMBERS)
    def forget_path(self, path):
        if path in self.paths:
            self.library.forget_paths([self.library.known_path(f"/{path}").key])
            number = self.paths.pop(path)
            self.tags = {(p, t): s for (p, t), s in self.tags.items() if p != path}
            if number not in self.paths.values():
                self.removed.add(number)

    @rule()
    def collect(self):
        self.library.gc()
        self.paths = {path: number for path, number in self.paths.items() if number not in self.removed}
        self.tags = {(p, t): s for (p, t), s in self.tags.items() if p in self.paths}
        self.values = {number: value for number, value in self.values.items() if number not in self.removed}
        self.known -= self.removed
        self.removed = set()

    @rule()
    def compact(self):
        self.library.compact()

    @rule(path=NUMBERS, number=NUMBERS, again=st.booleans())
    def crash(self, path, number, again):
        """A batch that does not commit, and then the process is gone."""
        try:
            with self.library.transaction():
                self.see(path, number)
                owners = np.array([self.key(number)])
                self.library.append(self.series, owners, np.ones((1, DIM)), replace=True)
                raise CrashError
        except CrashError:
            pass
        if again:
            self.library.connection.close()
            self.library.catalogue.lock.release()
            self.library = open_library(self.folder, write=True)

    @invariant()
    def same(self):
        library, live = self.library, self.known - self.removed
        assert {each.size_bytes for each in library.items()} == live
        found = library.features("toy")
        for number in live:
            value, count = self.values.get(number, (0, 0))
            assert found.vectors[found.owners == self.key(number)].tolist() == [[value] * DIM] * count
        assert len(found) == sum(self.values[n][1] for n in live if n in self.values)
        assert set(library.missing("toy").tolist()) == {self.key(n) for n in live if n not in self.values}
        paths = {path.path: path for path in library.known_paths()}
        assert set(paths) == {f"/{path}" for path in self.paths}
        said = library.tags_of([path.key for path in paths.values()])
        assert {(t.path, t.tag): t.score for tags in said.values() for t in tags} == {
            (paths[f"/{path}"].key, tag): score for (path, tag), score in self.tags.items()
        }


def run(examples, steps):
    few = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Against, settings=few)


def test_library_is_a_dictionary():
    run(examples=8, steps=20)


@pytest.mark.slow
def test_library_is_a_dictionary_500_times():
    run(examples=500, steps=50)
