//! Reports of stores that are written by hand, with numbers that can be worked out on paper.

mod bench;
mod comparisons;
mod explorer;
mod final_answers;
mod healthbench_scores;
mod missing_records;
mod records;
mod rubrics;
mod scale;
mod scripts;
mod standing;
mod timeline;
mod trained;
