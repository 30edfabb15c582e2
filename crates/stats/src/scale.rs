//! The two scales that scores have.

/// The scale of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Shares of right answers: each value is in [0, 1], a difference in [-1, 1].
    Proportion,
    /// Rubrics with points: a value is at most 1 and may be far below 0. Scores are clipped to [0, 1]
    /// after the mean; differences are not.
    Rubric,
}

impl Scale {
    /// Returns the scale of a benchmark scored by rubrics with points, or of one with final
    /// answers.
    pub fn new(has_rubric: bool) -> Self {
        if has_rubric { Self::Rubric } else { Self::Proportion }
    }

    /// Keeps a mean score in range.
    pub(crate) fn clip(self, mean: f64) -> f64 {
        match self {
            Self::Proportion => mean,
            Self::Rubric => mean.clamp(0.0, 1.0),
        }
    }
}

/// Scores of one condition, `scores[run][prompt]`: a run is a seed. None where a score is missing.
pub type Runs = Vec<Vec<Option<f64>>>;

/// Returns the scores of each prompt, one value for each run that has one.
pub fn by_prompt(runs: &[Vec<Option<f64>>]) -> Vec<Vec<f64>> {
    let num_prompts = runs.iter().map(Vec::len).max().unwrap_or(0);
    let of_prompt = |prompt: usize| runs.iter().filter_map(|run| *run.get(prompt)?).collect();
    (0..num_prompts).map(of_prompt).collect()
}
