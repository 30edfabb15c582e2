//! Weights laid out for [`super::product`]: panels of 16 output columns, each panel input by input.

use std::cell::RefCell;

use super::lanes::LANES;
use super::parallel::{RowsMut, RowsRef, for_each_task};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Lines of 16 values below which one thread is faster than several.
const PARALLEL_LINES: usize = 1 << 12;

/// A packed matrix of `rows` outputs and `inner` inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanelsView<'a> {
    data: &'a [f32],
    rows: usize,
    inner: usize,
}

impl<'a> PanelsView<'a> {
    /// Creates a view of `data` as [`pack_rows`] lays it out.
    ///
    /// # Panics
    ///
    /// If `data` has another length.
    pub(crate) fn new(data: &'a [f32], rows: usize, inner: usize) -> Self {
        assert_eq!(data.len(), rows.div_ceil(LANES) * inner * LANES, "not a packed matrix");
        Self { data, rows, inner }
    }

    /// Returns the number of outputs.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of inputs.
    pub(crate) fn inner(&self) -> usize {
        self.inner
    }

    /// Returns panel `panel`, `[inner][LANES]`.
    pub(crate) fn panel(&self, panel: usize) -> &'a [f32] {
        &self.data[panel * self.inner * LANES..][..self.inner * LANES]
    }

    /// Writes row `row` of the matrix to `out`.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [f32]) {
        let panel = self.panel(row / LANES);
        for (value, lanes) in out.iter_mut().zip(panel.chunks_exact(LANES)) {
            *value = lanes[row % LANES];
        }
    }
}

/// Packs `[rows][inner]` into panels; missing columns of the last panel are zero. Returns the storage
/// and the index of the first panel, which is at the start of a cache line.
pub(crate) fn pack_rows(weight: &[f32], rows: usize, inner: usize) -> (Vec<f32>, usize) {
    pack_rows_in(Vec::new(), weight, rows, inner)
}

fn pack_rows_in(storage: Vec<f32>, weight: &[f32], rows: usize, inner: usize) -> (Vec<f32>, usize) {
    assert_eq!(weight.len(), rows * inner, "not a matrix of that shape");
    let num_panels = rows.div_ceil(LANES);
    let len = num_panels * inner * LANES;
    let (mut packed, start) = aligned(storage, len);
    let base = RowsMut::new(&mut packed[start..][..len], inner * LANES);
    for_each_task(num_panels, true, |panel| {
        // SAFETY: each task writes its own panel, which is one row of `base`.
        let out = unsafe { base.slice(panel, 0, inner * LANES) };
        let width = LANES.min(rows - panel * LANES);
        if width < LANES {
            out.fill(0.0);
        }
        for lane in 0..width {
            let row = &weight[(panel * LANES + lane) * inner..][..inner];
            for (value, target) in row.iter().zip(out.chunks_exact_mut(LANES)) {
                target[lane] = *value;
            }
        }
    });
    (packed, start)
}

/// Packs the columns of `x` `[inner][columns]` as the outputs of a product, as [`pack_rows`] does the
/// rows of a matrix.
fn pack_columns(storage: Vec<f32>, x: RowsRef<'_>) -> (Vec<f32>, usize) {
    let (inner, columns) = (x.rows(), x.cols());
    let num_panels = columns.div_ceil(LANES);
    let (mut packed, start) = aligned(storage, num_panels * inner * LANES);
    let base = RowsMut::new(&mut packed[start..][..num_panels * inner * LANES], inner * LANES);
    for_each_task(num_panels, num_panels * inner >= PARALLEL_LINES, |panel| {
        // SAFETY: each task writes its own panel, which is one row of `base`.
        let out = unsafe { base.slice(panel, 0, inner * LANES) };
        let width = LANES.min(columns - panel * LANES);
        for (row, lanes) in out.chunks_exact_mut(LANES).enumerate() {
            lanes[..width].copy_from_slice(&x.row(row)[panel * LANES..][..width]);
            lanes[width..].fill(0.0);
        }
    });
    (packed, start)
}

