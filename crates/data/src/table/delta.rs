//! How far integers go that are stored as differences (DELTA_BINARY_PACKED). The lengths of texts are, in two encodings, and
//! the `parquet` crate takes memory for as many as they say they are.

/// The bytes that these integers take, of which there are no more than `most`; None where they are more, or no whole ones.
pub(super) fn end(bytes: &[u8], most: u64) -> Option<usize> {
    let mut rest = bytes;
    let block = number(&mut rest)?;
    let minis = number(&mut rest)?;
    let count = number(&mut rest)?;
    let _first = number(&mut rest)?;
    if minis == 0
        || block == 0
        || block > 1 << 20
        || block % minis != 0
        || block / minis % 8 != 0
        || count > most
    {
        return None;
    }
    let (per_mini, minis) = (block / minis, minis as usize);
    // The first stands in the header.
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let _least = number(&mut rest)?;
        let (widths, packed) = rest.split_at_checked(minis)?;
        rest = packed;
        // Behind the last value no more is stored.
        for &width in widths.iter().take(left.div_ceil(per_mini) as usize) {
            let bytes = u64::from(width) * (per_mini / 8);
            rest = rest.get(usize::try_from(bytes).ok()?..)?;
            left = left.saturating_sub(per_mini);
        }
    }
    Some(bytes.len() - rest.len())
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred and twenty-eight a block, in four.
    fn stored(count: u8, blocks: &[u8]) -> Vec<u8> {
        [&[0x80, 0x01, 4, count, 0][..], blocks].concat()
    }

    #[test]
    fn the_bytes_of_differences() {
        let two_minis = [&[0u8, 2, 1, 9, 9][..], &[0; 8 + 4]].concat();
        for (bytes, most, want) in [
            (stored(1, &[7, 7]), 1, Some(5)),
            (stored(0, &[]), 0, Some(5)),
            (stored(41, &two_minis), 41, Some(5 + two_minis.len())),
            (stored(41, &two_minis), 40, None),
            (stored(41, &two_minis[1..]), 41, None),
            (stored(41, &[]), 41, None),
            (vec![0x80, 0x01, 0, 1, 0], 1, None),
            (vec![0x80, 0x01, 3, 1, 0], 1, None),
            (vec![0xff; 30], u64::MAX, None),
            (vec![0x80, 0x01, 4], 1, None),
        ] {
            assert_eq!(end(&bytes, most), want, "{bytes:?}");
        }
    }
}
