//! Reads through layers: staged changes over what stands below them.
//!
//! A layer holds what is newer than all below it; `None` hides a pair. Reads go as far as they are asked to and no further, however
//! much is staged in the range.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Bound;

use super::engine::{Changes, Order, Pair};
use super::error::StoreError;

/// What the newest of `layers` says of a key; `None` if none of them knows it.
///
/// * `layers` - the newest first.
pub(super) fn get<'a>(layers: &[&'a Changes], key: &[u8]) -> Option<Option<&'a [u8]>> {
    let found = layers.iter().find_map(|layer| layer.get(key))?;
    Some(found.as_deref())
}

/// A copy of as much of the newest layer as a scan can come to: `limit` pairs, and what is deleted among them.
pub(super) fn within_reach(
    layer: &Changes,
    range: (&[u8], &[u8]),
    limit: usize,
    order: Order,
) -> Changes {
    let mut pairs = 0;
    let changes = steps(layer, range, order).take_while(|(_, value)| {
        let is_within = pairs < limit;
        pairs += usize::from(value.is_some());
        is_within
    });
    let changes = changes.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
    changes.collect()
}

/// At most `limit` pairs with `from <= key < to`, of `layers` laid over what `below` gives.
///
/// * `layers` - the newest first.
/// * `below` - at most so many pairs of a range, in the same order; called again while pairs that it gave are hidden.
///
/// # Errors
/// Those of `below`.
pub(super) fn scan(
    layers: &[&Changes],
    (from, to): (&[u8], &[u8]),
    limit: usize,
    order: Order,
    mut below: impl FnMut((&[u8], &[u8]), usize) -> Result<Vec<Pair>, StoreError>,
) -> Result<Vec<Pair>, StoreError> {
    let mut merged = Vec::new();
    if from >= to {
        return Ok(merged);
    }
    let mut over = Over::new(layers, (from, to), order);
    let (mut from, mut to) = (from.to_vec(), to.to_vec());
    while merged.len() < limit {
        let wanted = limit - merged.len();
        let page = below((&from, &to), wanted)?;
        let is_last = page.len() < wanted;
        if let Some((last, _)) = page.last() {
            match order {
                Order::Ascending => from = [last.as_slice(), &[0]].concat(),
                Order::Descending => to.clone_from(last),
            }
        }
        for (key, value) in page {
            while merged.len() < limit
                && let Some(pair) = over.next_before(&key)
            {
                merged.extend(pair);
            }
            if merged.len() >= limit {
                return Ok(merged);
            }
            match over.next_at(&key) {
                Some(newer) => merged.extend(newer),
                None => merged.push((key, value)),
            }
        }
        if is_last {
            while merged.len() < limit
                && let Some(pair) = over.next()
            {
                merged.extend(pair);
            }
            break;
        }
    }
    Ok(merged)
}

type Step<'a> = (&'a [u8], Option<&'a [u8]>);

type Steps<'a> = Box<dyn Iterator<Item = Step<'a>> + 'a>;

/// One layer's changes in a range.
fn steps<'a>(layer: &'a Changes, (from, to): (&[u8], &[u8]), order: Order) -> Steps<'a> {
    if from >= to {
        return Box::new(std::iter::empty());
    }
    let range = (Bound::Included(from), Bound::Excluded(to));
    let steps = layer.range::<[u8], _>(range);
    let steps = steps.map(|(key, value)| (key.as_slice(), value.as_deref()));
    match order {
        Order::Ascending => Box::new(steps),
        Order::Descending => Box::new(steps.rev()),
    }
}

/// The layers' changes in a range as one ordered sequence; of several for a key, the newest.
struct Over<'a> {
    layers: Vec<Peekable<Steps<'a>>>,
    order: Order,
}

