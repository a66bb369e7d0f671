//! How products are cut: depth by a constant (bits depend on it), rows and columns by the caches found at
//! run time and the number of threads (bits do not depend on them).

use crate::{Split, Team};

/// Depth of a block in the weight gradient, where K counts tokens and both operands are packed.
pub const KC_TOKENS: usize = 256;

/// Rows and columns of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocking {
    /// Most rows of A in a block: `rows · 384` floats take a third of the second-level cache.
    pub rows: usize,
    /// Most rows of a tile of a weight gradient.
    pub grad_rows: usize,
    /// Most columns of a tile of a weight gradient.
    pub grad_columns: usize,
}

impl Blocking {
    /// Blocks for a second-level cache of so many bytes.
    pub fn for_cache(second_level: usize) -> Blocking {
        let floats = second_level / 4;
        // Multiples of 12 are multiples of every kernel's MR, multiples of 96 of every NR for gradients.
        let rows = (floats * 3 / 8 / 384 / 12 * 12).clamp(48, 480);
        let grad_rows = (floats * 3 / 8 / KC_TOKENS / 12 * 12).clamp(48, 384);
        let grad_columns = (floats * 3 / 4 / KC_TOKENS / 96 * 96).clamp(96, 768);
        Blocking {
            rows,
            grad_rows,
            grad_columns,
        }
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

/// Multiply-adds below which a product is not worth waking anybody for: about 10 µs of one core.
const WORTH_SHARING: usize = 400_000;

impl Grid {
    /// Cuts `[rows, panels·NR]` to tiles of at most `most_rows` × `most_panels`; where the team has more
    /// than one thread, to a number of tiles that it can share evenly.
    pub fn new(
        team: &Team,
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
            // Tiles are cut until each thread has three (so that one that was held up costs a third of a
            // share at most), the longer side first, since long tiles re-read the other operand least.
            while down * across < 3 * threads {
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
            assert_eq!(
                (b.rows % 12, b.grad_rows % 12, b.grad_columns % 96),
                (0, 0, 0)
            );
        }
    }

    #[test]
    fn tiles_cover_the_output() {
        for threads in [1, 2, 3, 8] {
            for split in [Split::Sized, Split::Forced] {
                let team = Team::with_split(threads, split);
                for rows in [1, 5, 6, 7, 100, 512, 4096] {
                    for panels in [1, 2, 3, 24, 96, 192] {
                        let g = Grid::new(&team, (rows, panels, 384), (6, 16), (240, 96));
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
