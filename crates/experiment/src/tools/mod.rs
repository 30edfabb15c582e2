//! Commands about a run, beside the run itself: calibration, comparison, grading of files, export, records.

pub(crate) mod calibrate;
pub(crate) mod compare;
pub(crate) mod export;
pub(crate) mod grade_responses;
pub(crate) mod grade_verdicts;
pub(crate) mod regrade;
pub(crate) mod show;
