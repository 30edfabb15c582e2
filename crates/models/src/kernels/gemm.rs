//! Matrix product of rows with packed weights: `c[m][n] = Σ_k a[m][k] · w[n][k]`.
//!
//! Each element is one chain of fused multiply-adds over `k` from 0 up. Accumulators may be stored
//! between blocks of `k`, and rows and columns may be split over threads: neither changes the
//! chain. A decode step (few rows) streams every panel once from memory; a prefill
//! (many rows) keeps a block of rows in the second-level cache and runs all panels past it.

use super::isa::Isa;
use super::lanes::LANES;
use super::panels::{PackedMatrix, PanelsView};
use super::parallel::{RowsMut, RowsRef, for_each_task};

/// Inputs of one block: a panel block of 128 KiB stays in the second-level cache.
const INNER_BLOCK: usize = 2048;
/// Bytes of a row block, which stays in the second-level cache while all panels run past.
const ROW_BLOCK_BYTES: usize = 224 * 1024;
/// Multiply-adds below which one thread is faster than several.
const PARALLEL_WORK: usize = 1 << 17;

/// Multiplies the rows of `a` with `weights` into `out`.
///
/// # Panics
///
/// If the shapes don't fit.
pub(crate) fn gemm(isa: Isa, a: RowsRef<'_>, weights: PanelsView<'_>, out: RowsMut) {
    assert_eq!(a.cols(), weights.inner(), "inner dimensions differ");
    assert_eq!(out.cols(), weights.rows(), "output columns differ");
    let (m, k, n) = (a.rows(), a.cols(), weights.rows());
    if m == 0 || n == 0 {
        return;
    }
    let num_panels = n.div_ceil(LANES);
    let rows_per_block = (ROW_BLOCK_BYTES / (4 * k.clamp(1, INNER_BLOCK))).clamp(24, 240) / 12 * 12;
    let row_blocks = m.div_ceil(rows_per_block);
    let rows_per_block =
        m.div_ceil(row_blocks).next_multiple_of(if row_blocks > 1 { 12 } else { 1 });
    let row_blocks = m.div_ceil(rows_per_block);
    let threads = rayon::current_num_threads();
    // Small tasks: at the end, the other threads wait for the rest of the last task.
    let groups = (16 * threads).div_ceil(row_blocks).clamp(1, num_panels);
    let panels_per_group = num_panels.div_ceil(groups);
    let groups = num_panels.div_ceil(panels_per_group);
    for_each_task(row_blocks * groups, m * n * k >= PARALLEL_WORK, |task| {
        let (block, group) = (task / groups, task % groups);
        let first_row = block * rows_per_block;
        let rows = rows_per_block.min(m - first_row);
        let panels = group * panels_per_group..((group + 1) * panels_per_group).min(num_panels);
        let mut from = 0;
        loop {
            let inner = INNER_BLOCK.min(k - from);
            for panel in panels.clone() {
                let width = LANES.min(n - panel * LANES);
                let next = if panel + 1 < panels.end { weights.panel(panel + 1) } else { &[] };
                let product = PanelProduct {
                    rows,
                    inner,
                    a: a.as_ptr().wrapping_add(first_row * a.stride() + from),
                    a_stride: a.stride(),
                    panel: weights.panel(panel)[from * LANES..].as_ptr(),
                    next: next.get(from * LANES..).map_or(std::ptr::null(), <[f32]>::as_ptr),
                };
                let c = out.at(first_row, panel * LANES);
                // SAFETY: the row block is inside `a`, the panel inside `weights`, and the
                // 16 (or, in the last panel, `width`) columns of these rows belong to this task.
                unsafe {
                    if width == LANES {
                        product.run(isa, c, out.cols(), from > 0);
                    } else {
                        product.run_narrow(isa, c, out.cols(), from > 0, width);
                    }
                }
            }
            from += inner;
            if from >= k {
                break;
            }
        }
    });
}

/// Multiplies into new storage, `[m][n]` row by row.
pub(crate) fn product(a: RowsRef<'_>, weights: PanelsView<'_>) -> Vec<f32> {
    // Not zeroed first: the threads would wait for the one that clears the memory.
    let (rows, columns) = (a.rows(), weights.rows());
    let mut data = Vec::with_capacity(rows * columns);
    gemm(Isa::best(), a, weights, RowsMut::spare(&mut data, rows, columns));
    // SAFETY: `gemm` has written every value of every row.
    unsafe { data.set_len(rows * columns) };
    data
}

impl PackedMatrix {
    /// Multiplies the rows of `a` with the packed matrix: `[m, inner]` to `[m, rows]`.
    pub(crate) fn times(&self, a: RowsRef<'_>) -> Vec<f32> {
        product(a, self.view())
    }
}

