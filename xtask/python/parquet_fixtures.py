"""Parquet files that Hone's reader is checked against, as `datasets` and pyarrow write them.

    python parquet_fixtures.py
        crates/data/fixtures/parquet: the files, and types.jsonl, the rows of two of them as pyarrow reads them back

Needs pyarrow and numpy. With one version of pyarrow (made with 26.0.1) they are the same bytes each time, but for those that
are encrypted.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

HERE = Path(__file__).parents[2] / "crates/data/fixtures/parquet"
CLASSES = {"names": ["neg", "pos"], "_type": "ClassLabel"}


def hub(features):
    """The metadata that `datasets` writes into a file."""
    return {"huggingface": json.dumps({"info": {"features": features}})}


def text(n, word):
    return [f"{word} film number {i}, seen twice" for i in range(n)]


def write(name, table, metadata=None, **how):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if metadata:
        table = table.replace_schema_metadata(metadata)
    # Without the schema nothing else is stored of what pyarrow knows, `metadata` neither.
    how = {"write_statistics": False, "store_schema": metadata is not None, **how}
    pq.write_table(table, path, **how)
    return path


def as_json(path):
    """The rows as pyarrow reads them, a line each. A float of 32 bits by its own digits."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    for name in table.column_names:
        if table.schema.field(name).type == pa.float32():
            for row in rows:
                if row[name] is not None:
                    row[name] = float(str(np.float32(row[name])))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def folders():
    """A data set of the hub: two shards of one part, another part, and one that is not read."""
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": CLASSES}
    for name, label, rows in [
        ("imdb/train-00000-of-00002.parquet", [0, 1, 0], text(3, "one")),
        ("imdb/train-00001-of-00002.parquet", [1, 1], text(2, "two")),
        ("imdb/test-00000-of-00001.parquet", [1, 0], text(2, "three")),
        ("imdb/unsupervised-00000-of-00001.parquet", [-1], text(1, "four")),
        # As GLUE's tests: nobody has their labels.
        ("unlabelled-test.parquet", [-1, -1], text(2, "five")),
    ]:
        table = pa.table({"text": rows, "label": pa.array(label, pa.int64())})
        write(name, table, hub(features), write_statistics=True)


def types():
    """Every type that a text, a label or a group may have, in eight rows of three groups."""
    n = 8
    some = [None if i == 3 else i for i in range(n)]
    lists = [["a"], ["a", "b"], [], ["c"], ["b", "c"], ["a"], ["b"], ["c", "a"]]
    table = pa.table(
        {
            "text": pa.array(["Größe – 😀", "", 'q"uo\\te', "tab\tnew\nline", "e", "f", "g", "h" * 300], pa.string()),
            "large": pa.array(text(n, "large"), pa.large_string()),
            "coded": pa.array(["x", "y", "x", None, "x", "y", "x", "x"]).dictionary_encode(),
            "i8": pa.array(some, pa.int8()),
            "i16": pa.array([-300 * i for i in range(n)], pa.int16()),
            "i32": pa.array([-(2**31)] + some[1:], pa.int32()),
            "i64": pa.array([2**63 - 1, -(2**63)] + some[2:], pa.int64()),
            "u8": pa.array([255] + some[1:], pa.uint8()),
            "u16": pa.array([65535] + some[1:], pa.uint16()),
            "u32": pa.array([2**32 - 1] + some[1:], pa.uint32()),
            "u64": pa.array([2**64 - 1] + some[1:], pa.uint64()),
            "f32": pa.array([0.1, 1.0, -2.5e10, None, 3.25, 0.0, 1e-7, 7.0], pa.float32()),
            "f64": pa.array([0.1, 1.0, -2.5e100, None, 3.25, 0.0, 1e-7, 7.0], pa.float64()),
            "truth": pa.array([True, False, None, True, True, False, True, False]),
            "texts": pa.array([None if i == 5 else lists[i] for i in range(n)], pa.list_(pa.string())),
            "whole": pa.array([[i, i + 1] if i % 3 else [] for i in range(n)], pa.large_list(pa.int16())),
            "required": pa.array([f"r{i}" for i in range(n)]),
        }
    )
    fields = [f.with_nullable(f.name != "required") for f in table.schema]
    table = table.cast(pa.schema(fields))
    lines = as_json(write("types.parquet", table, row_group_size=3, compression="zstd"))
    # Pages of the second kind, other encodings, and lists as they were once written.
    how = {"row_group_size": 5, "data_page_version": "2.0", "use_dictionary": False, "use_compliant_nested_type": False}
    coding = {"text": "DELTA_LENGTH_BYTE_ARRAY", "large": "DELTA_BYTE_ARRAY", "i32": "DELTA_BINARY_PACKED"}
    assert lines == as_json(write("types-v2.parquet", table, compression="none", column_encoding=coding, **how))
    (HERE / "types.jsonl").write_text(lines, encoding="utf8")


def packed():
    for codec in ["none", "snappy", "zstd", "gzip", "lz4", "brotli"]:
        table = pa.table({"text": text(4, "same") * 3, "label": pa.array([0, 1] * 6, pa.int32())})
        write(f"packed-{codec}.parquet", table, compression=codec)


def several():
    """Several classes a text, by number; the second list is as older versions of `datasets` describe them."""
    names = {"names": ["joy", "anger", "fear"], "_type": "ClassLabel"}
    for name, feature in [
        ("sets.parquet", {"feature": names, "_type": "List"}),
        ("sets-old.parquet", {"feature": names, "length": -1, "_type": "Sequence"}),
    ]:
        labels = pa.array([[0], [1, 2], [], [2]], pa.list_(pa.int64()))
        write(name, pa.table({"text": text(4, "set"), "labels": labels}), hub({"labels": feature}))


def wrong():
    """What is refused."""
    label = pa.array([0, 1, 0, 1], pa.int64())
    nulls = pa.table({"text": ["a", "b", None, "d"], "label": label})
    write("null-text.parquet", nulls, row_group_size=2)
    write("binary.parquet", pa.table({"text": pa.array([b"a", b"b", b"c\xff", b"d"], pa.binary()), "label": label}))
    write("outside.parquet", pa.table({"text": list("abcd"), "label": pa.array([0, 1, 2, 0])}), hub({"label": CLASSES}))
    other = pa.table(
        {
            "when": pa.array([1, 2, 3, 4], pa.timestamp("us")),
            "nested": [{"a": 1}] * 4,
            "price": pa.array([1, 2, 3, 4]).cast(pa.decimal128(21, 2)),
            "deep": [[[1]]] * 4,
            "text": list("abcd"),
            "label": label,
        }
    )
    write("other-types.parquet", other)
    tags = pa.table({"tokens": [["EU", "rejects"], ["Peter"]], "ner_tags": pa.array([[3, 0], [1]])})
    write("tagged.parquet", tags)

    class Kms(pe.KmsClient):
        def wrap_key(self, key, _):
            return key

        def unwrap_key(self, key, _):
            return key

    plain = pa.table({"text": list("abcd"), "label": label})
    for name, footer in [("encrypted.parquet", False), ("encrypted-column.parquet", True)]:
        config = pe.EncryptionConfiguration(
            footer_key="k", column_keys={"k": ["text"]}, plaintext_footer=footer, double_wrapping=False
        )
        keys = pe.CryptoFactory(lambda _: Kms()).file_encryption_properties(pe.KmsConnectionConfig(), config)
        write(name, plain, encryption_properties=keys)


if __name__ == "__main__":
    folders()
    types()
    packed()
    several()
    wrong()
    print(sum(path.stat().st_size for path in HERE.rglob("*.*")), "bytes")
