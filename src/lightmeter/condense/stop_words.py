"""English words that say nothing of a picture, and the words that captions are split into."""

from __future__ import annotations

import re

STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom this that these those am is are was were be been
    being have has had having do does did doing a an the and but if or because as until while of at by for with about
    against between into through during before after above below to from up down in out on off over under again further
    then once here there when where why how all any both each few more most other some such no nor not only own same so
    than too very s t can will just don should now d ll m o re ve y ain aren couldn didn doesn hadn hasn haven isn ma
    mightn mustn needn shan shouldn wasn weren won wouldn
    """.split()
)
"""The words of NLTK's English list that are letters only (Porter's list in Snowball, BSD, and what contractions leave).
Those with an apostrophe never meet a word here."""

_LETTERS = re.compile(r"[^\W\d_]+")
_SPLIT = (
    (r"[«“‘„`]+", " "),
    (r"(?i)'(?!re|ve|ll|m|t|s|d|n)(?=\w\b)", " "),
    (r"(?<!\.)\.(?=[\])}>\"'»”’ ]*(?:\s|$))", " "),
    (r"[:,](\D)", r" \1"),
    (r"[:,]$", " "),
    (r"\.{2,}|[;@#$%&?!*\u2012-\u2015\[\](){}<>\"»”’]|''|--", " "),
    (r"\s+", " "),
    (r"(?<=[^' ])(?:'[sSmMdD]|'ll|'LL|'re|'RE|'ve|'VE|n't|N'T|') ", "  "),
    (r"(?i)\b(?:can(?=not\b)|d(?='ye\b)|gim(?=me\b)|gon(?=na\b)|got(?=ta\b)|lem(?=me\b))", r"\g<0> "),
    (r"(?i)\b(?:more(?='n\b)|wan(?=na\s))", r"\g<0> "),
    (r"(?i) 't(?=(?:is|was)\b)", "  "),
)
_PUBLISHED = tuple((re.compile(pattern), to) for pattern, to in _SPLIT)


def words_of(text: str) -> list[str]:
    """Runs of letters, folded to one case, in order and as often as they stand.

    >>> words_of("A well-groomed Dog's ÉCLAIR, 2 of 3")
    ['a', 'well', 'groomed', 'dog', 's', 'éclair', 'of']
    """
    return _LETTERS.findall(text.casefold())


def published_words(text: str) -> list[str]:
    """The tokens of letters only, in lower case, of NLTK 3.8.1's `word_tokenize`: what the published code counts.

    A word with a hyphen, slash or digit in it is no token of letters and is lost; clitics are cut off.
    One difference: a full stop before a space always ends a sentence here; NLTK has learnt abbreviations.

    >>> published_words("The dog's well-groomed coat isn't black/white. It cannot sit (still)!")
    ['the', 'dog', 'coat', 'is', 'it', 'can', 'not', 'sit', 'still']
    """
    spaced = f" {text.strip()} "
    for pattern, to in _PUBLISHED:
        spaced = pattern.sub(to, spaced)
    return [word.lower() for word in spaced.split() if word.isalpha()]
