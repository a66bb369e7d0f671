//! The microkernel's contract: one small tile of C held in registers while K runs past.
//! Loops around it live in [`super::product`]; its implementations are `avx2`, `avx512` and `portable`.

/// Where the left operand's elements lie: row `i` of a tile at depth `p`.
///
/// Activations are read where they lie ([`Rows`]): the broadcasts of a 6-row tile follow six streams, which
/// costs nothing over a packed copy and saves making it. The weight gradient, whose left operand is transposed, packs it
/// ([`Packed`]) unless the kernel is as quick to read it where it lies ([`Across`]).
pub trait Left: Copy {
    /// Distance between rows.
    fn row_stride(self) -> usize;
    /// Distance between depths.
    fn depth_stride(self) -> usize;
}

/// Row-major, K contiguous.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// Elements between rows.
    pub stride: usize,
}

impl Left for Rows {
    #[inline(always)]
    fn row_stride(self) -> usize {
        self.stride
    }
    #[inline(always)]
    fn depth_stride(self) -> usize {
        1
    }
}

/// Transposed: row-major, rows contiguous.
#[derive(Debug, Clone, Copy)]
pub struct Across {
    /// Elements between depths.
    pub stride: usize,
}

impl Left for Across {
    #[inline(always)]
    fn row_stride(self) -> usize {
        1
    }
    #[inline(always)]
    fn depth_stride(self) -> usize {
        self.stride
    }
}

/// Packed to panels of `MR` rows: `[depth][MR]`.
#[derive(Debug, Clone, Copy)]
pub struct Packed<const MR: usize>;

impl<const MR: usize> Left for Packed<MR> {
    #[inline(always)]
    fn row_stride(self) -> usize {
        1
    }
    #[inline(always)]
    fn depth_stride(self) -> usize {
        MR
    }
}

/// What is added to the product as it is stored.
#[derive(Debug, Clone, Copy)]
pub enum Plus {
    /// Nothing: C is overwritten and never read.
    Nothing,
    /// C itself.
    Output,
    /// A row of `NR` values, the same for each row of the tile.
    Row(*const f32),
}

/// What a tile brings into the second-level cache for later while its sums are made: a line for every four depths,
/// which costs nothing there and would hold a tile up if they were asked for at once.
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    /// The first of them; any address may be given.
    pub at: *const f32,
    /// Floats from one to the next.
    pub step: usize,
}

impl Ahead {
    /// Share number `part` of `parts` of `floats` that lie at `at`, for a tile of depth `k`; where it has more lines
    /// than the tile has turns, the first of them, without gaps.
    #[inline(always)]
    pub fn share(at: *const f32, floats: usize, (part, parts): (usize, usize), k: usize) -> Ahead {
        let turns = (k / 4).max(1);
        Ahead {
            at: at.wrapping_add(floats * part / parts),
            step: floats.div_ceil(parts).div_ceil(turns).clamp(1, 16),
        }
    }

    /// Nothing: what is read anyway.
    #[inline(always)]
    pub fn nothing(b: *const f32) -> Ahead {
        Ahead { at: b, step: 0 }
    }
}

/// Rows of a weight that are packed together: a line of a panel, however many lines wide that is.
pub const BAND: usize = 16;