impl<'a> Over<'a> {
    fn new(layers: &[&'a Changes], range: (&[u8], &[u8]), order: Order) -> Self {
        let layers = layers.iter().filter(|layer| !layer.is_empty());
        let layers = layers.map(|layer| steps(layer, range, order).peekable());
        Self {
            layers: layers.collect(),
            order,
        }
    }

    /// Where the next change stands.
    fn peek(&mut self) -> Option<&'a [u8]> {
        let order = self.order;
        let keys = self.layers.iter_mut().filter_map(Peekable::peek);
        let keys = keys.map(|(key, _)| *key);
        keys.reduce(|first, key| match compare(order, key, first) {
            Ordering::Less => key,
            Ordering::Equal | Ordering::Greater => first,
        })
    }

    /// Takes the change of a key out of all layers: a pair, or nothing where the key is deleted.
    fn take(&mut self, key: &[u8]) -> Option<Option<Pair>> {
        let mut newest = None;
        for layer in &mut self.layers {
            if let Some((key, value)) = layer.next_if(|(next, _)| *next == key) {
                newest.get_or_insert_with(|| value.map(|value| (key.to_vec(), value.to_vec())));
            }
        }
        newest
    }

    fn next(&mut self) -> Option<Option<Pair>> {
        let key = self.peek()?;
        self.take(key)
    }

    fn next_before(&mut self, key: &[u8]) -> Option<Option<Pair>> {
        let next = self.peek()?;
        match compare(self.order, next, key) {
            Ordering::Less => self.take(next),
            Ordering::Equal | Ordering::Greater => None,
        }
    }

    fn next_at(&mut self, key: &[u8]) -> Option<Option<Pair>> {
        (self.peek()? == key).then(|| self.take(key)).flatten()
    }
}

fn compare(order: Order, left: &[u8], right: &[u8]) -> Ordering {
    match order {
        Order::Ascending => left.cmp(right),
        Order::Descending => right.cmp(left),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes() -> impl Strategy<Value = Changes> {
        let key = proptest::collection::vec(1..4_u8, 1..3);
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2));
        proptest::collection::btree_map(key, value, 0..12)
    }

    proptest! {
        /// Against the plain way: everything into one map, the oldest first.
        #[test]
        fn layers_read_as_if_they_were_one_map(
            layers in proptest::collection::vec(changes(), 0..4),
            base in changes(),
            from in proptest::collection::vec(0..5_u8, 0..3),
            to in proptest::collection::vec(0..5_u8, 0..3),
            limit in 0..9_usize,
        ) {
            let mut one = base.clone();
            for layer in layers.iter().rev() {
                one.extend(layer.clone());
            }
            let pairs = |map: &Changes, from: &[u8], to: &[u8]| -> Vec<Pair> {
                let within = map.iter().filter(|(key, _)| from <= key.as_slice() && key.as_slice() < to);
                within.filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect()
            };
            let refs: Vec<&Changes> = layers.iter().collect();
            for order in [Order::Ascending, Order::Descending] {
                let read = |from: &[u8], to: &[u8], limit: usize| {
                    let mut found = pairs(&base, from, to);
                    if order == Order::Descending {
                        found.reverse();
                    }
                    found.truncate(limit);
                    found
                };
                let found = scan(&refs, (&from, &to), limit, order, |(from, to), limit| Ok(read(from, to, limit)));
                let mut expected = pairs(&one, &from, &to);
                if order == Order::Descending {
                    expected.reverse();
                }
                expected.truncate(limit);
                prop_assert_eq!(&found.ok(), &Some(expected.clone()));
                let Some((newest, older)) = refs.split_first() else { continue };
                let copy = within_reach(newest, (&from, &to), limit, order);
                prop_assert!(copy.values().flatten().count() <= limit);
                let over = [&[&copy], older].concat();
                let found = scan(&over, (&from, &to), limit, order, |(from, to), limit| Ok(read(from, to, limit)));
                prop_assert_eq!(found.ok(), Some(expected));
            }
            let known = get(&refs, &from);
            let expected = layers.iter().find_map(|layer| layer.get(&from));
            prop_assert_eq!(known, expected.map(Option::as_deref));
        }
    }
}
