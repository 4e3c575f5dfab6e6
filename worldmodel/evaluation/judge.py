"""Judge: a program of the user's that looks at pictures: a detector, or a model that answers or grades.

It is started once, without a shell, as a process of its own (with an environment of its own, if its command
says so): requests come as JSON lines on its standard input, and it writes one JSON object a request to its
standard output, in any order, each with the `id` of its request. What it writes to standard error is shown.
Requests and answers are kept beside the results. A run without a judge takes the answers that are there, if
they are to the same requests: scoring again costs nothing, and answers may be made elsewhere.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_tools.whole_file import write_text

REQUESTS = "requests.jsonl"
ANSWERS = "answers.jsonl"

Request = Mapping[str, object]
Answer = Mapping[str, object]


def judged(
    requests: Sequence[Request], out: Path, *, command: Sequence[str] | None, timeout_s: float
) -> dict[str, Answer] | None:
    """Return the answer to each request by its `id`; None if there is neither a judge nor its answers.

    Args:
        requests: JSON objects, each with an `id` of its own.
        out: Folder that keeps them and the answers.
        command: Program and arguments; None takes the answers that lie in `out`.
        timeout_s: Time for all requests together [s].

    Returns:
        The answers, one for every request.
    """
    lines = "".join(json.dumps(request, sort_keys=True) + "\n" for request in requests)
    kept = out / ANSWERS
    if command is None:
        if not kept.is_file():
            write_text(out / REQUESTS, lines)
            return None
        asked = out / REQUESTS
        if asked.is_file() and asked.read_text(encoding="utf-8") != lines:
            raise ValueError(
                f"{kept} answers other requests than those of this run; delete it, or give another `out`"
            )
        return parse_answers(kept.read_text(encoding="utf-8"), requests, origin=str(kept))
    write_text(out / REQUESTS, lines)
    answers = _run(command, lines, timeout_s=timeout_s)
    parsed = parse_answers(answers, requests, origin=" ".join(command))
    write_text(kept, answers)
    return parsed


def parse_answers(text: str, requests: Sequence[Request], *, origin: str) -> dict[str, Answer]:
    """Return answers by `id`; ValueError unless they are JSON lines that answer every request once."""
    answers: dict[str, Answer] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            name = content["id"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{origin}, answer line {number}: needed a JSON object with the `id` of its request, got "
                f"{line[:80]!r}; a judge writes everything else to standard error"
            ) from error
        if name in answers:
            raise ValueError(f"{origin} answered {name!r} twice")
        answers[name] = content
    wanted = {str(request["id"]) for request in requests}
    if answers.keys() != wanted:
        missing, strange = sorted(wanted - answers.keys()), sorted(answers.keys() - wanted)
        raise ValueError(
            f"{origin}: needed an answer to each of {len(wanted)} requests; {len(missing)} have none "
            f"{missing[:3]}, {len(strange)} were never asked {strange[:3]}"
        )
    return answers


def _run(command: Sequence[str], lines: str, *, timeout_s: float) -> str:
    try:
        done = subprocess.run(
            list(command), input=lines, stdout=subprocess.PIPE, text=True, timeout=timeout_s, check=True
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no program {command[0]} to judge with; give judge=[PROGRAM,ARGUMENT,...]"
        ) from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            f"the judge {' '.join(command)} ended with status {error.returncode}; its message is above, and "
            "the pictures are kept"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(
            f"the judge {' '.join(command)} was not done after {timeout_s} s; raise judge_timeout_s"
        ) from error
    return done.stdout
