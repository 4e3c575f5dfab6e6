"""What the README shows is true: its Python runs and prints what it says, its files and pictures exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_examples_run_and_print_what_their_comments_say(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
        (promised,) = re.findall(r"print\(.*# .*?: (\(.*\))$", block, flags=re.MULTILINE)
        assert capsys.readouterr().out.strip() == promised


def test_files_of_the_tree_exist():
    tree = README.split("## The tree")[1]
    folder: list[str] = []
    missing = []
    for line in tree.splitlines():
        names = re.match(r"( *)((?:[\w/]+(?:\.py|/)(?:  ?|$))+)", line)
        if names is None or not line.strip():
            continue
        depth = len(names[1]) // 4
        folder = folder[:depth]
        for name in names[2].split():
            if not (ROOT / Path(*folder) / name).exists():
                missing.append("/".join((*folder, name)))
        if names[2].strip().endswith("/"):
            folder.append(names[2].strip().rstrip("/"))
    assert missing == []


def test_pictures_exist():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file(), picture
