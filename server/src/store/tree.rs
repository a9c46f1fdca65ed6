//! The Merkle tree over the ledger's entries, as RFC 6962 section 2.1 defines it: what a checkpoint signs and a proof refers to.
//!
//! The leaf of an entry is `SHA-256(0x00 || hash of the entry)`, the hash being that of its payload, so a leaf follows from nothing
//! but the payload. Nobody keeps the whole tree: a [`Frontier`] holds the roots of the perfect subtrees that make it up, one for
//! each bit of its size, and grows by a leaf at a time.

use sha2::{Digest, Sha256};

/// A hash of the tree (SHA-256).
pub type Hash = [u8; 32];

/// The tree of the first entries, as far as it takes to let it grow and to tell its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of perfect subtrees, the largest first; as many as `size` has bits set.
    roots: Vec<Hash>,
}

impl Frontier {
    /// A frontier from its parts; `None` if there are not as many roots as the size needs.
    pub(super) fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Self> {
        let needed = usize::try_from(size.count_ones()).ok()?;
        (roots.len() == needed).then_some(Self { size, roots })
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, the largest first.
    pub(super) fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// Adds the leaf of the next entry.
    ///
    /// * `entry` - the entry's hash.
    pub fn push(&mut self, entry: &Hash) {
        let mut hash = leaf(entry);
        let mut merged = self.size;
        while merged & 1 == 1 {
            if let Some(left) = self.roots.pop() {
                hash = node(&left, &hash);
            }
            merged >>= 1;
        }
        self.roots.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// The root of the tree; that of an empty one is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => Sha256::digest([]).into(),
            Some(last) => roots.fold(*last, |right, left| node(left, &right)),
        }
    }
}

/// Makes an inclusion proof while the entries pass by, one after another from the first.
#[derive(Debug)]
pub struct Prover {
    index: u64,
    size: u64,
    at: u64,
    /// Each step of the proof from the root down: the entries under the sibling, and what was seen of them.
    steps: Vec<(std::ops::Range<u64>, Frontier)>,
}

impl Prover {
    /// A proof for the leaf `index` (from 0) in the tree of the first `size` entries; `None` if it is not in it.
    pub fn new(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let mut steps = Vec::new();
        let (mut from, mut to) = (0, size);
        while to - from > 1 {
            let middle = from + split(to - from);
            let sibling = match index < middle {
                true => middle..std::mem::replace(&mut to, middle),
                false => std::mem::replace(&mut from, middle)..middle,
            };
            steps.push((sibling, Frontier::default()));
        }
        Some(Self {
            index,
            size,
            at: 0,
            steps,
        })
    }

    /// Takes the next entry's hash.
    pub fn push(&mut self, entry: &Hash) {
        for (range, seen) in &mut self.steps {
            if range.contains(&self.at) {
                seen.push(entry);
            }
        }
        self.at = self.at.saturating_add(1);
    }

    /// The proof from the leaf up (RFC 6962 section 2.1.1), once all entries of the tree have passed; `None` before.
    pub fn finish(self) -> Option<Vec<Hash>> {
        (self.at >= self.size && self.index < self.at).then(|| {
            let steps = self.steps.iter().rev();
            steps.map(|(_, seen)| seen.root()).collect()
        })
    }
}

/// The root that an inclusion proof leads to; `None` if the proof has not the length that its place asks for.
///
/// * `entry` - the entry's hash.
/// * `index` - its place, from 0.
/// * `size` - the number of leaves of the tree.
pub fn root_of_proof(entry: &Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let mut proof = proof.iter();
    let hash = climb(leaf(entry), index, size, &mut proof)?;
    proof.next().is_none().then_some(hash)
}

fn climb<'a>(
    leaf: Hash,
    index: u64,
    size: u64,
    proof: &mut impl Iterator<Item = &'a Hash>,
) -> Option<Hash> {
    if size <= 1 {
        return Some(leaf);
    }
    let left = split(size);
    match index < left {
        true => {
            let below = climb(leaf, index, left, proof)?;
            Some(node(&below, proof.next()?))
        }
        false => {
            let below = climb(leaf, index - left, size - left, proof)?;
            Some(node(proof.next()?, &below))
        }
    }
}

/// The size of the left subtree: the largest power of two smaller than `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

fn leaf(entry: &Hash) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(entry)
        .finalize()
        .into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use super::*;

    fn entry(number: u64) -> Hash {
        Sha256::digest(number.to_be_bytes()).into()
    }

    /// The definition of RFC 6962 section 2.1, word for word.
    fn mth(entries: &[Hash]) -> Hash {
        match entries {
            [] => Sha256::digest([]).into(),
            [one] => leaf(one),
            many => {
                let k = split(many.len() as u64) as usize;
                node(&mth(&many[..k]), &mth(&many[k..]))
            }
        }
    }

    #[test]
    fn the_frontier_has_the_root_of_the_definition_and_every_proof_leads_to_it() {
        let mut frontier = Frontier::default();
        let mut entries = Vec::new();
        assert_eq!(frontier.root(), mth(&[]));
        for size in 1..=70 {
            entries.push(entry(size));
            frontier.push(&entry(size));
            assert_eq!((frontier.size(), frontier.root()), (size, mth(&entries)));
            let parts = Frontier::from_parts(size, frontier.roots().to_vec()).unwrap();
            assert_eq!(parts, frontier);
            for index in 0..size {
                let mut prover = Prover::new(index, size).unwrap();
                entries.iter().for_each(|entry| prover.push(entry));
                let proof = prover.finish().unwrap();
                let own = entries[index as usize];
                let root = root_of_proof(&own, index, size, &proof);
                assert_eq!(root, Some(frontier.root()), "{index} of {size}");
                assert_ne!(root_of_proof(&entry(999), index, size, &proof), root);
                let mut longer = proof.clone();
                longer.push(own);
                assert_eq!(root_of_proof(&own, index, size, &longer), None);
            }
        }
        assert!(Prover::new(70, 70).is_none());
        assert!(Frontier::from_parts(3, vec![entry(1)]).is_none());
    }

    #[test]
    fn the_empty_root_is_the_one_of_the_standard() {
        let hex = data_encoding::HEXLOWER.encode(&Frontier::default().root());
        assert_eq!(
            hex,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