/// Some rows times one panel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanelProduct {
    /// Number of rows.
    pub(crate) rows: usize,
    /// Length of the chains.
    pub(crate) inner: usize,
    /// First row.
    pub(crate) a: *const f32,
    /// Stride of the rows.
    pub(crate) a_stride: usize,
    /// `[inner][LANES]`.
    pub(crate) panel: *const f32,
    /// The next panel, which is prefetched; null if there is none.
    pub(crate) next: *const f32,
}

impl PanelProduct {
    /// Adds the product to `c` (`accumulate`) or writes it there.
    ///
    /// # Safety
    ///
    /// `a` has `rows` rows of `inner` values, `panel` (and `next`, if not null) `inner * LANES`
    /// values, and no other task uses the 16 values at each of the `rows` rows of `c`.
    #[inline]
    pub(crate) unsafe fn run(&self, isa: Isa, c: *mut f32, c_stride: usize, accumulate: bool) {
        let most = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => 16,
            _ => 6,
        };
        let blocks = self.rows.div_ceil(most);
        let (size, larger) = (self.rows / blocks, self.rows % blocks);
        let mut row = 0;
        for block in 0..blocks {
            let rows = size + usize::from(block < larger);
            // SAFETY: rows `row..row + rows` of `a` and `c` exist by this function's contract.
            unsafe {
                let a = self.a.add(row * self.a_stride);
                let c = c.add(row * c_stride);
                let next = Ahead::slice(self.next, self.inner, block, blocks);
                let call = (self.inner, a, self.a_stride, self.panel, c, c_stride, accumulate);
                run_block(isa, rows, call, next);
            }
            row += rows;
        }
    }

    /// Runs like [`Self::run`] for a panel of which only `width` columns exist in `c`.
    ///
    /// # Safety
    ///
    /// See [`Self::run`], with `width` values at each row of `c`.
    unsafe fn run_narrow(
        &self,
        isa: Isa,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
        width: usize,
    ) {
        let mut row = 0;
        while row < self.rows {
            let rows = (self.rows - row).min(6);
            let mut wide = [0.0_f32; 6 * LANES];
            // SAFETY: `width` values of each row of `c` may be read and written, and `wide` has
            // 16 for each of the at most 6 rows.
            unsafe {
                let part = Self { rows, a: self.a.add(row * self.a_stride), ..*self };
                let c = c.add(row * c_stride);
                if accumulate {
                    for r in 0..rows {
                        let from = std::slice::from_raw_parts(c.add(r * c_stride), width);
                        wide[r * LANES..][..width].copy_from_slice(from);
                    }
                }
                part.run(isa, wide.as_mut_ptr(), LANES, accumulate);
                for r in 0..rows {
                    let to = std::slice::from_raw_parts_mut(c.add(r * c_stride), width);
                    to.copy_from_slice(&wide[r * LANES..][..width]);
                }
            }
            row += rows;
        }
    }
}

/// The cache lines of the next panel that a block of rows prefetches.
#[derive(Clone, Copy)]
struct Ahead {
    from: *const f32,
    lines: usize,
}

impl Ahead {
    fn slice(next: *const f32, inner: usize, block: usize, blocks: usize) -> Self {
        if next.is_null() {
            return Self { from: next, lines: 0 };
        }
        let each = inner.div_ceil(blocks);
        let first = (block * each).min(inner);
        Self { from: next.wrapping_add(first * LANES), lines: each.min(inner - first) }
    }
}

type Call = (usize, *const f32, usize, *const f32, *mut f32, usize, bool);

macro_rules! for_each_row {
    ($kernel:ident, $rows:expr, $call:expr, $next:expr, [$($m:literal)*]) => {
        match $rows {
            $($m => $kernel::<$m>($call, $next),)*
            _ => unreachable!("row blocks are cut to the kernels there are"),
        }
    };
}

/// # Safety
///
/// See [`PanelProduct::run`]; `rows` is at most the number that fits the registers of the kernel.
#[inline]
unsafe fn run_block(isa: Isa, rows: usize, call: Call, next: Ahead) {
    // SAFETY: the caller's contract is the kernels'; the machine has the instruction set.
    unsafe {
        match isa {
            Isa::Portable => for_each_row!(portable, rows, call, next, [1 2 3 4 5 6]),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => for_each_row!(avx2, rows, call, next, [1 2 3 4 5 6]),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                for_each_row!(avx512, rows, call, next, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16])
            }
        }
    }
}

