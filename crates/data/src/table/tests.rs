//! Damaged files, and what each kind of fault is called. Rows are compared with JSON's in `read/parquet/tests.rs`.

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/fixtures/parquet/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

/// All rows of all columns that are read.
fn rows(bytes: Vec<u8>) -> Result<Vec<Vec<Value>>, Fault> {
    let table = Table::open(bytes)?;
    let mut rows = Vec::new();
    table.rows(&table.readable(), |number, values| {
        assert_eq!(
            (number, values.len()),
            (rows.len() + 1, table.readable().len())
        );
        rows.push(values);
        Ok::<(), Fault>(())
    })?;
    Ok(rows)
}

/// Whatever a file holds, reading it ends in rows or in one line; one that is cut off has none.
#[test]
fn damage_is_one_line() {
    let (mut refused, mut read) = (0, 0);
    let mut check = |bytes: Vec<u8>, what: &dyn Fn() -> String| match rows(bytes) {
        Ok(_) => read += 1,
        Err(fault) => {
            refused += 1;
            let told = fault.reason;
            assert!(
                !told.contains('\n') && told.len() < 400,
                "{}: {told}",
                what()
            );
        }
    };
    for name in [
        "types.parquet",
        "types-v2.parquet",
        "sets.parquet",
        "imdb/train-00000-of-00002.parquet",
    ] {
        let whole = fixture(name);
        for len in (0..whole.len()).step_by(5) {
            assert!(
                rows(whole[..len].to_vec()).is_err(),
                "{name}, {len} bytes of it"
            );
        }
        for at in 0..whole.len() {
            for mask in [0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= mask;
                check(bytes, &|| format!("{name}, byte {at} with {mask:#x}"));
            }
        }
        // A large number wherever one may begin.
        for at in 0..whole.len() - 8 {
            let mut bytes = whole.clone();
            bytes[at..at + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
            check(bytes, &|| format!("{name}, a large number at {at}"));
        }
    }
    // Much of a file is text, where other letters may stand too.
    assert!(
        refused > 10_000 && read > 1_000,
        "{refused} refused, {read} read"
    );
}

#[test]
fn faults_by_name() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    let cut = fixture("packed-zstd.parquet");
    for (bytes, says) in [
        (
            b"text,label\na,1\n".to_vec(),
            "not a Parquet file (it does not end with PAR1)",
        ),
        (b"PAR1".to_vec(), "the file is cut off: after 4 bytes"),
        (Vec::new(), "not a Parquet file"),
        (pointer.to_vec(), "this is a Git LFS pointer"),
        (cut[..300].to_vec(), "the file is cut off: after 300 bytes"),
        (
            [&cut[..4], &cut[cut.len() - 300..]].concat(),
            "the file is damaged, or",
        ),
        (
            fixture("packed-brotli.parquet"),
            "the column text is compressed with Brotli; Snappy, Zstandard, gzip and LZ4",
        ),
        (fixture("encrypted.parquet"), "the file is encrypted"),
        (fixture("encrypted-column.parquet"), "encrypted"),
    ] {
        let fault = rows(bytes).unwrap_err();
        assert!(
            fault.reason.contains(says) && fault.row.is_none(),
            "{says}: {fault:?}"
        );
    }
}

#[test]
fn every_codec_is_unpacked() {
    let plain = rows(fixture("packed-none.parquet")).unwrap();
    assert_eq!((plain.len(), plain[1][1].as_i64()), (12, Some(1)));
    for codec in ["snappy", "zstd", "gzip", "lz4"] {
        assert_eq!(
            rows(fixture(&format!("packed-{codec}.parquet"))).unwrap(),
            plain,
            "{codec}"
        );
    }
}
