"""Data files as people have them: kinds, packings, encodings; what is not read is named."""

import bz2
import codecs
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moxin_recipes.documents import columns, heads, kinds, sources
from moxin_recipes.documents.readers import Reader
from moxin_recipes.documents.rows import MAX_BYTES
from moxin_recipes.recipe.keys.data import DataKeys, Source
from moxin_recipes.recipe.strict import RecipeError

TEXT = "Ein Büchlein,\n„zwei“ Zeilen"
ROWS = [{"text": TEXT, "n": 1}, {"text": "short", "n": 2}]


class Kept(list[dict[str, Any]]):
    """In place of the writer of what is removed."""

    def write(self, document: Any, _: int) -> None:
        self.append({"text": document.text, **document.metadata})

    def close(self) -> None:
        pass


def read(folder: Path, *files: str, **keys: Any) -> tuple[list[str], list[tuple[str, str, str]]]:
    """The texts of files, and (origin, reason, what is left) of all that went aside."""
    aside: Any = Kept()
    block = Reader(str(folder), list(files), aside, vars(Source(name="own", **keys)))
    texts = [document.text for document in block.run()]
    return texts, [(row["origin"], row["filter_reason"], row["text"]) for row in aside]


def refused(folder: Path, *files: str, **keys: Any) -> str:
    """What is said of files before anything runs."""
    source = Source(name="own", dataset="./own", **keys)
    with pytest.raises(RecipeError) as caught:
        heads.prove(
            *(source, "sources[0]", folder),
            sources.matching(source, "sources[0]", "./own", list(files)),
        )
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CONTENTS: dict[str, tuple[bytes, list[str]]] = {
    "a.txt": (TEXT.encode(), [TEXT]),
    "a.md": (f"# {TEXT}".encode(), [f"# {TEXT}"]),
    "a.csv": (f'n,text\n1,"{TEXT}"\n2,short\n'.encode(), [TEXT, "short"]),
    "a.tsv": (f'text\tn\n"{TEXT}"\t1\nshort\t2'.encode(), [TEXT, "short"]),
    "array.json": (json.dumps(ROWS, indent=1).encode(), [TEXT, "short"]),
    "one.json": (json.dumps(ROWS[0], indent=2).encode(), [TEXT]),
    "after.json": ("".join(json.dumps(row, indent=2) for row in ROWS).encode(), [TEXT, "short"]),
    "line.json": (LINES.encode(), [TEXT, "short"]),
    "words.json": (json.dumps([TEXT, "short"]).encode(), [TEXT, "short"]),
    "a.jsonl": (LINES.replace("\n", "\r\n").encode(), [TEXT, "short"]),
    "a.ndjson": (LINES.encode(), [TEXT, "short"]),
    "a.parquet": (parquet(ROWS), [TEXT, "short"]),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_kind_in_every_packing(tmp_path: Path, packing: str) -> None:
    for name, (content, texts) in CONTENTS.items():
        file = name.upper() if packing == ".gz" else name + packing
        file = f"{name.upper()}.GZ" if packing == ".gz" else file
        (tmp_path / file).write_bytes(PACKINGS[packing](content))
        assert read(tmp_path, file) == (texts, []), file
    assert {name[name.rindex(".") :] for name in CONTENTS} == set(kinds.KINDS)


MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("name", [name for name in CONTENTS if name != "a.parquet"])
def test_encodings_are_certain_or_declared(tmp_path: Path, name: str) -> None:
    content, texts = CONTENTS[name]
    plain = json.dumps(ROWS, ensure_ascii=False) if name == "array.json" else content.decode()
    for encoding, mark in MARKS.items():
        (tmp_path / name).write_bytes(mark + plain.encode(encoding))
        # A mark is right, whatever was declared.
        assert read(tmp_path, name) == read(tmp_path, name, encoding="cp1252") == (texts, [])
    for encoding in ("cp1252", "utf-16-le", "utf-16", "mac_roman"):
        (tmp_path / name).write_bytes(plain.encode(encoding))
        assert read(tmp_path, name, encoding=encoding) == (texts, []), encoding


@pytest.mark.parametrize("encoding", ["gb18030", "shift_jis", "euc_kr", "koi8-r", "iso2022_jp"])
def test_other_scripts(tmp_path: Path, encoding: str) -> None:
    # As long as some pieces: a character may lie on the border of two.
    text = {"euc_kr": "한국어 ", "koi8-r": "русский ", "gb18030": "简体中文"}.get(
        encoding, "日本語"
    ) * 40_001
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert read(tmp_path, "a.txt", encoding=encoding) == ([text], [])
    if encoding != "iso2022_jp":  # seven bits are valid UTF-8
        assert "`encoding`" in refused(tmp_path, "a.txt")


def test_what_is_not_of_the_encoding_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 100_000 + b"caf\xe9")
    (tmp_path / "b.txt").write_text("good")
    place = "a.txt, from byte 100003 on"
    said = "not UTF-8 at byte 100,003 (0xe9); set `encoding`"
    texts, [(origin, reason, left)] = read(tmp_path, "a.txt", "b.txt")
    assert (texts, origin, reason) == (["good"], place, "invalid UTF-8")
    assert left.startswith(said)
    assert f"{place}: invalid UTF-8: {said}" in refused(tmp_path, "a.txt")
    (tmp_path / "c.csv").write_bytes(b"text\ngood\nbad \x81\n")
    texts, [(origin, reason, left)] = read(tmp_path, "c.csv", encoding="cp1252")
    assert (origin, reason) == ("c.csv, from byte 14 on", "invalid cp1252")
    assert "`encoding` says so" in left
    (tmp_path / "c.txt").write_bytes("no mark".encode("utf-16-be"))
    assert "`encoding` says so; change it" in refused(tmp_path, "c.txt", encoding="utf-16")
    for name, content in {"n.txt": "zero", "n.jsonl": LINES, "n.csv": "text\na\n"}.items():
        (tmp_path / name).write_bytes(content.encode("utf-16-le"))  # which is valid UTF-8
        assert "without a mark" in refused(tmp_path, name)
    (tmp_path / "l.jsonl").write_bytes(LINES.replace("short", "caf\xe9").encode("latin-1"))
    assert [row[1] for row in read(tmp_path, "l.jsonl")[1]] == ["invalid UTF-8"]


