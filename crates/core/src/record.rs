//! What is written to the store and read back by reports.
