"""VqaAccuracy: how right an answer is that ten people have answered, by the rules of VQA.

    accuracy = mean over people of min(number of the others who gave this answer / 3, 1)

If people disagree, theirs and the answer are brought to one form first: no punctuation, lower case, numbers
as digits, no articles, contractions with their apostrophes.

Source: VQA (arXiv 1505.00468) and its evaluation code (github.com/GT-Vision-Lab/VQA, `vqaEval.py`), of which
this is another writing; its list of contractions contains a few slips that are not repeated.
"""

import re
from collections.abc import Sequence

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll "
    "how's i'm i've isn't it'd it'll let's ma'am might've mightn't must've mustn't needn't not've o'clock "
    "oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd "
    "something'll that's there'd there're there's they'd they'll they're they've 'twas wasn't we've weren't "
    "what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're "
    "why's won't would've wouldn't y'all you'd you'll you're you've"
).split()
_WITH_APOSTROPHE = {word.replace("'", ""): word for word in _CONTRACTIONS}
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")


def without_punctuation(text: str) -> str:
    """Return a text without punctuation.

    A mark beside a space goes, one inside a word becomes a space; with a comma between digits all just go.
    """
    result = text
    for mark in _PUNCTUATION:
        is_beside_space = f"{mark} " in text or f" {mark}" in text
        gone = is_beside_space or _COMMA_IN_NUMBER.search(text) is not None
        result = result.replace(mark, "" if gone else " ")
    return _PERIOD.sub("", result)


def normalise(text: str) -> str:
    """Return the form in which answers are compared."""
    words = without_punctuation(re.sub(r"[\n\t]", " ", text).strip()).lower().split()
    numbered = (_DIGITS.get(word, word) for word in words)
    kept = (word for word in numbered if word not in _ARTICLES)
    return " ".join(_WITH_APOSTROPHE.get(word, word) for word in kept)


def accuracy(answer: str, people: Sequence[str]) -> float:
    """Return the accuracy of an answer, given those of at least one person."""
    if not people:
        raise ValueError("needed the answer of at least one person, got none")
    said, own = [re.sub(r"[\n\t]", " ", each).strip() for each in people], answer.strip()
    if len(set(said)) > 1:
        said, own = [normalise(each) for each in said], normalise(own)
    matches = [each == own for each in said]
    total = sum(matches)
    return sum(min((total - match) / 3, 1.0) for match in matches) / len(matches)
