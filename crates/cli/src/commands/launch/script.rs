//! Parts that the scripts of all schedulers share.

use std::path::{Path, PathBuf};

use preceptor_experiment::LaunchSettings;

/// Job to be written.
pub(crate) struct Job<'a> {
    pub(crate) name: &'a str,
    pub(crate) file: &'a Path,
    pub(crate) num_units: usize,
    pub(crate) settings: &'a LaunchSettings,
    /// Rollout servers of the manifest.
    pub(crate) urls: Vec<String>,
    /// Folder for script, plan and logs.
    pub(crate) folder: &'a Path,
    /// Folder from which paths of the command are seen.
    pub(crate) current: PathBuf,
    pub(crate) program: PathBuf,
    /// Arguments of the program, without the index of the unit.
    pub(crate) arguments: Vec<String>,
}

impl Job<'_> {
    /// Returns the name, with nothing in it that a scheduler refuses.
    pub(crate) fn plain_name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = self.name.chars().take(40).map(plain).collect();
        let name = name.trim_matches('-');
        if name.is_empty() { "experiment".to_owned() } else { name.to_owned() }
    }

    /// Returns an absolute path below the folder of the job.
    pub(crate) fn path(&self, name: &str) -> String {
        self.current.join(self.folder).join(name).display().to_string()
    }

    /// Returns the shell command of a task; `program` and the variable with its index are the
    /// scheduler's.
    pub(crate) fn command(&self, program: &str, variable: &str) -> String {
        let words = self.arguments.iter().map(|word| quote(word));
        let words = [quote(program)].into_iter().chain(words).collect::<Vec<_>>().join(" ");
        format!("{words} --only-unit \"${variable}\"")
    }

    /// Returns the first comment of a script.
    pub(crate) fn comment(&self) -> String {
        let units = if self.num_units == 1 { "unit" } else { "units" };
        format!(
            "# Written by `preceptor launch`: {} {units} of work of `{}`, listed in `plan.json`.",
            self.num_units,
            self.file.display()
        )
    }
}

/// Quotes a word for a shell, if it must be.
pub(crate) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:=,@%+-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Writes rising numbers as schedulers do: `0-2,5`.
pub(crate) fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let part = |(first, last): (usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_ranges() {
        let written = [&[][..], &[3], &[0, 1, 2, 5, 7, 8]].map(ranges);
        assert_eq!(written, ["", "3", "0-2,5,7-8"]);
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must_be() {
        let quoted = ["a/b.toml", "", "a b", "it's $HOME"].map(quote);
        assert_eq!(quoted, ["a/b.toml", "''", "'a b'", "'it'\\''s $HOME'"]);
    }
}
