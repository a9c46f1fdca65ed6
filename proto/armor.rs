//! Artefacts in files: RFC 7468 armour around the base64 of an artefact's text, with readable lines above.
//!
//! A file is carried on a stick, mailed or printed; what stands outside the armour is for people and is never read. The reader
//! wants exactly one block and refuses everything that it did not expect inside it.

use data_encoding::BASE64;

use crate::artefact::Readable;
use crate::jws::{Claims, Typ};

/// What the armour says it holds. Only the signature inside tells what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// A JWS artefact of this kind.
    Artefact(Typ),
    /// A TPM's proof of deactivation: raw bytes of a protobuf message, no JWS.
    HardwareProof,
}

impl Label {
    /// The text after `BEGIN` and `END`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Artefact(Typ::Activation) => "UPKEEP ACTIVATION CERTIFICATE",
            Self::Artefact(Typ::Ticket) => "UPKEEP DEACTIVATION TICKET",
            Self::Artefact(Typ::Proof) => "UPKEEP DEACTIVATION PROOF",
            Self::Artefact(Typ::Receipt) => "UPKEEP DEACTIVATION RECEIPT",
            Self::Artefact(Typ::Upgrade) => "UPKEEP UPGRADE CODE",
            Self::Artefact(Typ::Unlock) => "UPKEEP UNLOCK CODE",
            Self::Artefact(Typ::Release) => "UPKEEP RELEASE MANIFEST",
            Self::Artefact(Typ::Keys) => "UPKEEP KEY LIST",
            Self::HardwareProof => "UPKEEP HARDWARE DEACTIVATION PROOF",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Typ::ALL
            .into_iter()
            .map(Self::Artefact)
            .chain([Self::HardwareProof])
            .find(|label| label.as_str() == text)
    }
}

/// A file with this artefact: its readable lines and `jws`, the sealed text of the same claims.
pub fn write<C: Readable>(claims: &C, jws: &str) -> String {
    write_bytes(Label::Artefact(C::TYP), &claims.readable(), jws.as_bytes())
}

/// A file with any content. Each line of `readable` is a title and a value; line breaks in them become blanks.
pub fn write_bytes(label: Label, readable: &[(&str, String)], content: &[u8]) -> String {
    let label = label.as_str();
    let mut text = String::new();
    for (title, value) in readable {
        let line = format!("{title}: {value}");
        text.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push('\n');
    }
    text.push_str(&format!("\n{BEGIN}{label}{DASHES}\n"));
    for (index, symbol) in BASE64.encode(content).chars().enumerate() {
        if index > 0 && index.is_multiple_of(COLUMNS) {
            text.push('\n');
        }
        text.push(symbol);
    }
    text.push_str(&format!("\n{END}{label}{DASHES}\n"));
    text
}

/// The sealed text of the one artefact of kind `C` in a file. It is not verified yet.
///
/// # Errors
/// [`ArmorError`].
pub fn read<C: Claims>(text: &[u8]) -> Result<String, ArmorError> {
    match read_bytes(text)? {
        (Label::Artefact(typ), content) if typ == C::TYP => {
            String::from_utf8(content).map_err(|_| ArmorError::Content)
        }
        (found, _) => Err(ArmorError::Label { found }),
    }
}

/// The sealed text of kind `C`, given bare or as a file: what a call takes where a person may paste either.
///
/// # Errors
/// [`ArmorError`] for a file; a bare text is only trimmed, and [`crate::jws::verify`] refuses what is no artefact.
pub fn read_either<C: Claims>(text: &str) -> Result<String, ArmorError> {
    if text.contains(BEGIN) {
        read::<C>(text.as_bytes())
    } else if text.len() > MAX_LEN {
        Err(ArmorError::TooLong)
    } else {
        Ok(text.trim().to_owned())
    }
}

/// The label and content of the one block in a file of at most 64 KiB, with `\n` or `\r\n` line ends.
///
/// # Errors
/// [`ArmorError`].
pub fn read_bytes(text: &[u8]) -> Result<(Label, Vec<u8>), ArmorError> {
    if text.len() > MAX_LEN {
        return Err(ArmorError::TooLong);
    }
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    let begin = lines.by_ref().find_map(begins).ok_or(ArmorError::NoBlock)?;
    let label = std::str::from_utf8(begin)
        .ok()
        .and_then(Label::parse)
        .ok_or(ArmorError::UnknownLabel)?;
    let end = format!("{END}{}{DASHES}", label.as_str());
    let mut body = Vec::new();
    let after = loop {
        let line = lines.next().ok_or(ArmorError::NoEnd)?;
        if line.starts_with(DASHES.as_bytes()) {
            break line;
        }
        body.push(line);
    };
    if after != end.as_bytes() {
        return Err(ArmorError::NoEnd);
    }
    if body.iter().any(|line| line.is_empty()) {
        return Err(ArmorError::Content);
    }
    if lines.any(|line| begins(line).is_some()) {
        return Err(ArmorError::TwoBlocks);
    }
    let content = BASE64
        .decode(&body.concat())
        .map_err(|_| ArmorError::Content)?;
    Ok((label, content))
}

