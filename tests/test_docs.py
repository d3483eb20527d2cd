"""The documentation is true.

Its Python runs, its links lead somewhere, its commands exist. A block that must not
run stands below a line ``<!-- skip -->``.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
NOTES = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

FENCE = re.compile(
    r"^(?P<skip><!-- skip -->\n+)?^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```\s*$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
SHELL = {"sh", "bash", "console", "shell"}
STOIC = "import sys; from stoic.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the line on which its text starts."""

    page: Path
    line: int
    language: str
    text: str
    skipped: bool


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        skipped = match["skip"] is not None
        yield Block(page, line, match["language"], match["text"], skipped)


def links(page: Path) -> Iterator[str]:
    """Targets inside the repository, without their anchors."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in LINK.finditer(prose):
        target = (match["target"] or match[2]).partition("#")[0]
        if target and not re.match(r"[a-z]+:", target):
            yield target


def commands(block: Block) -> Iterator[list[str]]:
    """The words after each ``stoic`` of a shell block, without pipes and comments."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        lexer = shlex.shlex(
            line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>"
        )
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip("|&;<>"):
                words.append(word)
                continue
            if words and Path(words[0]).name == "stoic":
                yield words[1:]
            words = []


def wrong_words(words: list[str]) -> list[str]:
    """The subcommand or options in ``words`` that ``stoic`` does not have."""
    bare = [word for word in words[:2] if not word.startswith("-")]
    # Of a group of commands, the second word is the command.
    groups = ("monitor", "causes")
    path = tuple(bare if words and words[0] in groups else bare[:1])
    known = options(path)
    if known is None:
        return [" ".join(path)]
    given = [word.partition("=")[0] for word in words if OPTION.match(word)]
    return [option for option in given if option not in known]


@cache
def options(path: tuple[str, ...]) -> frozenset[str] | None:
    """Every option in the help of a subcommand; None if there is no such one."""
    # A wide, dumb terminal: nothing is cut off or coloured.
    plain = {"COLUMNS": "400", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STOIC, *path, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | plain,
    )
    return frozenset(OPTION.findall(done.stdout)) if done.returncode == 0 else None


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_python(page: Path) -> int:
    """Run the blocks of a page, one after the other; say how many."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    runnable = [b for b in blocks(page) if b.language == "python" and not b.skipped]
    for block in runnable:
        # Blank lines in front, so that a traceback names the line of the page.
        source = "\n" * (block.line - 1) + block.text
        exec(compile(source, str(page), "exec"), namespace)
    return len(runnable)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    ran = run_python(page)

    assert ran or page != README, "the README shows no Python that runs"


@pytest.mark.parametrize("page", [*PAGES, *NOTES], ids=page_id)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    lost = [
        target
        for target in links(page)
        if not (place := (page.parent / target).resolve()).exists()
        or not place.is_relative_to(ROOT)
    ]

    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_of_a_page_exists(page: Path) -> None:
    wrong = [
        f"{page_id(page)}:{block.line}: stoic {shlex.join(words)}: no {word!r}"
        for block in blocks(page)
        if block.language in SHELL and not block.skipped
        for words in commands(block)
        for word in wrong_words(words)
    ]

    assert wrong == []


PAGE = """
# A page with a [link](there.md#part), an <img src="picture.png">, and
[another](https://example.org/x).

```python
answer = 42
```

<!-- skip -->
```python
raise RuntimeError("must not run")
```

```python
assert answer == 42
```

```sh
# a comment
$ stoic pvf signs --sites 'layer4.*' \\
    --faults=10 | head && .venv/bin/stoic report runs/x > there  # a comment
make demo
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    return page


def test_blocks_run_in_order_in_one_namespace_and_skipped_ones_do_not(
    page: Path,
) -> None:
    assert run_python(page) == 2


def test_a_block_that_fails_names_its_line(page: Path) -> None:
    page.write_text(PAGE.replace("== 42", "== 43"))

    with pytest.raises(AssertionError) as caught:
        run_python(page)

    line = page.read_text().splitlines().index("assert answer == 43") + 1
    assert caught.traceback[-1].lineno == line - 1


def test_links_are_found_in_prose_and_pictures(page: Path) -> None:
    assert list(links(page)) == ["there.md", "picture.png"]


def test_commands_are_found_across_lines_and_pipes(page: Path) -> None:
    found = [words for block in blocks(page) for words in commands(block)]

    assert found[-2:] == [
        ["pvf", "signs", "--sites", "layer4.*", "--faults=10"],
        ["report", "runs/x"],
    ]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["no-such-thing"], ["no-such-thing"]),
        (["pvf", "signs", "--no-such-option", "3"], ["--no-such-option"]),
        (["pvf", "signs", "--seed", "-3"], []),
        (["--help"], []),
        (["monitor", "fit", "signs", "--inputs", "9"], []),
        (["monitor", "fit", "signs", "--faults", "9"], ["--faults"]),
        (["monitor", "guess", "signs"], ["monitor guess"]),
    ],
)
def test_an_unknown_word_of_a_command_is_named(
    words: list[str], wrong: list[str]
) -> None:
    assert wrong_words(words) == wrong
