# Each line or function breaks one family of rules: E F I B UP D C90 PL RUF.
import sys
import json
from typing import List


def default(values: List[int] = []) -> bool:
    return values == None


def many(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> str:
    """Take too many arguments."""
    return "this line is much longer than it may be" + str(a) + str(b) + str(c) + str(d) + str(e) + str(f) + str(g) + str(h) + "."


def branches(n: int) -> int:
    """Branch eleven times."""
    if n == 1:
        return 1
    if n == 2:
        return 2
    if n == 3:
        return 3
    if n == 4:
        return 4
    if n == 5:
        return 5
    if n == 6:
        return 6
    if n == 7:
        return 7
    if n == 8:
        return 8
    if n == 9:
        return 9
    if n == 10:
        return 10
    return [0] + [n] and sys.maxsize
