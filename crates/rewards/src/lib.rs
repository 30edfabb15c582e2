//! Reward derivers (paper, section 3.2) and their composition.