/// Why a file holds no artefact that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArmorError {
    /// More than 64 KiB.
    #[error("the file has more than 64 KiB: it is no Upkeep file")]
    TooLong,
    /// No line begins a block.
    #[error("the file has no line \"-----BEGIN UPKEEP ...-----\"")]
    NoBlock,
    /// The block does not end with the label that it began with.
    #[error("the block has no \"-----END\" line of its own: the file was cut")]
    NoEnd,
    /// More than one block.
    #[error("the file has two blocks: keep one artefact in a file")]
    TwoBlocks,
    /// The block is of no kind that Upkeep writes.
    #[error("the block in the file is of an unknown kind")]
    UnknownLabel,
    /// The block is of another kind than wanted.
    #[error("the file holds another artefact: {}", found.as_str())]
    Label {
        /// What it says it holds.
        found: Label,
    },
    /// Something other than base64 stands inside the block.
    #[error("inside the block stands something other than base64: copy the file again, unchanged")]
    Content,
}

/// The label, when this line begins a block.
fn begins(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(BEGIN.as_bytes())?
        .strip_suffix(DASHES.as_bytes())
}

const DASHES: &str = "-----";
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const COLUMNS: usize = 64;
const MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::{ActivationCertificate, DeactivationTicket};

    fn file() -> String {
        let lines = [(
            "Title",
            "value\n-----BEGIN UPKEEP UPGRADE CODE-----".to_owned(),
        )];
        write_bytes(Label::Artefact(Typ::Ticket), &lines, &[b'x'; 100])
    }

    #[test]
    fn files_survive_mail() {
        let file = file();
        assert!(
            file.lines()
                .all(|line| line.len() <= 64 || line.starts_with("Title: "))
        );
        for text in [
            file.clone(),
            file.replace('\n', "\r\n"),
            file.replace('\n', " \t\n"),
            file.trim_end().to_owned(),
            format!("Hello,\n\n\u{feff}-- \n{file}\n-- \nA signature \u{0}\n"),
        ] {
            assert_eq!(
                read::<DeactivationTicket>(text.as_bytes()).as_deref(),
                Ok("x".repeat(100).as_str())
            );
        }
    }

    #[test]
    fn a_text_may_be_pasted_bare() {
        let bare = read_either::<DeactivationTicket>("  a.b.c\r\n");
        assert_eq!(bare.as_deref(), Ok("a.b.c"));
        let file = read_either::<DeactivationTicket>(&file());
        assert_eq!(file.as_deref(), Ok("x".repeat(100).as_str()));
        let long = " ".repeat(MAX_LEN + 1);
        let refused = read_either::<DeactivationTicket>(&long);
        assert_eq!(refused, Err(ArmorError::TooLong));
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let good = file();
        let ticket = Label::Artefact(Typ::Ticket);
        for (text, error) in [
            (String::new(), ArmorError::NoBlock),
            (good.replace("BEGIN", "BEGUN"), ArmorError::NoBlock),
            (
                good.replace("-----BEGIN", " -----BEGIN"),
                ArmorError::NoBlock,
            ),
            (good.replace("TICKET", "TOKEN"), ArmorError::UnknownLabel),
            (
                good.replace("UPKEEP DEACT", "deact"),
                ArmorError::UnknownLabel,
            ),
            (
                good.replace("-----END UPKEEP DEACTIVATION TICKET", "-----END X"),
                ArmorError::NoEnd,
            ),
            (
                good.split("-----END").next().unwrap_or_default().to_owned(),
                ArmorError::NoEnd,
            ),
            (
                good.replacen("eHh4", "-----BEGIN A-----\neHh4", 1),
                ArmorError::NoEnd,
            ),
            (format!("{good}{good}"), ArmorError::TwoBlocks),
            (
                format!("{good}-----BEGIN CERTIFICATE-----\n"),
                ArmorError::TwoBlocks,
            ),
            (good.replacen("eHh4", "eHh\u{0}", 1), ArmorError::Content),
            (good.replacen("eHh4", "eH 4", 1), ArmorError::Content),
            (good.replacen("eHh4", "\neHh4", 1), ArmorError::Content),
            (
                good.replacen("eHh4", "Proc-Type: 4\neHh4", 1),
                ArmorError::Content,
            ),
            (good.replacen("eA==", "eB==", 1), ArmorError::Content),
            (good.replacen("eA==", "eA", 1), ArmorError::Content),
            (" ".repeat(MAX_LEN + 1), ArmorError::TooLong),
        ] {
            let found = read::<DeactivationTicket>(text.as_bytes());
            assert_eq!(found.err(), Some(error), "{text:.300}");
        }
        assert_eq!(
            read::<ActivationCertificate>(good.as_bytes()),
            Err(ArmorError::Label { found: ticket })
        );
    }
}
