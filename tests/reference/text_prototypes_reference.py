"""Text prototypes in the plainest way, over words that are given: nothing is counted before it is needed."""

from __future__ import annotations

from lightmeter.condense.stop_words import STOP_WORDS


def plain_prototypes(captions, split, members, *, beta, top, in_name, has, told):
    """(text, row, score, words) a cluster: `split` are the words of each caption, `has(row, word)` finds one."""
    every = {word for words in split for word in words}
    common = [word for word in every if sum(word in words for words in split) >= beta * told]
    dull = [word for word in every if word in STOP_WORDS or word in common or in_name(word)]
    made = []
    for rows in members:
        left = [word for row in rows for word in split[row] if word not in dull]
        once = list(dict.fromkeys(left))
        words = sorted(once, key=lambda word: -left.count(word))[:top]
        best, score = -1, 0
        for row in rows:
            own = sum(left.count(word) for word in words if has(row, word))
            if own > score:
                best, score = row, own
        made.append(
            (captions[best] if best >= 0 else "", best, score, tuple((word, left.count(word)) for word in words))
        )
    return made
