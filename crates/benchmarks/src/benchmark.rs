//! The settings of a benchmark, which load its tasks.

use preceptor_core::Settings;

use crate::{Data, Error, TaskSet};

/// Settings of a benchmark: its table in the manifest.
pub trait Benchmark: Settings {
    /// Returns the data set of the registry that holds the rows. The default is for benchmarks that
    /// are generated or name a file of their own.
    fn data_set(&self) -> Option<&str> {
        None
    }

    /// Returns true if the labels score the form of responses beside their content.
    fn scores_form(&self) -> bool {
        false
    }

    /// Loads at most `limit` tasks. `data` is the file of [`Self::data_set`].
    ///
    /// # Errors
    ///
    /// [`Error`] for a setting out of range or data that is not the benchmark's.
    ///
    /// # Panics
    ///
    /// If the benchmark has a data set and `data` is none.
    fn load(&self, data: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error>;
}

/// Returns the data of a benchmark that has a data set.
pub(crate) fn required(data: Option<&Data>) -> &Data {
    data.expect("a benchmark with a data set is loaded with it")
}