def test_tables_as_programs_write_them(tmp_path: Path) -> None:
    def table(content: str, **keys: Any) -> tuple[list[str], list[tuple[str, str, str]]]:
        (tmp_path / "a.csv").write_bytes(content.encode())
        return read(tmp_path, "a.csv", **keys)

    assert table("n;text;m\r\n1;a, b;c\r\n") == (["a, b"], [])
    assert table("sep=|\nn|text\n1|a;b\n") == (["a;b"], [])
    assert table("n\ttext\n1\ta\n") == (["a"], [])
    assert table("text,n\ra,1\rb,2\r") == (["a", "b"], [])  # an old Mac's
    assert table("\n text , n\n\na,1\n\n") == (["a"], [])
    assert table('text\n"say ""hello"""\n' + "long " * 100_000)[0][0] == 'say "hello"'
    assert table('text,n\n"a\n\nb",1\n')[0] == ["a\n\nb"]
    texts, aside = table('text,n\na,1\nb,with,commas\nc,3,\n"bad" quote,4\nd\n"e')
    assert texts == ["a", "c", "d"]
    assert [(origin, reason) for origin, reason, _ in aside] == [
        ("a.csv#1", "ragged row"),
        ("a.csv#3", "broken row"),
        ("a.csv#5", "broken row"),
    ]
    assert "b,with,commas" in aside[0][2]
    texts, [(origin, reason, left)] = table('text,n\na,1\n"open,2\nb,3\nc,4\n')
    assert (texts, origin, reason) == (["a", "b", "c"], "a.csv#1", "broken row")
    assert '"open,2' in left
    assert table('"text","two\nlines"\n"a","1"\nb,2\n') == (["a", "b"], [])
    with pytest.raises(RecipeError, match=r"a\.csv: the column text stands twice"):
        table("text,text\n1,2\n")
    # Some programs write tabs and quote nothing, others quote what they must.
    rows = 'text\tn\n"Hello" he said\t1\n"open\t2\nfine\t3\n"two\nlines"\t4\n'
    (tmp_path / "a.tsv").write_text(rows)
    assert read(tmp_path, "a.tsv") == (['"Hello" he said', '"open', "fine", "two\nlines"], [])
    assert table("body,n\nx,1\n", text_template="{{ body }}: {{ n }}") == (["x: 1"], [])