/// Packs the inputs of a packed matrix as outputs: the panels of its transpose.
fn pack_transposed(storage: Vec<f32>, panels: PanelsView<'_>) -> (Vec<f32>, usize) {
    let (rows, inner) = (panels.rows(), panels.inner());
    let num_panels = inner.div_ceil(LANES);
    let (mut packed, start) = aligned(storage, num_panels * rows * LANES);
    let base = RowsMut::new(&mut packed[start..][..num_panels * rows * LANES], rows * LANES);
    for_each_task(num_panels, num_panels * rows >= PARALLEL_LINES, |panel| {
        // SAFETY: each task writes its own panel, which is one row of `base`.
        let out = unsafe { base.slice(panel, 0, rows * LANES) };
        let width = LANES.min(inner - panel * LANES);
        for (row, lanes) in out.chunks_exact_mut(LANES).enumerate() {
            let from = &panels.panel(row / LANES)[panel * LANES * LANES + row % LANES..];
            for (lane, value) in lanes[..width].iter_mut().enumerate() {
                *value = from[lane * LANES];
            }
            lanes[width..].fill(0.0);
        }
    });
    (packed, start)
}

thread_local! {
    /// Storage of dropped packings, for later ones: fresh pages cost as much as packing.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A matrix that is packed for one product. Its storage is reused afterwards.
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    data: Vec<f32>,
    start: usize,
    rows: usize,
    inner: usize,
}

impl PackedMatrix {
    /// Returns the panels.
    pub(crate) fn view(&self) -> PanelsView<'_> {
        let len = self.rows.div_ceil(LANES) * self.inner * LANES;
        PanelsView::new(&self.data[self.start..][..len], self.rows, self.inner)
    }

    /// Packs the rows of a dense matrix as outputs.
    pub(crate) fn rows(weight: &[f32], rows: usize, inner: usize) -> Self {
        let (data, start) = pack_rows_in(spare(), weight, rows, inner);
        Self { data, start, rows, inner }
    }

    /// Packs the columns of `x` as outputs.
    pub(crate) fn columns(x: RowsRef<'_>) -> Self {
        let (data, start) = pack_columns(spare(), x);
        Self { data, start, rows: x.cols(), inner: x.rows() }
    }

    /// Packs the inputs of a packed matrix as outputs.
    pub(crate) fn transposed(panels: PanelsView<'_>) -> Self {
        let (data, start) = pack_transposed(spare(), panels);
        Self { data, start, rows: panels.inner(), inner: panels.rows() }
    }

    /// Returns the number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.rows
    }
}

impl Drop for PackedMatrix {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        SPARE.with_borrow_mut(|spare| spare.push(data));
    }
}

/// Takes the largest free storage.
fn spare() -> Vec<f32> {
    SPARE.with_borrow_mut(|spare| {
        spare.sort_by_key(Vec::capacity);
        spare.pop().unwrap_or_default()
    })
}

/// Makes room for `len` values that start at a cache line, and returns their first index.
fn aligned(mut packed: Vec<f32>, len: usize) -> (Vec<f32>, usize) {
    packed.resize(len + LANES - 1, 0.0);
    let start = packed.as_ptr().align_offset(LINE).min(LANES - 1);
    (packed, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_row() {
        let (rows, inner) = (21, 5);
        let weight: Vec<f32> = (0..rows * inner).map(|i| i as f32).collect();
        let (packed, start) = pack_rows(&weight, rows, inner);
        let view = PanelsView::new(&packed[start..][..2 * inner * LANES], rows, inner);
        let mut row = vec![0.0; inner];
        for r in 0..rows {
            view.copy_row(r, &mut row);
            assert_eq!(row, weight[r * inner..][..inner]);
        }
    }

    #[test]
    fn packed_columns_are_the_packed_rows_of_the_transpose() {
        let (rows, inner) = (21, 37);
        let weight: Vec<f32> = (0..rows * inner).map(|i| i as f32).collect();
        let transposed: Vec<f32> =
            (0..rows * inner).map(|i| weight[i % rows * inner + i / rows]).collect();
        let (packed, start) = pack_rows(&transposed, inner, rows);
        let expected = &packed[start..][..inner.div_ceil(LANES) * rows * LANES];
        let (columns, start) =
            pack_columns(vec![7.0; 900], RowsRef::new(&weight, rows, inner, inner));
        assert_eq!(columns[start..][..expected.len()], *expected);
        let (packed, start) = pack_rows(&weight, rows, inner);
        let view = PanelsView::new(&packed[start..][..2 * inner * LANES], rows, inner);
        let (transposed, start) = pack_transposed(vec![7.0; 3], view);
        assert_eq!(transposed[start..][..expected.len()], *expected);
    }
}
