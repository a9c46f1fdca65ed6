//! The marks of CVE-2017-15361 (ROCA): RSA moduli from a flawed library in chips, whose factors can be found.
//!
//! The library's primes have the form `k * M + (65537^a mod M)`, with M a product of the first small primes. So the modulus is
//! a power of 65537 modulo each of them. A sound modulus passes for such a one with a chance of about 1 in 2^27.
//! Source: M. Nemec, M. Sys, P. Svenda, D. Klinec, V. Matyas, "The Return of Coppersmith's Attack", CCS 2017, section 3.

/// Whether a modulus (big-endian) has the marks.
pub(super) fn has_weak_primes(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let residue = modulus
            .iter()
            .fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        is_power_of_65537(residue, *prime)
    })
}

/// Whether `residue` is in the subgroup that 65537 generates modulo `prime`.
fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let mut power = 1;
    // The group has `prime - 1` elements, so this many powers are all there are.
    (1..prime).any(|_| {
        power = power * (65537 % prime) % prime;
        power == residue
    })
}

/// The odd primes up to 167: every M of the library has them all.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;

    use super::*;

    /// A big-endian number times a small one.
    fn times(number: &[u8], factor: u32) -> Vec<u8> {
        let mut carry = 0;
        let mut product: Vec<u8> = number
            .iter()
            .rev()
            .map(|byte| {
                carry += u32::from(*byte) * factor;
                let low = carry.to_le_bytes()[0];
                carry >>= 8;
                low
            })
            .collect();
        while carry > 0 {
            product.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
        product.reverse();
        product
    }

    /// The sum of a long number and a shorter one, as long as the long one.
    fn plus(long: &[u8], short: &[u8]) -> Vec<u8> {
        let mut sum = long.to_vec();
        let mut carry = 0;
        for (n, byte) in sum.iter_mut().rev().enumerate() {
            let other = short.iter().rev().nth(n).copied().unwrap_or(0);
            carry += u16::from(*byte) + u16::from(other);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        sum
    }

    /// 65537 to the power of `n`, big-endian: in the subgroup modulo every prime, as a product of weak primes is.
    fn power(n: usize) -> Vec<u8> {
        (0..n).fold(vec![1], |power, _| times(&power, 65537))
    }

    /// A modulus of 2048 bits with the marks: a multiple of all the primes, and a power of 65537.
    pub(in crate::attest) fn weak_modulus() -> Vec<u8> {
        let mut multiple = PRIMES
            .iter()
            .fold(vec![1], |all, prime| times(&all, *prime));
        while multiple.len() < 256 || multiple[0] < 0x80 {
            multiple = times(&multiple, 2);
        }
        plus(&multiple, &power(100))
    }

    #[test]
    fn weak_moduli_are_found() {
        assert_eq!(power(1), [1, 0, 1]);
        assert_eq!(power(2), [1, 0, 2, 0, 1]);
        for n in 1..=127 {
            assert!(has_weak_primes(&power(n)), "{n}");
        }
        let modulus = weak_modulus();
        assert_eq!((modulus.len(), modulus[0] >> 7), (256, 1));
        assert!(has_weak_primes(&modulus));
    }

    #[test]
    fn a_weak_modulus_off_by_a_little_is_not() {
        for n in 1..=127 {
            let mut near = power(n);
            *near.last_mut().unwrap() += 2;
            assert!(!has_weak_primes(&near), "{n}");
        }
        assert!(!has_weak_primes(&[]) && !has_weak_primes(&[0; 256]));
    }

    #[test]
    fn sound_keys_pass() {
        for _ in 0..8 {
            let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
            let modulus = key.public_key().modulus();
            assert!(!has_weak_primes(modulus.big_endian_without_leading_zero()));
        }
    }
}