def test_json_as_programs_write_it(tmp_path: Path) -> None:
    def values(content: str, **keys: Any) -> tuple[list[str], list[tuple[str, str, str]]]:
        (tmp_path / "a.json").write_text(content)
        return read(tmp_path, "a.json", **keys)

    nested = [{"page": {"body": "inner", "n": [1]}, "a.b": "dotted"}]
    assert values(json.dumps(nested), text_column="page.body") == (["inner"], [])
    assert values(json.dumps(nested), text_column="a.b") == (["dotted"], [])
    long = [{"text": f"{n} " + "x" * (n % 7 * 20_000)} for n in range(50)]
    assert values(json.dumps(long))[0] == [row["text"] for row in long]
    assert values('{"text": "a"}{"text": "b"} {"text":\n"c"}')[0] == ["a", "b", "c"]
    texts, [(origin, reason, _)] = values('[{"text": "a"}, {"text": "b"},')
    assert (texts, origin, reason) == (["a", "b"], "a.json#2 and what follows", "broken JSON")
    texts, [(origin, reason, left)] = values('[{"text": "a"}, {"text": b}, {"text": "c"}]')
    assert (texts, origin, reason) == (["a", "c"], "a.json#1", "broken JSON")
    assert '{"text": b}' in left
    inner = '{"text": "c", "in": [{"x": 1}]}'
    items = ('{"text": "a"}', '{"text" "b"}', inner, '{"text": ?}', '{"text": "d"}')
    texts, aside = values(f"[{', '.join(items)}]")
    assert texts == ["a", "c", "d"]
    assert [origin for origin, _, _ in aside] == ["a.json#1", "a.json#3"]
    by_line = ",\n".join(json.dumps({"text": f"item {n}"}) for n in range(30))
    for array in (f"[\n{by_line}\n]", f"[{by_line}]", f" \n[{by_line}\n]\n"):
        assert values(array) == ([f"item {n}" for n in range(30)], [])
    assert values('{"text": "a", "n": NaN}\n{"text": "b", "n": -Infinity}\n') == (["a", "b"], [])
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(json.dumps(long).encode())[:-20])
    assert len(read(tmp_path, "cut.json.gz")[1]) == 2  # the member, and the item in which it ends
    assert [row[1] for row in values('[1, [{"text": "a"}], null]')[1]] == ["no object"] * 3
    assert values('[{"text": "lone \\ud800"}]')[0] == ["lone \ud800"]  # Normalize names it
    assert [row[1] for row in values("[" * 100_000)[1]] == ["broken JSON"]
    assert values("[]") == ([], [])


