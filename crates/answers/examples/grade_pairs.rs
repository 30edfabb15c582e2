//! Grades pairs from standard input with every profile: `{"a": label, "b": answer}` lines in,
//! one JSON line each out. Used by `tests/math_verify/generate.py`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use preceptor_answers::{GraderProfile, canonical, kind_of};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
}

#[derive(Serialize)]
struct Graded {
    grades: BTreeMap<&'static str, bool>,
    reason: String,
    label_kind: String,
    answer_kind: String,
    same_class: bool,
}

fn main() -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let pair: Pair = serde_json::from_str(&line?)?;
        let grade = |profile: &GraderProfile| profile.grade(&pair.a, Some(&pair.b));
        let grades = GraderProfile::ALL.iter().map(|p| (p.name(), grade(p).equal)).collect();
        let graded = Graded {
            grades,
            reason: grade(&GraderProfile::Verify).reason,
            label_kind: kind_of(&pair.a).name().to_owned(),
            answer_kind: kind_of(&pair.b).name().to_owned(),
            same_class: canonical(&pair.a) == canonical(&pair.b),
        };
        serde_json::to_writer(&mut out, &graded)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
