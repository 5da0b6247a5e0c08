"""Seeded mutants of good files through the command line: each ends with a state, and no worker dies of one."""

from collections import Counter

import attack
import pytest
from test_corpora import OWN_SIGNS
from test_mutants import mutant, seeds

COUNT, FIRST_SEED = 2000, 10_000


@pytest.mark.slow
def test_two_thousand_mutants_through_the_command_line(tmp_path):
    folder, library, events = tmp_path / "media", tmp_path / "library", tmp_path / "events"
    good = seeds()
    assert len(good) == 12
    attack.pictures(folder / "good", 50)
    for seed in range(FIRST_SEED, FIRST_SEED + COUNT):
        form = sorted(good)[seed // 4 % len(good)]
        (folder / f"{seed}.{form}").write_bytes(mutant(good[form], seed))
    process = attack.start(*attack.index_args(folder, library, "--encoder", "log-mel", "--json", "--events", events))
    watch = attack.Watch(process.pid)
    ran = attack.finish(process, timeout_s=1800)
    watch.join()
    assert ran.code == 3, ran.err
    ends = attack.outcomes(library, folder)
    assert len(ends) == COUNT + 50
    assert all(end == "ok" for name, end in ends.items() if name.startswith("good/"))
    assert not OWN_SIGNS & set(ends.values()), {name: end for name, end in ends.items() if end in OWN_SIGNS}
    assert '"restart"' not in events.read_text()
    assert watch.peak_bytes < 1 << 30
    attack.assert_sound(library)
    attack.keep_figures(
        "mutants", files=COUNT, formats=sorted(good), seed=FIRST_SEED, worker_restarts=0,
        outcomes=dict(sorted(Counter(end for name, end in ends.items() if "/" not in name).items())),
        peak_worker_mb=round(watch.peak_bytes / 1e6),
    )  # fmt: skip
