//! The judge sees what it is there to see: good books that are made bad in one place are found out, for that reason.

use segue::accounting::{Bitmap, UnbilledReason};
use segue::model::{ImpressionId, LeaseId, Micros};

use super::board::Entry;
use super::books::Books;
use super::campaigns::Sold;

/// What a canary may change.
struct Case {
    books: Books,
    list: Vec<Entry>,
    sold: Sold,
    /// A marked and settled impression, and its place in the list.
    lease_id: LeaseId,
    ordinal: u32,
    place: usize,
}

/// Makes the good books bad in one place after the other.
pub(super) fn sing(books: &Books, list: &[Entry], sold: &Sold) {
    let check = |what: &str, expected: &str, harm: fn(&mut Case)| {
        let mut case = case(books, list, sold);
        harm(&mut case);
        let judged = case.books.judge(&case.list, &case.sold);
        let found = judged.as_ref().is_err_and(|why| why.contains(expected));
        assert!(found, "{what}: expected {expected:?}, and the judge says {judged:?}");
    };
    check("a record is lost", "is not in the log", |case| {
        case.books.heard.remove(&case.id());
    });
    check("a settled impression is forgotten", "neither settled nor unbilled", |case| {
        let lease = case.books.leases.get_mut(&case.lease_id).expect("its lease");
        let mut bytes = lease.settled.as_bytes().to_vec();
        bytes[usize::try_from(case.ordinal / 8).expect("small")] &= !(1 << (case.ordinal % 8));
        lease.settled = Bitmap::from_bytes(bytes);
    });
    check("an impression is charged twice", "INV-3: lease", |case| {
        let lease = case.books.leases.get_mut(&case.lease_id).expect("its lease");
        lease.settled_micros = lease.settled_micros.times(2).expect("a small sum");
    });
    check("a balance is charged twice", "INV-3: ", |case| {
        let balance = case.books.balances.values_mut().find(|balance| balance.settled > Micros::ZERO);
        balance.expect("something was settled").settled_count += 1;
    });
    check("an impression is settled and unbilled", "is settled and unbilled", |case| {
        let lease = case.books.leases.get_mut(&case.lease_id).expect("its lease");
        lease.unbilled.insert(case.ordinal, UnbilledReason::Late);
    });
    check("an impression is drawn twice", "was drawn twice", |case| {
        let entry = case.list[case.place].clone();
        case.list.push(entry);
    });
    check("an impression comes from nowhere", "no player sent it", |case| {
        case.list.remove(case.place);
    });
    check("a budget is passed", "INV-4: ", |case| {
        for budget in case.sold.line_items.values_mut() {
            *budget = Micros(budget.0 / 2);
        }
    });
    check("a goal is passed", "INV-4: ", |case| {
        for goal in case.sold.goals.values_mut() {
            *goal /= 2;
        }
    });
}

fn case(books: &Books, list: &[Entry], sold: &Sold) -> Case {
    let settled = list.iter().enumerate().filter(|(_, entry)| entry.marked_at.is_some()).find_map(|(place, entry)| {
        match books.claims(entry).impression_id {
            ImpressionId::Leased { lease_id, ordinal } => Some((place, lease_id, ordinal)),
            ImpressionId::Unleased { .. } => None,
        }
    });
    let (place, lease_id, ordinal) = settled.expect("a paid ad was heard");
    Case { books: books.clone(), list: list.to_vec(), sold: sold.clone(), lease_id, ordinal, place }
}

impl Case {
    fn id(&self) -> ImpressionId {
        ImpressionId::Leased { lease_id: self.lease_id, ordinal: self.ordinal }
    }
}
