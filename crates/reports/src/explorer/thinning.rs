//! Groups of a set that keep their texts where an explorer may not exceed a size.
//!
//! Every n-th prompt of an evaluation is kept, and every n-th step of a training run, from the first one.
//! n is the smallest that fits if groups are as large as the first. Sets of one size keep the same prompts
//! and steps, so that they can be compared.

/// Choice of the groups of one set.
#[derive(Debug)]
pub(crate) struct Thinning {
    /// Bytes that the set may have; none for no limit.
    quota: Option<usize>,
    num_groups: usize,
    /// Groups or steps from one that is kept to the next.
    stride: u64,
    first_step: Option<u64>,
    num_seen: u64,
}

impl Thinning {
    pub(crate) fn new(quota: Option<usize>, num_groups: usize) -> Self {
        Self { quota, num_groups, stride: 1, first_step: None, num_seen: 0 }
    }

    /// Returns whether the next group is kept.
    pub(crate) fn keeps(&mut self, step: Option<u64>) -> bool {
        let first = *self.first_step.get_or_insert(step.unwrap_or(0));
        let place = step.map_or(self.num_seen, |step| step - first);
        self.num_seen += 1;
        place.is_multiple_of(self.stride)
    }

    /// Notes the size of a group that was kept. The first one decides.
    pub(crate) fn note(&mut self, num_bytes: usize) {
        if let Some(quota) = self.quota.take() {
            let needed = (num_bytes * self.num_groups) as u64;
            self.stride = needed.div_ceil(quota.max(1) as u64).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(quota: Option<usize>, steps: &[Option<u64>]) -> Vec<usize> {
        let mut thinning = Thinning::new(quota, steps.len());
        let mut kept = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            if thinning.keeps(*step) {
                kept.push(i);
                thinning.note(100);
            }
        }
        kept
    }

    #[test]
    fn every_nth_prompt_or_step_is_kept() {
        assert_eq!(kept(None, &[None; 5]), [0, 1, 2, 3, 4]);
        assert_eq!(kept(Some(500), &[None; 5]), [0, 1, 2, 3, 4]);
        assert_eq!(kept(Some(250), &[None; 5]), [0, 2, 4]);
        let steps = [1, 1, 2, 2, 3, 3, 4, 4].map(Some);
        assert_eq!(kept(Some(400), &steps), [0, 1, 4, 5]);
        assert_eq!(kept(Some(0), &steps), [0, 1]);
    }
}
