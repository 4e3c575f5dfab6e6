"""Imports modules and reports what that did: `python -m tests.import_probe BLOCKED,... MODULE...`, as JSON.

A blocked library raises ImportError, as if it were not installed.
"""

import contextlib
import importlib
import io
import json
import logging
import sys
from typing import Any, cast


def main(blocked: str, *names: str) -> None:
    """Import modules in the given order and print what each printed, and what all of them left behind."""
    for library in filter(None, blocked.split(",")):
        cast(dict[str, Any], sys.modules)[library] = None
    said: dict[str, str] = {}
    for name in names:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            importlib.import_module(name)
        if output.getvalue():
            said[name] = output.getvalue()
    import torch

    found = {
        "said": said,
        "has_cuda_context": torch.cuda.is_initialized(),
        "default_device": str(torch.get_default_device()),
        "default_dtype": str(torch.get_default_dtype()),
        "num_log_handlers": len(logging.getLogger().handlers),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
