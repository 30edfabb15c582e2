//! Settings of a judge.

use preceptor_core::{ModelIdentity, Settings};

/// Settings of a judge: the `[judge]` table less its `model`.
pub trait JudgeConfig: Settings {
    /// True if the judge grades and chooses, beyond yes and no.
    const GRADES: bool;

    /// Returns the identity of a judge that asks no model. The default is for judges that ask one.
    fn identity(&self) -> Option<ModelIdentity> {
        None
    }
}
