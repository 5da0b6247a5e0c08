"""Queries that no gallery answers: the null against which a search by words is calibrated.

Three kinds in equal parts, because each fails differently: abstract phrases (nothing to see), small talk and requests
(grammar without a subject), and pseudo-words drawn from a seeded syllable generator (no meaning at all). They were
written once and not tuned on any result.
"""

from __future__ import annotations

import random

ABSTRACT = """
interest rate decision|freedom of contract|annual general meeting|terms and conditions apply|the second law of
thermodynamics|inflation expectations|a change of opinion|moral philosophy|yesterday's decision|currency exchange
regulations|statute of limitations|the cost of living|jurisprudence|an unresolved question|proof by induction|employment
contract clause|a sense of duty|the rules of grammar|net present value|constitutional amendment|the theory of
knowledge|budget deficit|customs declaration procedure|privacy policy update|an abstract algebra lemma|insurance
premium calculation|semantic versioning|a matter of principle|peer review process|the burden of proof|logical
fallacy|collective bargaining|due diligence checklist|monetary policy|an awkward silence|the history of
ideas|probability theory|tax deductible expense|electoral reform|compound interest|a broken promise|legal
precedent|the categorical imperative|supply and demand|metadata schema|the speed of thought|quarter to nine|a vague
premonition|licence agreement|the future perfect tense
""".replace("\n", " ")

SMALL_TALK = """
how are you today|please call me back later|thank you very much indeed|what time does it start|I completely
disagree|see you next week|could you repeat that|never mind then|that is not what I meant|let me think about
it|sorry for the delay|to whom it may concern|as discussed in our last meeting|kind regards|which one would you
prefer|it depends on the context|could have been worse|why not both|remind me tomorrow|that makes no sense|I have
forgotten the password|what do you mean by that|more or less|once upon a time|no further questions|when is the
deadline|how much does it weigh|let us agree to disagree|is this still available|we regret to inform you|unsubscribe
me|what happened next|nobody knows for certain|all things considered|it could be anything|where did I leave it|on the
other hand|the answer is seven|best before the end|not in the mood|you must be joking|that was a long time ago|who
is responsible|same as last year|just in case|it is none of your business|I beg to differ|so far so good|say it
again|happy to help
""".replace("\n", " ")

_ONSETS = "b bl br d dr f fl g gl gr j k kl kr l m n p pl pr qu r s sk sl sn st t tr v w x z zh".split()
_VOWELS = "a e i o u oo ai ea y".split()
_CODAS = ["", "b", "d", "g", "k", "l", "m", "n", "p", "rt", "sk", "t", "x", "zz"]


def unrelated_queries(seed: int = 0) -> tuple[str, ...]:
    """150 queries: 50 abstract phrases, 50 of small talk, 50 of pseudo-words (one or two words each).

    >>> len(unrelated_queries()), unrelated_queries()[0]
    (150, 'interest rate decision')
    """
    written = [phrase.strip() for text in (ABSTRACT, SMALL_TALK) for phrase in text.split("|")]
    drawn = random.Random(seed)

    def word() -> str:
        return "".join(
            drawn.choice(_ONSETS) + drawn.choice(_VOWELS) + drawn.choice(_CODAS) for _ in range(drawn.choice((1, 2, 2)))
        )

    return (*written, *(" ".join(word() for _ in range(drawn.choice((1, 2)))) for _ in range(50)))