def test_texts_of_many_documents(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [f"story {n}\n" * (n * 300) for n in range(1, 60)]
    (tmp_path / "a.txt").write_text("\n<|end|>\n".join(["", *parts, " "]))
    assert read(tmp_path, "a.txt", separator="\n<|end|>\n") == (parts, [])
    (tmp_path / "huge.txt").write_text("a word " * (MAX_BYTES // 7 + 10))
    for keys, said in (({}, "set `separator`"), ({"separator": "||"}, "no `separator` in them")):
        texts, [(origin, reason, left)] = read(tmp_path, "huge.txt", **keys)
        assert (texts, origin, reason) == ([], "huge.txt#0", "too long")
        assert said in left
    (tmp_path / "huge.txt").write_text("a||" + "b" * (MAX_BYTES + 10**6) + "||c||d")
    texts, [(origin, reason, _)] = read(tmp_path, "huge.txt", separator="||")
    assert (texts, origin, reason) == (["a", "c", "d"], "huge.txt#1", "too long")
    (tmp_path / "crlf.txt").write_bytes(b"a\r\n\r\nb\r\n\r\nc")
    for separator in ("\r\n\r\n", "\n\n", "\r\r"):
        assert read(tmp_path, "crlf.txt", separator=separator) == (["a", "b", "c"], [])
    for separator, warned in (("\n\n", False), ("---", True)):
        caplog.clear()
        source = Source(name="own", separator=separator)
        heads.prove(source, "sources[0]", tmp_path, ["crlf.txt"])
        assert ("`sources[0].separator` stands in no file" in caplog.text) == warned


def test_what_is_damaged_or_empty_is_named(tmp_path: Path) -> None:
    for packing in (".gz", ".bz2", ".xz", ".zst"):
        packed = PACKINGS[packing](("".join(map(str, range(200_000)))).encode())
        file = f"cut.txt{packing}"
        (tmp_path / file).write_bytes(packed[: len(packed) // 2])
        texts, aside = read(tmp_path, file)
        assert len(texts) <= 1
        assert file in aside[0][0]
        (tmp_path / file).write_bytes(b"no archive at all")
        assert file in refused(tmp_path, file)
    for name in ("a.txt", "a.csv", "a.json", "a.jsonl", "a.txt.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
        assert f"{name}: holds no text" in refused(tmp_path, name)
    (tmp_path / "no.parquet").write_text("text\nhello\n")
    assert "no.parquet#0: unreadable file" in refused(tmp_path, "no.parquet")
    assert "(and 1 more files)" in refused(tmp_path, "no.parquet", "a.txt")
    (tmp_path / "good.txt").write_text("good")
    heads.prove(Source(name="own"), "sources[0]", tmp_path, ["good.txt", "no.parquet", "a.txt"])


def test_no_bytes_whatever_stop_a_reader(tmp_path: Path) -> None:
    dice = random.Random(1)
    for _ in range(400):
        name, (content, _texts) = dice.choice(list(CONTENTS.items()))
        packing = dice.choice(list(PACKINGS))
        if name != "a.parquet" and dice.random() < 0.3:
            encoding = dice.choice(["utf-16", "cp1252", "utf-32", "gb18030"])
            content = content.decode().encode(encoding, "replace")
        changed = bytearray(PACKINGS[packing](content))
        for _ in range(dice.choice([1, 3, 30])):
            at = dice.randrange(len(changed))
            changed[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(1, 4))
        file = tmp_path / f"{name}{packing}"
        file.write_bytes(changed)
        keys: dict[str, Any] = {
            "encoding": dice.choice([None, None, "cp1252", "utf-16", "shift_jis"]),
            "separator": dice.choice([None, "\n"]),
        }
        texts, aside = read(tmp_path, file.name, **keys)
        if not texts and not aside:
            assert f"{file.name}: " in refused(tmp_path, file.name, **keys)
        assert all(origin.startswith(file.name) for origin, _, _ in aside)


def test_columns_that_are_not_there_or_no_text_are_named(tmp_path: Path) -> None:
    rows = [
        {"body": "x", "n": n, "tags": ["a"], "meta": {"title": "t"}, "none": None} for n in (1, 2)
    ]
    (tmp_path / "a.parquet").write_bytes(parquet(rows))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "good.txt").write_text("good")
    for file in ("a.parquet", "a.jsonl", "a.json"):
        said = refused(tmp_path, "good.txt", file)
        assert (
            f"{file} has no column text: columns are body, n, tags, meta, none: set `text_column`"
            in said
        )
        assert "such as body" in said
        for column, what in {
            "n": "numbers",
            "tags": "lists",
            "meta": "objects (title)",
        }.items():
            said = refused(tmp_path, file, text_column=column)
            assert f"the column {column} of {file} holds {what}" in said
        heads.prove(Source(name="own", text_column="meta.title"), "s", tmp_path, [file])
        said = refused(tmp_path, file, text_column="none")
        assert f"{file}: the column none of its first rows holds nothing" in said
        assert "renders no row" in refused(tmp_path, file, text_template="{{ text }}")
    (tmp_path / "b.csv").write_text("body;n\nx;1\n")
    assert "columns are body, n: set `text_column`" in refused(tmp_path, "b.csv")
    (tmp_path / "c.csv").write_text("Once upon a time,1\nthere was,2\n")
    assert "columns are Once upon a time, 1" in refused(tmp_path, "c.csv")


def test_columns_of_any_kind_beside_the_text(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "url": 5, "lic": {"name": "MIT"}},
        {"text": "b", "url": {"a": [1]}, "lic": ["MIT", None, 3]},
        {"text": "c", "url": "lone \ud800", "lic": 2.5},
        {"text": "d", "url": None, "lic": []},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    given = vars(Source(name="own", license_column="lic", license="other"))
    aside: Any = Kept()
    documents = list(Reader(str(tmp_path), ["a.json"], aside, given).run())
    for one in documents:
        one.metadata["split"] = "train"
    list(columns.Kept(str(tmp_path / "kept")).run(iter(documents)))  # all of it can be written
    assert [one.metadata["license"] for one in documents] == [
        '{"name": "MIT"}',
        "MIT, 3",
        "2.5",
        "other",
    ]
    assert [one.metadata["url"] for one in documents] == ["5", '{"a": [1]}', "lone ?", None]


def test_dates_that_python_cannot_hold_matter_where_they_are_wanted(tmp_path: Path) -> None:
    far = pa.array([10**7], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"text": ["good"], "day": far}), tmp_path / "a.parquet")
    assert read(tmp_path, "a.parquet") == (["good"], [])
    heads.prove(Source(name="own"), "s", tmp_path, ["a.parquet"])
    assert "unreadable file" in refused(tmp_path, "a.parquet", text_template="{{ day }}")


def test_a_template_fails_for_a_row_and_not_for_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1, "n": 0}\n{"a": 1, "n": 1}\n')
    for template, left in (("{{ a // n }}", ["1"]), ("{{ 'x' * n ** 99 }}{{ a.b.c }}", [])):
        assert read(tmp_path, "a.jsonl", text_template=template)[0] == left


def test_kinds_that_are_not_read_are_an_error_that_lists_those_that_are(tmp_path: Path) -> None:
    for file in ("X.docx", "a.zip", "a.txt.zip", "noending", "a.pdf", "b/c.html"):
        said = refused(tmp_path, "a.txt", file)
        assert f"{file}: not a kind that is read (read are .txt, .md, .csv" in said
    assert "matches *.csv; they are a.txt" in refused(tmp_path, "a.txt", files=["*.csv"])
    own = Source(name="s", dataset="./own")
    assert sources.matching(own, "s", "./own", ["README.md", "b/.x.txt"]) == [
        "README.md",
        "b/.x.txt",
    ]
    # In a repository of somebody else there may be anything beside the data.
    files = [
        "README.md",
        "moxin.json",
        ".x.txt",
        "b/.git/x.txt",
        "b/README.md",
        "a [1]#%*?.txt",
        "a.py",
    ]
    for patterns in (["*"], ["a [1]#%*?.txt", "*.py"]):
        there = Source(name="s", dataset="a/b", files=patterns)
        assert sources.matching(there, "s", "a/b", files) == ["a [1]#%*?.txt"]


@pytest.mark.parametrize(
    "key",
    [
        {"encoding": "cp125"},
        {"encoding": "base64"},
        {"separator": ""},
        {"text_template": "{{ a | nope }}"},
    ],
)
def test_bad_keys(key: dict[str, Any]) -> None:
    keys = DataKeys(
        stage="data",
        sources=[Source(name="own", dataset="./own", **key)],
        hub_corpus_id="c",
        hub_tokens_id="t",
        hub_tokenizer_id="k",
    )
    with pytest.raises(RecipeError, match=rf"`sources\[0\].{next(iter(key))}`"):
        keys.check()
