"""TextSource: public text with origin, licence and hash; `python -m data_tools.text_sources out=FOLDER`.

The command downloads every source into a folder, or copies it with `from_folder=...` from one that holds
files of the same names, and keeps a file only if its hash is right. A file that is there is only checked.
"""

import hashlib
import json
import sys
import urllib.request
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_tools.config import schema, to_object
from data_tools.whole_file import whole_file

TIMEOUT_S = 60.0


class Use(Enum):
    """What a source is for; one use only, so that nothing evaluated on was trained on."""

    training = "training"
    evaluation = "evaluation"


class Form(Enum):
    """How a file holds its text."""

    plain = "plain"
    instructions = "instructions"
    """A JSON list of objects with `instructions`, a list of strings, as Room-to-Room has."""


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """A file of a public repository at one commit."""

    name: str
    repository: str
    commit: str
    path: str
    licence: str
    num_bytes: int
    sha256: str
    use: Use
    form: Form = Form.plain

    @property
    def url(self) -> str:
        """Where the bytes are."""
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"

    @property
    def file_name(self) -> str:
        """Name of the file in a folder of sources."""
        return self.name + Path(self.path).suffix


_SPEAKER_FOLLOWER = "ronghanghu/speaker_follower"
_PYTORCH_EXAMPLES = "pytorch/examples"

SOURCES = (
    TextSource(
        name="tinyshakespeare",
        repository="karpathy/char-rnn",
        commit="6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
        path="data/tinyshakespeare/input.txt",
        licence="public domain",
        num_bytes=1115394,
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        use=Use.training,
    ),
    TextSource(
        name="pride_and_prejudice",
        repository="GITenberg/Pride-and-Prejudice_1342",
        commit="81db45c9c48c592f0b77f01fc59e677ad0a5634e",
        path="1342-0.txt",
        licence="public domain in the US (Project Gutenberg licence)",
        num_bytes=724725,
        sha256="48e0522844402a86a3ea98f0947ba85ea54838db3c59022299298ed968a5a163",
        use=Use.training,
    ),
    TextSource(
        name="wikitext2_valid",
        repository=_PYTORCH_EXAMPLES,
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="word_language_model/data/wikitext-2/valid.txt",
        licence="CC BY-SA 3.0",
        num_bytes=1121681,
        sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        use=Use.training,
    ),
    TextSource(
        name="R2R_sub_train",
        repository=_SPEAKER_FOLLOWER,
        commit="e4dcdf923ecacf7893397bd9821377e71e32a75a",
        path="tasks/R2R/data/R2R_sub_train.json",
        licence="BSD-2-Clause repository; Room-to-Room: MIT",
        num_bytes=3028666,
        sha256="00e4f86b79e41941583df2da5b439d34ef184763201e4dc4489804eeeb7f0f75",
        use=Use.training,
        form=Form.instructions,
    ),
    TextSource(
        name="wikitext2_test",
        repository=_PYTORCH_EXAMPLES,
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="word_language_model/data/wikitext-2/test.txt",
        licence="CC BY-SA 3.0",
        num_bytes=1256449,
        sha256="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        use=Use.evaluation,
    ),
    TextSource(
        name="R2R_sub_val_unseen",
        repository=_SPEAKER_FOLLOWER,
        commit="e4dcdf923ecacf7893397bd9821377e71e32a75a",
        path="tasks/R2R/data/R2R_sub_val_unseen.json",
        licence="BSD-2-Clause repository; Room-to-Room: MIT",
        num_bytes=265390,
        sha256="c826058ed5bb307c269e9892bfb9b6b93acb5be40a301e0ef2d30943f4a09592",
        use=Use.evaluation,
        form=Form.instructions,
    ),
)


