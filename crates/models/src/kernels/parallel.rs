//! Rows of a matrix shared between threads, and parallel loops over them.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// The least number of values per task.
pub(crate) const TASK_SIZE: usize = 1 << 14;

/// Read-only rows with a fixed stride.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowsRef<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> RowsRef<'a> {
    /// Creates a view of `rows` rows of `cols` values, `stride` apart.
    ///
    /// # Panics
    ///
    /// If `data` is too short for them.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + cols <= data.len(), "rows outside of the data");
        Self { data, rows, cols, stride }
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of values per row.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Returns the distance between two rows.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Returns row `row`.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..self.cols]
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }
}

/// Rows that several tasks write, each its own part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowsMut {
    data: *mut f32,
    rows: usize,
    cols: usize,
}

// SAFETY: it is a pointer with bounds; the methods that write are unsafe and ask for disjoint parts.
unsafe impl Send for RowsMut {}
// SAFETY: as above.
unsafe impl Sync for RowsMut {}

impl RowsMut {
    /// Creates contiguous rows of `cols` values over `data`, which must outlive every use.
    pub(crate) fn new(data: &mut [f32], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        Self { data: data.as_mut_ptr(), rows, cols }
    }

    /// Creates rows in the spare capacity of `data`, which must outlive every use. They are
    /// uninitialised: only [`Self::at`] may be used, to write.
    ///
    /// # Panics
    ///
    /// If the capacity is too small.
    pub(crate) fn spare(data: &mut Vec<f32>, rows: usize, cols: usize) -> Self {
        assert!(data.is_empty() && data.capacity() >= rows * cols, "capacity for every row");
        Self { data: data.as_mut_ptr(), rows, cols }
    }

    /// Returns the number of values per row, which is also their stride.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Returns a pointer to `(row, col)`.
    pub(crate) fn at(&self, row: usize, col: usize) -> *mut f32 {
        debug_assert!(row < self.rows && col <= self.cols);
        // SAFETY: `(row, col)` is inside the slice that this was created from.
        unsafe { self.data.add(row * self.cols + col) }
    }

    /// Returns `len` values from `(row, col)` on.
    ///
    /// # Safety
    ///
    /// No other task reads or writes them at the same time.
    #[expect(clippy::mut_from_ref, reason = "tasks write disjoint parts, as the contract says")]
    pub(crate) unsafe fn slice(&self, row: usize, col: usize, len: usize) -> &mut [f32] {
        assert!(row < self.rows && col + len <= self.cols, "outside of the rows");
        // SAFETY: inside the slice that this was created from; exclusive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.at(row, col), len) }
    }
}

/// Runs `task` for `0..num_tasks`, on all threads if `parallel` is set.
pub(crate) fn for_each_task(num_tasks: usize, parallel: bool, task: impl Fn(usize) + Sync + Send) {
    if parallel && num_tasks > 1 && rayon::current_num_threads() > 1 {
        (0..num_tasks).into_par_iter().with_max_len(1).for_each(task);
    } else {
        (0..num_tasks).for_each(task);
    }
}

/// Runs `run` for every row, several rows per task.
pub(crate) fn for_each_row(rows: usize, cols: usize, run: impl Fn(usize) + Sync + Send) {
    let rows_per_task = (TASK_SIZE / cols.max(1)).max(1);
    let tasks = rows.div_ceil(rows_per_task);
    for_each_task(tasks, tasks > 1, |task| {
        for row in task * rows_per_task..((task + 1) * rows_per_task).min(rows) {
            run(row);
        }
    });
}

/// Returns the transpose of `x`, row by row.
pub(crate) fn transpose(x: RowsRef<'_>) -> Vec<f32> {
    const BLOCK: usize = 16;
    let (rows, cols) = (x.rows(), x.cols());
    let mut transposed = vec![0.0_f32; rows * cols];
    if transposed.is_empty() {
        return transposed;
    }
    let out = RowsMut::new(&mut transposed, rows);
    for_each_task(cols.div_ceil(BLOCK), rows * cols >= 1 << 16, |task| {
        let columns = task * BLOCK..((task + 1) * BLOCK).min(cols);
        for first in (0..rows).step_by(BLOCK) {
            let last = (first + BLOCK).min(rows);
            for col in columns.clone() {
                // SAFETY: row `col` of the transpose belongs to this task alone.
                let out = unsafe { out.slice(col, first, last - first) };
                for (value, row) in out.iter_mut().zip(first..last) {
                    *value = x.row(row)[col];
                }
            }
        }
    });
    transposed
}
