//! Codes that people type: 24 Crockford symbols and a check symbol (DESIGN 4 and 5).
//!
//! A code is derived from a record by a MAC and so is never stored. It is a secret: `Debug` hides it, errors never repeat it,
//! it compares in constant time and is wiped when dropped.

use std::fmt;

use p256::elliptic_curve::subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A code of 25 symbols: 120 bits of a MAC and a Luhn mod 32 check symbol, which finds every single wrong symbol and every swap
/// of neighbours but `0` with `Z`.
///
/// Source: <https://www.crockford.com/base32.html>; Luhn mod N is ISO/IEC 7812-1 Annex B for another alphabet size.
#[derive(Clone)]
pub struct Code(Zeroizing<String>);

impl Code {
    /// The code of a MAC: its first 15 bytes.
    pub fn from_mac(mac: &[u8; 32]) -> Self {
        let bits = mac
            .iter()
            .take(15)
            .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let mut symbols = Zeroizing::new(Vec::with_capacity(SYMBOLS));
        for index in (0..24).rev() {
            symbols.push(u8::try_from(bits >> (5 * index) & 31).unwrap_or_default());
        }
        let check = check_symbol(&symbols);
        symbols.push(check);
        Self::from_symbols(&symbols)
    }

    /// Reads what someone typed: either case, `O` as 0, `I` and `L` as 1; blanks and dashes are ignored.
    ///
    /// # Errors
    /// [`CodeError`] says which typing error it is. The text is not repeated.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.len() > MAX_LEN {
            return Err(CodeError::Length);
        }
        let mut symbols = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        for typed in text.chars().filter(|c| !is_separator(*c)) {
            let position = symbols.len().saturating_add(1);
            symbols.push(symbol_value(typed).ok_or(CodeError::Symbol { position })?);
        }
        let Some((check, rest)) = symbols.split_last().filter(|_| symbols.len() == SYMBOLS) else {
            return Err(CodeError::Length);
        };
        if check_symbol(rest) != *check {
            return Err(CodeError::Check);
        }
        Ok(Self::from_symbols(&symbols))
    }

    /// The 25 symbols without separators, upper case: what is hashed and compared.
    pub fn canonical(&self) -> &str {
        &self.0
    }

    fn from_symbols(symbols: &[u8]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(SYMBOLS));
        for symbol in symbols {
            text.extend(
                ALPHABET
                    .get(usize::from(*symbol))
                    .map(|byte| char::from(*byte)),
            );
        }
        Self(text)
    }
}

/// Five groups of five symbols, as it is printed and mailed. This shows the secret.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, symbol) in self.0.chars().enumerate() {
            if index > 0 && index.is_multiple_of(5) {
                f.write_str("-")?;
            }
            write!(f, "{symbol}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(secret)")
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Code {}

/// A typing error in a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// Not 25 symbols.
    #[error("a code has 25 symbols in 5 groups of 5: some are missing or too many")]
    Length,
    /// A character that no code contains, such as `U` or `*`.
    #[error("symbol {position} of the code is none of the digits and the letters A to Z without U")]
    Symbol {
        /// Which symbol, counted from 1 without blanks and dashes.
        position: usize,
    },
    /// The check symbol does not fit the others.
    #[error("the code was mistyped: its check symbol does not fit, so compare it symbol by symbol")]
    Check,
}

/// The value of a typed character, 0 to 31.
fn symbol_value(typed: char) -> Option<u8> {
    let upper = match typed.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let index = ALPHABET
        .iter()
        .position(|byte| char::from(*byte) == upper)?;
    u8::try_from(index).ok()
}

/// A character that people and mail programs put between groups.
fn is_separator(typed: char) -> bool {
    typed.is_whitespace() || typed == '-' || ('\u{2010}'..='\u{2015}').contains(&typed)
}

/// Luhn mod 32 over the symbols before the check symbol.
fn check_symbol(symbols: &[u8]) -> u8 {
    let sum: u32 = symbols
        .iter()
        .rev()
        .enumerate()
        .map(|(index, symbol)| {
            let factor = if index.is_multiple_of(2) { 2 } else { 1 };
            let product = u32::from(*symbol) * factor;
            product / 32 + product % 32
        })
        .sum();
    u8::try_from((32 - sum % 32) % 32).unwrap_or_default()
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Symbols of a code with the check symbol.
const SYMBOLS: usize = 25;
/// Bytes that a typed code may have with its separators.
const MAX_LEN: usize = 128;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]

    use super::*;

    fn code() -> Code {
        let mut mac = [0_u8; 32];
        for (index, byte) in mac.iter_mut().enumerate() {
            *byte = u8::try_from(index * 37 % 256).expect("byte");
        }
        Code::from_mac(&mac)
    }

    #[test]
    fn a_code_survives_how_people_type() {
        let code = code();
        let shown = code.to_string();
        assert_eq!(shown.len(), 29);
        assert_eq!(shown.replace('-', ""), code.canonical());
        for typed in [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace('-', " \u{2013}\u{a0}"),
            shown.replace('0', "o").replace('1', "l"),
            shown.replace('0', "O").replace('1', "I"),
            format!("\t{}\r\n", code.canonical()),
        ] {
            assert_eq!(Code::parse(&typed).as_ref(), Ok(&code), "{typed}");
        }
    }

    #[test]
    fn every_single_wrong_symbol_is_caught() {
        let good = code().canonical().to_owned();
        let mut tried = 0;
        for index in 0..SYMBOLS {
            for other in ALPHABET {
                let mut bytes = good.clone().into_bytes();
                if bytes[index] == *other {
                    continue;
                }
                bytes[index] = *other;
                let typed = String::from_utf8(bytes).expect("ascii");
                assert_eq!(Code::parse(&typed), Err(CodeError::Check), "{typed}");
                tried += 1;
            }
        }
        assert_eq!(tried, 25 * 31);
    }

    #[test]
    fn adjacent_swaps_are_caught_but_of_0_and_z() {
        let mut missed = Vec::new();
        for left in 0_u8..32 {
            for right in 0_u8..32 {
                for index in 0..23 {
                    let mut symbols = vec![5_u8; 24];
                    symbols[index] = left;
                    symbols[index + 1] = right;
                    let before = check_symbol(&symbols);
                    symbols.swap(index, index + 1);
                    if left != right && before == check_symbol(&symbols) {
                        missed.push((left, right));
                    }
                }
            }
        }
        missed.dedup();
        assert_eq!(missed, [(0, 31), (31, 0)]);
    }

    #[test]
    fn typing_errors_are_named_and_not_repeated() {
        let good = code().canonical().to_owned();
        for (typed, error) in [
            (String::new(), CodeError::Length),
            (good[..24].to_owned(), CodeError::Length),
            (format!("{good}0"), CodeError::Length),
            ("0".repeat(1 << 20), CodeError::Length),
            (
                good.replacen(&good[3..4], "U", 1),
                CodeError::Symbol { position: 4 },
            ),
            (format!("\0{good}"), CodeError::Symbol { position: 1 }),
            (
                format!("{good}\u{202e}"),
                CodeError::Symbol { position: 26 },
            ),
        ] {
            assert_eq!(Code::parse(&typed).err(), Some(error));
            assert!(!error.to_string().contains(&good[..5]));
        }
        assert_eq!(format!("{:?}", code()), "Code(secret)");
    }
}