/// # Safety
///
/// See [`PanelProduct::run`].
unsafe fn portable<const M: usize>(call: Call, _next: Ahead) {
    let (inner, a, a_stride, panel, c, c_stride, accumulate) = call;
    let mut acc = [[0.0_f32; LANES]; M];
    // SAFETY: all offsets are inside the rows and the panel that the caller guarantees.
    unsafe {
        if accumulate {
            for (i, row) in acc.iter_mut().enumerate() {
                row.copy_from_slice(std::slice::from_raw_parts(c.add(i * c_stride), LANES));
            }
        }
        for k in 0..inner {
            let b = &*panel.add(k * LANES).cast::<[f32; LANES]>();
            for (i, row) in acc.iter_mut().enumerate() {
                let a = *a.add(i * a_stride + k);
                for (sum, b) in row.iter_mut().zip(b) {
                    *sum = a.mul_add(*b, *sum);
                }
            }
        }
        for (i, row) in acc.iter().enumerate() {
            std::slice::from_raw_parts_mut(c.add(i * c_stride), LANES).copy_from_slice(row);
        }
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86_kernel {
    ($name:ident, $features:literal, $vectors:literal, $width:literal, $zero:ident, $load:ident, $store:ident, $set1:ident, $fma:ident) => {
        /// # Safety
        ///
        /// See [`PanelProduct::run`]; the machine has the instruction set.
        #[target_feature(enable = $features)]
        unsafe fn $name<const M: usize>(call: Call, next: Ahead) {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch, $fma, $load, $set1, $store, $zero};
            let (inner, a, a_stride, panel, c, c_stride, accumulate) = call;
            let mut acc = [[$zero(); $vectors]; M];
            // SAFETY: all offsets are inside the rows and the panel that the caller guarantees;
            // prefetching is a hint and may point anywhere.
            unsafe {
                if accumulate {
                    for i in 0..M {
                        for v in 0..$vectors {
                            acc[i][v] = $load(c.add(i * c_stride + v * $width));
                        }
                    }
                }
                // The lines of the next panel are spread evenly over the chain.
                let every = inner.checked_div(next.lines).unwrap_or(inner).max(1);
                let mut line = 0;
                let mut k = 0;
                while k < inner {
                    if line < next.lines {
                        _mm_prefetch::<_MM_HINT_T1>(next.from.wrapping_add(line * LANES).cast());
                        line += 1;
                    }
                    let end = inner.min(k + every);
                    while k < end {
                        let mut b = [$zero(); $vectors];
                        for v in 0..$vectors {
                            b[v] = $load(panel.add(k * LANES + v * $width));
                        }
                        for i in 0..M {
                            let a = $set1(*a.add(i * a_stride + k));
                            for v in 0..$vectors {
                                acc[i][v] = $fma(a, b[v], acc[i][v]);
                            }
                        }
                        k += 1;
                    }
                }
                for i in 0..M {
                    for v in 0..$vectors {
                        $store(c.add(i * c_stride + v * $width), acc[i][v]);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86_kernel!(
    avx2,
    "avx2,fma",
    2,
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps
);
#[cfg(target_arch = "x86_64")]
x86_kernel!(
    avx512,
    "avx512f",
    1,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps
);

#[cfg(test)]
mod tests {
    use super::super::pack_rows;
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    fn multiply(isa: Isa, a: &[f32], m: usize, k: usize, weight: &[f32], n: usize) -> Vec<f32> {
        let (packed, start) = pack_rows(weight, n, k);
        let len = n.div_ceil(LANES) * k * LANES;
        let view = PanelsView::new(&packed[start..][..len], n, k);
        let mut out = vec![f32::NAN; m * n];
        gemm(isa, RowsRef::new(a, m, k, k), view, RowsMut::new(&mut out, n));
        out
    }

    #[test]
    fn each_element_is_one_chain_whatever_the_shape_and_instruction_set() {
        for (m, k, n) in
            [(1, 7, 16), (2, 64, 33), (7, 130, 50), (33, 48, 5), (300, 40, 64), (5, 4100, 17)]
        {
            let (a, weight) = (numbers(m * k, 1), numbers(n * k, 2));
            let mut expected = vec![0.0_f32; m * n];
            for i in 0..m {
                for j in 0..n {
                    let chain =
                        (0..k).fold(0.0_f32, |sum, p| a[i * k + p].mul_add(weight[j * k + p], sum));
                    expected[i * n + j] = chain;
                }
            }
            for isa in Isa::available() {
                let got = multiply(isa, &a, m, k, &weight, n);
                let same = got.iter().zip(&expected).all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{isa:?} {m}x{k}x{n}");
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let (m, k, n) = (64, 576, 96);
        let (a, weight) = (numbers(m * k, 3), numbers(n * k, 4));
        let all = multiply(Isa::best(), &a, m, k, &weight, n);
        for row in [0, 1, 31, 63] {
            let alone = multiply(Isa::best(), &a[row * k..][..k], 1, k, &weight, n);
            assert_eq!(alone, all[row * n..][..n]);
        }
    }
}
