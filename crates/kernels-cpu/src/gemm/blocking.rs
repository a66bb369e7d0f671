//! How products are cut: depth by a constant (bits depend on it), rows and columns by the caches found at
//! run time and the number of threads (bits do not depend on them).

use crate::{Split, Team};

/// Depth of a block in the weight gradient of many tokens; there K counts tokens and both operands are packed.
const KC_TOKENS: usize = 256;
/// Tokens that are one block still: dW is then written once and never read.
const MOST_TOGETHER: usize = 512;

/// Tokens of a block of the weight gradient of so many. Bits depend on it, so it depends on nothing else.
pub fn tokens_together(tokens: usize) -> usize {
    match tokens {
        0..=MOST_TOGETHER => tokens,
        _ => KC_TOKENS,
    }
}

/// Floats of B in the first-level cache at most: 24 KB of 32.
const FIRST_LEVEL: usize = 6144;
/// Columns of C that are finished together where panels of B are in the second-level cache: as much of it as of A.
const GROUP_COLUMNS: usize = 384;

/// Rows and columns of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocking {
    /// Most rows of A in a block: `rows · 384` floats take three eighths of the second-level cache.
    pub rows: usize,
    /// Floats of B that are near at a time where a panel is too large for the first-level cache.
    right: usize,
    /// Floats of a weight gradient's left operand in a tile, three eighths of the second-level cache.
    grad_left: usize,
    /// Floats of its right operand, three quarters of it: the left one passes by strip by strip.
    grad_right: usize,
}

/// Rows and columns of a tile of a weight gradient, at least and at most. Multiples of 12 are multiples of every
/// kernel's MR, multiples of 96 of every NR for gradients.
const GRAD_ROWS: (usize, usize) = (48, 384);
const GRAD_COLUMNS: (usize, usize) = (96, 768);

impl Blocking {
    /// Blocks for a second-level cache of so many bytes.
    pub fn for_cache(second_level: usize) -> Blocking {
        let floats = second_level / 4;
        let rows = (floats * 3 / 8 / 384 / 12 * 12).clamp(48, 480);
        let within = |floats: usize, (least, most): (usize, usize)| {
            floats.clamp(least * MOST_TOGETHER, most * MOST_TOGETHER)
        };
        Blocking {
            rows,
            right: floats / 10,
            grad_left: within(floats * 3 / 8, GRAD_ROWS),
            grad_right: within(floats * 3 / 4, GRAD_COLUMNS),
        }
    }

    /// Panels of B, so many floats each, that stay near while A passes by: one in the first-level cache, or some in the
    /// second.
    pub fn panels(&self, panel: usize) -> usize {
        match panel <= FIRST_LEVEL {
            true => 1,
            false => (self.right / panel).clamp(1, 2),
        }
    }

    /// Panels of B, so many floats and columns each, whose part of C stays in the second-level cache until its sums over
    /// K are whole; where a panel is in the first level the part of A alone is meant to stay there.
    pub fn group(&self, panel: usize, columns: usize) -> usize {
        match panel <= FIRST_LEVEL {
            true => usize::MAX,
            false => (GROUP_COLUMNS / columns).max(1),
        }
    }

    /// Most rows and columns of a tile of a weight gradient whose blocks are of `k` tokens.
    pub fn grad_tile(&self, k: usize) -> (usize, usize) {
        let (k, (rows, columns)) = (k.max(1), (GRAD_ROWS, GRAD_COLUMNS));
        (
            (self.grad_left / k / 12 * 12).clamp(rows.0, rows.1),
            (self.grad_right / k / 96 * 96).clamp(columns.0, columns.1),
        )
    }

    /// Floats of the packed operands of such a tile, at most.
    pub fn grad_room(&self) -> (usize, usize) {
        (self.grad_left, self.grad_right)
    }

    /// Blocks for this machine.
    pub fn detect() -> Blocking {
        Blocking::for_cache(second_level_cache().unwrap_or(512 << 10))
    }
}

/// Size of the first core's second-level cache as Linux tells it.
fn second_level_cache() -> Option<usize> {
    for index in 0..8 {
        let at = |file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
            std::fs::read_to_string(path).ok()
        };
        if at("level")?.trim() == "2" {
            let size = at("size")?;
            let size = size.trim();
            let (digits, unit) = match size.strip_suffix('K') {
                Some(digits) => (digits, 1 << 10),
                None => match size.strip_suffix('M') {
                    Some(digits) => (digits, 1 << 20),
                    None => (size, 1),
                },
            };
            return digits.parse::<usize>().ok()?.checked_mul(unit);
        }
    }
    None
}