/// A microkernel: `C[rows, NR] = A[rows, k] · B[k, NR] + plus`.
///
/// Operands are made of *words*, as large as an f32: a term of K, or two in half the room. Loops count depth in words;
/// what packs is told of terms, and where there is no second one it is zero.
pub trait GemmKernel: Copy + Send + Sync + 'static {
    /// Terms of K in a word: one, which then is the f32 itself, or two.
    const TERMS: usize = 1;
    /// Rows of a full tile.
    const MR: usize;
    /// Columns of a tile; panels of B are this wide, padded with zeros.
    const NR: usize;
    /// Depth of a block of K. A sum over K is made of sums over blocks of this many words, added in order, so
    /// this is a constant of the path and never a tuning knob. K of 384, 768, 1 536 and 3 072 are whole blocks.
    /// `KC · NR` floats of B either stay in a first-level cache (24 KB of 32, AVX2) or come from the second (96 KB,
    /// AVX-512: four lines every twelve cycles where multiply-adds are not split).
    const KC: usize;
    /// The kernel for the weight gradient, where both operands are packed and B comes from the second-level
    /// cache: fewer columns and more rows read less of it.
    type Grad: GemmKernel;

    /// Most elements between depths of a transposed left operand up to which it is read where it lies: a tile of many rows
    /// takes a line or two of each depth, which the second-level cache gives in time unless the depths are pages apart.
    const ACROSS: usize;

    /// Left operand packed for this kernel.
    type PackedLeft: Left;
    /// The value of it.
    const PACKED: Self::PackedLeft;

    /// The word of a term and, where a word has two, the next.
    fn word(first: f32, _second: f32) -> f32 {
        first
    }

    /// Writes `count` terms that lie side by side as words; called where a word has two.
    ///
    /// # Safety
    /// `from` has `count` elements, `to` has room for their words; the processor can run this path.
    unsafe fn words(from: *const f32, count: usize, to: *mut f32) {
        for at in (0..count).step_by(Self::TERMS) {
            // SAFETY: the caller's promise.
            unsafe {
                let second = if at + 1 < count {
                    *from.add(at + 1)
                } else {
                    0.0
                };
                *to.add(at / Self::TERMS) = Self::word(*from.add(at), second);
            }
        }
    }

    /// Computes one tile. Products are summed from depth 0 upwards, `plus` is added last; what is `ahead` is fetched.
    ///
    /// # Safety
    /// `rows ≤ MR`; `a` reaches `rows` rows and `k` depths; `b` has `k·NR` elements; `c` has `rows` rows of
    /// `NR` elements `c_stride` apart; a row in `plus` has `NR` elements; the processor can run this path.
    #[allow(clippy::too_many_arguments)]
    unsafe fn tile<L: Left>(
        rows: usize,
        k: usize,
        a: *const f32,
        left: L,
        b: *const f32,
        c: *mut f32,
        c_stride: usize,
        plus: Plus,
        ahead: Ahead,
    );

    /// Writes `to[p·NR + j] = from[j·depth + p]`, `p` counting words of terms that lie side by side, for all `j <`
    /// [`BAND`] and as many terms from 0 on as it is quick at, past the caches where the path can; returns how many.
    ///
    /// # Safety
    /// `from` has `BAND·depth` elements, `to` reaches the words of `depth` in rows of `BAND` that lie `NR` apart; `to` stands at
    /// a multiple of 64 bytes; the processor can run this path. [`GemmKernel::fence`] comes before anybody
    /// else reads.
    unsafe fn transpose(_from: *const f32, _depth: usize, _to: *mut f32) -> usize {
        0
    }

    /// Writes `to[p·NR + j] = from[p·stride + j]` for all `j < NR` and `p < depth`; where a word has two terms, those of
    /// rows 2·p and 2·p + 1.
    ///
    /// # Safety
    /// The elements exist; the processor can run this path.
    unsafe fn copy(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
        for p in 0..depth {
            // SAFETY: the caller's promise.
            unsafe {
                std::ptr::copy_nonoverlapping(from.add(p * stride), to.add(p * Self::NR), Self::NR);
            }
        }
    }

    /// The same for `rows ≤ MR` rows of a transposed left operand: `to[p·MR + i] = from[p·stride + i]`.
    ///
    /// # Safety
    /// The elements exist; the processor can run this path.
    unsafe fn left(from: *const f32, stride: usize, depth: usize, rows: usize, to: *mut f32) {
        for p in 0..depth {
            // SAFETY: the caller's promise.
            unsafe {
                let (from, to) = (from.add(p * stride), to.add(p * Self::MR));
                // So many that the compiler knows how many.
                match rows == Self::MR {
                    true => std::ptr::copy_nonoverlapping(from, to, Self::MR),
                    false => std::ptr::copy_nonoverlapping(from, to, rows),
                }
            }
        }
    }

    /// [`GemmKernel::copy`] past the caches where the path can: for what is read much later.
    ///
    /// # Safety
    /// As [`GemmKernel::copy`]; `to` stands at a multiple of 64 bytes. [`GemmKernel::fence`] comes before
    /// anybody else reads.
    unsafe fn stream(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
        // SAFETY: handed on from the caller.
        unsafe { Self::copy(from, stride, depth, to) };
    }

    /// Writes a tile that lies in rows of NR to `to`, rows `stride` apart, past the caches where the path can; returns
    /// Σ of its squares.
    ///
    /// # Safety
    /// `size` rows and columns exist on both sides, `from` stands at a multiple of 64 bytes; the processor can run
    /// this path. [`GemmKernel::fence`] comes before anybody else reads.
    unsafe fn send(from: *const f32, size: (usize, usize), to: *mut f32, stride: usize) -> f64 {
        for i in 0..size.0 {
            // SAFETY: the caller's promise.
            unsafe {
                let from = from.add(i * Self::NR);
                std::ptr::copy_nonoverlapping(from, to.add(i * stride), size.1);
            }
        }
        // SAFETY: handed on from the caller.
        unsafe { Self::squares(from, Self::NR, size) }
    }

    /// Σ of the squares of a tile, rows `stride` apart, in an order that depends on its size alone.
    ///
    /// # Safety
    /// `size` rows and columns exist; the processor can run this path.
    unsafe fn squares(at: *const f32, stride: usize, size: (usize, usize)) -> f64 {
        let mut total = 0.0;
        for i in 0..size.0 {
            for j in 0..size.1 {
                // SAFETY: the caller's promise.
                let x = f64::from(unsafe { *at.add(i * stride + j) });
                total += x * x;
            }
        }
        total
    }

    /// Makes what [`GemmKernel::transpose`], [`GemmKernel::stream`] and [`GemmKernel::send`] wrote visible to
    /// others.
    fn fence() {}

    /// Asks for a line to be brought into the second-level cache. A hint: any address may be given.
    fn prefetch(at: *const f32);

    /// The same for the first-level cache.
    fn prefetch_near(at: *const f32);
}