def fetch(source: TextSource, folder: Path, *, from_folder: Path | None = None) -> Path:
    """Put a source's file into a folder, whole and with the right hash, or raise.

    FileNotFoundError if `from_folder` lacks it, ConnectionError if it cannot be downloaded, ValueError if the
    bytes are others; nothing is left behind then.
    """
    target = folder / source.file_name
    if target.is_file():
        check_bytes(source, target.read_bytes(), str(target))
        return target
    if from_folder is None:
        origin, content = source.url, _download(source)
    else:
        path = from_folder / source.file_name
        if not path.is_file():
            raise FileNotFoundError(
                f"{from_folder} lacks {source.file_name}; without from_folder it is downloaded"
            )
        origin, content = str(path), path.read_bytes()
    check_bytes(source, content, origin)
    with whole_file(target) as temporary:
        temporary.write_bytes(content)
    return target


def check_bytes(source: TextSource, content: bytes, origin: str) -> None:
    """Raise ValueError unless these are the bytes of the source."""
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise ValueError(
            f"{origin} is not {source.name}: needed {source.num_bytes} bytes with sha256 {source.sha256}, "
            f"got {len(content)} bytes with {found}; if that is a file, remove it and fetch again"
        )


def read_texts(source: TextSource, folder: Path) -> list[str]:
    """Read the texts of a source from a folder that `fetch` filled, in the order of the file."""
    path = folder / source.file_name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `python -m data_tools.text_sources out={folder}`")
    content = path.read_bytes()
    check_bytes(source, content, str(path))
    text = content.decode("utf-8-sig").replace("\r\n", "\n")
    match source.form:
        case Form.plain:
            return [_without_gutenberg_notice(text)]
        case Form.instructions:
            return parse_instructions(text, origin=str(path))


def read_texts_of_use(use: Use, folder: Path) -> list[str]:
    """Read every source of a use from a folder, in the order of SOURCES."""
    return [text for source in SOURCES if source.use is use for text in read_texts(source, folder)]


def parse_instructions(content: str, *, origin: str) -> list[str]:
    """Read a JSON list of paths, each with its `instructions`: one text a path, one instruction a line."""
    form = 'a JSON list of objects like {"instructions": ["Turn left.", ...]}'
    try:
        paths = json.loads(content)
        lists = [path["instructions"] for path in paths]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{origin} must be {form}: {error!r}") from error
    if not all(isinstance(lines, list) and all(isinstance(line, str) for line in lines) for lines in lists):
        raise ValueError(f"{origin} must be {form}; some `instructions` are no list of strings")
    return ["\n".join(line.strip() for line in lines) for lines in lists]


def _without_gutenberg_notice(text: str) -> str:
    lines = text.split("\n")
    marks = {
        word: [number for number, line in enumerate(lines) if line.startswith(f"*** {word} OF")]
        for word in ("START", "END")
    }
    first = marks["START"][0] + 1 if marks["START"] else 0
    last = marks["END"][0] if marks["END"] else len(lines)
    return "\n".join(lines[first:last])


def _download(source: TextSource) -> bytes:
    try:
        with urllib.request.urlopen(source.url, timeout=TIMEOUT_S) as response:
            # One byte more than there should be is enough to see that it is another file.
            return response.read(source.num_bytes + 1)
    except OSError as error:
        raise ConnectionError(
            f"cannot download {source.name} from {source.url}: {error}; "
            "offline, copy it with from_folder=FOLDER"
        ) from error


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """Settings of the command."""

    out: str = MISSING
    """Folder that gets the files."""
    from_folder: str | None = None
    """Folder to copy from instead of downloading."""


def main(arguments: list[str]) -> None:
    """Fetch every source into a folder and print what came from where."""
    try:
        node = OmegaConf.merge(schema(FetchConfig), OmegaConf.from_cli(arguments))
        assert isinstance(node, DictConfig)
        config = to_object(node, FetchConfig)
    except OmegaConfBaseException as error:
        usage = "usage: python -m data_tools.text_sources out=FOLDER [from_folder=FOLDER]"
        raise SystemExit(f"{str(error).splitlines()[0]}\n{usage}") from error
    folder = Path(config.out)
    from_folder = None if config.from_folder is None else Path(config.from_folder)
    for source in SOURCES:
        try:
            path = fetch(source, folder, from_folder=from_folder)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        print(f"{path}  {source.use.value}  {source.num_bytes} bytes  {source.licence}  {source.url}")


if __name__ == "__main__":
    main(sys.argv[1:])
