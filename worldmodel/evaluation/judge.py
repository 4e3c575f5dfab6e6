"""Judge: a program of the user's that looks at pictures: a detector, or a model that answers or grades.

It is started once, without a shell, as a process of its own (with an environment of its own, if its command
says so): requests come as JSON lines on its standard input, and it writes one JSON object a request to its
standard output, in any order, each with the `id` of its request. What it writes to standard error is shown.
Requests and answers are kept beside the results, each answer as it comes: a judge that died is asked the rest
when it is started again. A run without a judge takes the answers that are there, if they are to the same
requests: scoring again costs nothing, and answers may be made elsewhere.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, Timer

from data_tools.whole_file import write_text

REQUESTS = "requests.jsonl"
ANSWERS = "answers.jsonl"
PARTIAL = "answers.partial.jsonl"
"""Answers of a judge that has not answered everything yet."""
JUDGE = "judge.json"
"""The command whose answers are kept."""

Request = Mapping[str, object]
Answer = Mapping[str, object]


def judged(
    requests: Sequence[Request], out: Path, *, command: Sequence[str] | None, timeout_s: float
) -> dict[str, Answer] | None:
    """Return the answer to each request by its `id`; None if there is neither a judge nor its answers.

    Answers to other requests, or of another command, are removed before a judge is asked.

    Args:
        requests: JSON objects, each with an `id` of its own.
        out: Folder that keeps them and the answers.
        command: Program and arguments; None takes the answers that lie in `out`.
        timeout_s: Time for all requests together [s].

    Returns:
        The answers, one for every request.
    """
    lines = "".join(json.dumps(request, sort_keys=True) + "\n" for request in requests)
    kept, asked = out / ANSWERS, out / REQUESTS
    if command is None:
        if not kept.is_file():
            _begin(out, lines, None)
            return None
        if asked.is_file() and asked.read_text(encoding="utf-8") != lines:
            raise ValueError(
                f"{kept} answers other requests than those of this run; delete it, or give another `out`"
            )
        return parse_answers(kept.read_text(encoding="utf-8"), requests, origin=str(kept))
    check_judge(command)
    _begin(out, lines, command)
    if kept.is_file():
        print(f"all requests are answered already; delete {kept} to ask again", file=sys.stderr)
    else:
        partial = out / PARTIAL
        _ask_rest(requests, partial, command=command, timeout_s=timeout_s)
        parse_answers(partial.read_text(encoding="utf-8"), requests, origin=" ".join(command))
        partial.replace(kept)
    return parse_answers(kept.read_text(encoding="utf-8"), requests, origin=str(kept))


def check_judge(command: Sequence[str]) -> None:
    """Refuse a command that cannot be started: ValueError for an empty one, else FileNotFoundError."""
    if not command:
        raise ValueError(
            "needed a program to judge with, got an empty list; give judge=[PROGRAM,ARGUMENT,...]"
        )
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(
            f"no program {command[0]} to judge with that may be executed; give judge=[PROGRAM,ARGUMENT,...], "
            "for a script its interpreter first"
        )


def parse_answers(text: str, requests: Sequence[Request], *, origin: str) -> dict[str, Answer]:
    """Return answers by `id`; ValueError unless they are JSON lines that answer every request once."""
    answers: dict[str, Answer] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, content = _parse(line, origin=f"{origin}, answer line {number}")
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


def _parse(line: str, *, origin: str) -> tuple[str, Answer]:
    try:
        content = json.loads(line)
        return str(content["id"]), content
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{origin}: needed a JSON object with the `id` of its request, got {line[:80]!r}; a judge writes "
            "everything else to standard error"
        ) from error


def _begin(out: Path, lines: str, command: Sequence[str] | None) -> None:
    """Write what is asked, and of whom; answers to anything else go first, so that none passes for one."""
    asked, judge = out / REQUESTS, out / JUDGE
    name = json.dumps(None if command is None else list(command))
    is_same = asked.is_file() and asked.read_text(encoding="utf-8") == lines
    is_of_judge = judge.is_file() and judge.read_text(encoding="utf-8") == name
    if is_same and (command is None or is_of_judge):
        return
    for path in (out / ANSWERS, out / PARTIAL, judge):
        path.unlink(missing_ok=True)
    write_text(asked, lines)
    if command is not None:
        write_text(judge, name)


def _ask_rest(
    requests: Sequence[Request], partial: Path, *, command: Sequence[str], timeout_s: float
) -> None:
    """Ask what has no answer in a file yet, and append the answers to it, each as it comes."""
    text = partial.read_text(encoding="utf-8") if partial.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # without a line that was cut short
    write_text(partial, whole)
    done = {_parse(line, origin=str(partial))[0] for line in whole.split("\n") if line}
    rest = {str(request["id"]): request for request in requests if str(request["id"]) not in done}
    if done:
        print(f"{len(done)} of {len(requests)} requests are answered already", file=sys.stderr)
    if rest:
        with partial.open("a", encoding="utf-8") as kept:
            _run(command, rest, kept, timeout_s=timeout_s)


def _run(
    command: Sequence[str], requests: dict[str, Request], kept: io.TextIOBase, *, timeout_s: float
) -> None:
    origin = f"the judge {' '.join(command)}"
    try:
        # A group of its own: a judge may be a script that starts others, and all of them are to end with it.
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
    except OSError as error:
        raise RuntimeError(f"{origin} cannot be started: {error}") from error
    assert process.stdout is not None
    lines = "".join(json.dumps(request, sort_keys=True) + "\n" for request in requests.values())
    # Fed beside: a judge may answer before it has read everything, and pipes hold little.
    feeder = Thread(target=_feed, args=(process, lines), daemon=True)
    is_late = Event()

    def stop() -> None:
        is_late.set()
        _end(process)

    timer = Timer(timeout_s, stop)
    try:
        feeder.start()
        timer.start()
        _keep(process.stdout, set(requests), kept, origin=origin)
        status = process.wait()
    finally:
        timer.cancel()
        _end(process)
        feeder.join(timeout=10.0)
        process.stdout.close()
    if is_late.is_set():
        raise TimeoutError(
            f"{origin} was not done after {timeout_s} s; its answers so far are kept: the next run asks for "
            "the rest; raise judge_timeout_s"
        )
    if status != 0:
        raise RuntimeError(
            f"{origin} ended with status {status}; its message is above, and the pictures and answers so far "
            "are kept: the next run asks for the rest"
        )


def _keep(answers: Iterable[str], asked: set[str], kept: io.TextIOBase, *, origin: str) -> None:
    """Append answers to a file as they come; one that does not fit is refused and not kept."""
    for line in answers:
        if not line.strip():
            continue
        name, content = _parse(line, origin=origin)
        if name not in asked:
            raise ValueError(f"{origin} answered {name!r}, which was never asked, or twice")
        asked.remove(name)
        kept.write(json.dumps(content) + "\n")
        kept.flush()


def _feed(process: subprocess.Popen[str], lines: str) -> None:
    assert process.stdin is not None
    # If it ends before it has read everything, its status tells.
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(lines)


def _end(process: subprocess.Popen[str]) -> None:
    """End a judge and all that it has started; nothing if it has ended and been waited for."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
