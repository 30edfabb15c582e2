//! Verdicts: what a judge is asked, how its reply is read, what is kept as evidence.
