//! What is wrong with programme files and stories: all of it, so that one look corrects them.

use std::fmt;

/// One thing that is wrong with a programme file, or with a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgrammeError {
    file: String,
    key: String,
    problem: String,
}

impl ProgrammeError {
    pub(in crate::domain) fn new(file: &str, key: &str, problem: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// The file as the caller named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The dotted key, such as `update.vm`; empty where the text is no TOML.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it has to be.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for ProgrammeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.file, self.problem)
        } else {
            write!(f, "{}: {}: {}", self.file, self.key, self.problem)
        }
    }
}

/// Everything that is wrong with a set of such files; never empty. One line each when shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgrammeErrors(Vec<ProgrammeError>);

impl ProgrammeErrors {
    pub(in crate::domain) fn new(errors: Vec<ProgrammeError>) -> Self {
        Self(errors)
    }

    /// Each of them, in the order of the files.
    pub fn iter(&self) -> std::slice::Iter<'_, ProgrammeError> {
        self.0.iter()
    }
}

impl IntoIterator for ProgrammeErrors {
    type Item = ProgrammeError;
    type IntoIter = std::vec::IntoIter<ProgrammeError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ProgrammeErrors {
    type Item = &'a ProgrammeError;
    type IntoIter = std::slice::Iter<'a, ProgrammeError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ProgrammeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for error in &self.0 {
            write!(f, "{between}{error}")?;
            between = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for ProgrammeErrors {}