/// A grid of tiles over C, shared out over a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Rows of a tile, a multiple of MR.
    pub rows: usize,
    /// Panels (of NR columns) of a tile.
    pub panels: usize,
    /// Tiles downwards.
    pub down: usize,
    /// Tiles across.
    pub across: usize,
}

/// Rows and columns below which a tile is mostly edges.
const LEAST: (usize, usize) = (36, 64);

/// Tiles a thread where they cost nothing: one that is held up costs a third of its share at most.
pub const TURNS: usize = 3;

/// The same for a weight gradient of so many elements: every tile packs its operands, so small ones are cut less.
pub fn grad_turns(elements: usize) -> usize {
    match elements {
        0..200_000 => 1,
        200_000..500_000 => 2,
        _ => TURNS,
    }
}

/// Multiply-adds below which a product is not worth waking anybody for: about 10 µs of one core.
const WORTH_SHARING: usize = 400_000;

impl Grid {
    /// Cuts `[rows, panels·NR]` to tiles of at most `most_rows` × `most_panels`; where the team has more
    /// than one thread, to a number of tiles that it can share evenly, `turns` a thread.
    pub fn new(
        team: &Team,
        turns: usize,
        (rows, panels, depth): (usize, usize, usize),
        (mr, nr): (usize, usize),
        (most_rows, most_panels): (usize, usize),
    ) -> Grid {
        let strips = rows.div_ceil(mr).max(1);
        let panels = panels.max(1);
        let mut down = strips.div_ceil((most_rows / mr).max(1));
        let mut across = panels.div_ceil(most_panels.max(1));
        let threads = team.threads();
        let forced = team.split() == Split::Forced;
        let small = rows * panels * nr * depth < WORTH_SHARING;
        if forced {
            // Cut finely whatever the size.
            down = down.max(strips.min(2 * threads));
            across = across.max(panels.min(2));
        } else if threads > 1 && !small {
            // The longer side first, since long tiles re-read the other operand least.
            while down * across < turns * threads {
                let height = strips.div_ceil(down) * mr;
                let width = panels.div_ceil(across) * nr;
                let can_down = height >= 2 * LEAST.0.max(mr);
                let can_across = width >= 2 * LEAST.1.max(nr);
                if can_down && (2 * height >= width || !can_across) {
                    down += 1;
                } else if can_across {
                    across += 1;
                } else {
                    break;
                }
            }
            // A whole number of rounds, where that costs little.
            while !(down * across).is_multiple_of(threads)
                && strips.div_ceil(down) * mr >= LEAST.0 + 2 * mr
                && down * across < 8 * threads
            {
                down += 1;
            }
        }
        let rows = strips.div_ceil(down) * mr;
        let panels_per = panels.div_ceil(across);
        Grid {
            rows,
            panels: panels_per,
            down: strips.div_ceil(rows / mr),
            across: panels.div_ceil(panels_per),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_the_cache_and_the_kernels() {
        for kb in [128, 256, 512, 1024, 2048, 4096] {
            let b = Blocking::for_cache(kb << 10);
            assert_eq!(b.rows % 12, 0);
            let (left, right) = b.grad_room();
            for tokens in [1, 16, 100, 255, 256, 416, 512, 513, 4096] {
                let k = tokens_together(tokens);
                let (rows, columns) = b.grad_tile(k);
                assert_eq!((rows % 12, columns % 96), (0, 0));
                assert!(
                    rows * k <= left && columns * k <= right,
                    "{tokens} in {kb} KB"
                );
            }
        }
    }

    #[test]
    fn tiles_cover_the_output() {
        for threads in [1, 2, 3, 8] {
            for split in [Split::Sized, Split::Forced] {
                let team = Team::with_split(threads, split);
                for rows in [1, 5, 6, 7, 100, 512, 4096] {
                    for panels in [1, 2, 3, 24, 96, 192] {
                        let g = Grid::new(&team, TURNS, (rows, panels, 384), (6, 16), (240, 96));
                        assert!(
                            g.rows.is_multiple_of(6) && g.rows <= 240 && g.panels <= 96,
                            "{g:?}"
                        );
                        assert!(
                            g.rows * g.down >= rows && g.rows * (g.down - 1) < rows,
                            "{g:?}"
                        );
                        assert!(g.panels * g.across >= panels, "{g:?}");
                        assert!(g.panels * (g.across - 1) < panels, "{g:?}");
                    }
                }
            }
        }
    }
}
