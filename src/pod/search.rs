//! The search: depth first, best first, with bounds.
//!
//! Candidates stand in the order of value. A node is a set of chosen ads and the candidates after the last of them that still go with it. Of
//! what the rest can add to a tier two relaxations give an upper bound, and the smaller counts: as many of the most valuable as there are
//! places left (time forgotten), and the densest by value a millisecond until time runs out, the last in part (places and competition
//! forgotten). Tiers are bounded one by one and compared in order; a vector that is an upper bound in each component is one in
//! lexicographic order too. A node whose bound is not above the best pod so far is left.

use std::cmp::{Ordering, Reverse};

use super::candidate_set::{CAPACITY, CandidateSet};
use super::problem::{Item, PodCandidate, PodProblem};
use super::{MAX_CANDIDATES, MAX_NODES, PLACES};
use crate::catalog::CategoryId;
use crate::model::{AdvertiserId, LineItemId, Tier};

/// Tiers.
const TIERS: usize = 4;

/// What a pod is worth; the greater is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct PodValue {
    /// Sum of values of each tier, highest tier first.
    pub tiers: [i64; TIERS],
    /// Sum of lots.
    pub tie: u128,
}

/// A pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pod {
    /// Keys of its ads, in the order in which they play: by tier, then value.
    pub keys: Vec<u32>,
    /// What it is worth.
    pub value: PodValue,
    /// Nodes that were visited.
    pub nodes: u32,
    is_truncated: bool,
}

/// What is known of candidates that nobody has seen: none is better than this, none is shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unseen {
    /// Best tier that one can have.
    pub tier: Tier,
    /// Most that one can be worth.
    pub value: i64,
    /// Highest lot of one that is worth so much: what is worth less may have any, because it is the worth that counts first.
    pub tie: u64,
    /// Shortest that one can be, in milliseconds.
    pub duration_ms: u32,
}

/// Memory that a search works in.
#[derive(Clone, Debug, Default)]
pub struct PodScratch {
    pod: Pod,
    items: Vec<Item>,
    /// Those that can't be in a pod with the candidate.
    conflicts: Vec<CandidateSet>,
    /// Candidates by tier, then value a millisecond.
    by_density: Vec<u16>,
    /// Candidates by lot.
    by_tie: Vec<u16>,
    /// Durations, ascending, each with the candidates that are no longer.
    fitting: Vec<(u32, CandidateSet)>,
    /// Candidates grouped by advertiser, then by category: work space.
    groups: Vec<u16>,
    /// Categories, ascending, each with its candidates.
    categories: Vec<(CategoryId, CandidateSet)>,
    tiers: [CandidateSet; TIERS],
    jokers: CandidateSet,
}

impl Pod {
    /// Whether it is proven that none is better; otherwise the search met its limit of nodes.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        !self.is_truncated
    }
}

impl PodValue {
    fn with(mut self, candidate: &PodCandidate) -> Self {
        self.tiers[candidate.tier as usize] += candidate.value;
        self.tie += u128::from(candidate.tie);
        self
    }
}

/// The best pod.
///
/// # Panics
/// When there are more than [`MAX_CANDIDATES`]: the caller keeps count.
pub fn solve<'s>(problem: &PodProblem, scratch: &'s mut PodScratch) -> &'s Pod {
    prepare(problem, None, scratch);
    let mut search = Search::new(problem, scratch, PodValue::default(), Ends::AtTheBest);
    search.take_densest();
    search.run();
    let Search { best, mut chosen_best, nodes, is_truncated, .. } = search;
    // Places in the order of value; the empty ones are `u16::MAX` and stay last.
    chosen_best.sort_unstable();
    let PodScratch { pod, items, .. } = scratch;
    let chosen = chosen_best.iter().map_while(|&index| items.get(usize::from(index)));
    pod.keys.clear();
    pod.keys.extend(chosen.map(|item| item.candidate.key));
    (pod.value, pod.nodes, pod.is_truncated) = (best, nodes, is_truncated);
    pod
}

/// Whether candidates that nobody has seen could make a better pod than one worth `value`, the best of the problem's own.
///
/// The unseen ones are stood for by as many jokers as the pod has places, each as good and as short as an unseen one can be, with the highest
/// lot of the best, and competing with nothing. Any pod with unseen candidates becomes one with jokers in their places that keeps to the limits and is worth
/// no less. So when no pod with jokers is better, none with unseen candidates is, not even by lot. "Yes" may be wrong (also when the search
/// meets its limit), "no" never is.
pub fn is_improvable(problem: &PodProblem, unseen: Unseen, value: PodValue, scratch: &mut PodScratch) -> bool {
    prepare(problem, Some(unseen), scratch);
    let mut search = Search::new(problem, scratch, value, Ends::AtAnyBetter);
    search.run();
    search.best > value || search.is_truncated
}

/// Fills the scratch with the problem's candidates in order of value, and what the search looks up about them.
fn prepare(problem: &PodProblem, unseen: Option<Unseen>, scratch: &mut PodScratch) {
    assert!(problem.len() <= MAX_CANDIDATES, "the caller keeps candidates within the limit");
    let items = &mut scratch.items;
    items.clear();
    items.extend_from_slice(&problem.items);
    if let Some(unseen) = unseen {
        items.extend((0..problem.limits.max_ads).map(|number| Item::joker(unseen, number)));
    }
    items.sort_unstable_by_key(|item| item.candidate.order());
    debug_assert!(items.len() <= CAPACITY, "candidates and jokers fit into a set");

    scratch.jokers = set_where(items, Item::is_joker);
    for tier in [Tier::Sponsorship, Tier::Guaranteed, Tier::Auction, Tier::House] {
        scratch.tiers[tier as usize] = set_where(items, |item| item.candidate.tier == tier);
    }
    refill(&mut scratch.by_density, items.len());
    scratch.by_density.sort_unstable_by(|&a, &b| by_density(items, a, b));
    refill(&mut scratch.by_tie, items.len());
    scratch.by_tie.sort_unstable_by_key(|&index| (Reverse(items[usize::from(index)].candidate.tie), index));
    prepare_durations(scratch);
    prepare_conflicts(problem, scratch);
}

fn refill(order: &mut Vec<u16>, count: usize) {
    order.clear();
    order.extend((0_u16..).take(count));
}

fn set_where(items: &[Item], condition: impl Fn(&Item) -> bool) -> CandidateSet {
    let mut set = CandidateSet::EMPTY;
    items.iter().enumerate().filter(|(_, item)| condition(item)).for_each(|(index, _)| set.insert(index));
    set
}

/// By tier, then by value a millisecond, compared without dividing; then by the order of value.
fn by_density(items: &[Item], a: u16, b: u16) -> Ordering {
    let (first, second) = (&items[usize::from(a)].candidate, &items[usize::from(b)].candidate);
    let density = |one: &PodCandidate, other: &PodCandidate| i128::from(one.value) * i128::from(other.duration_ms);
    let denser_first = density(second, first).cmp(&density(first, second));
    first.tier.cmp(&second.tier).then(denser_first).then(a.cmp(&b))
}

fn prepare_durations(scratch: &mut PodScratch) {
    let PodScratch { items, groups, fitting, .. } = scratch;
    refill(groups, items.len());
    groups.sort_unstable_by_key(|&index| (items[usize::from(index)].candidate.duration_ms, index));
    fitting.clear();
    let mut so_far = CandidateSet::EMPTY;
    for &index in groups.iter() {
        let duration_ms = items[usize::from(index)].candidate.duration_ms;
        so_far.insert(usize::from(index));
        match fitting.last_mut() {
            Some((last, set)) if *last == duration_ms => *set = so_far,
            Some(_) | None => fitting.push((duration_ms, so_far)),
        }
    }
}

/// Who can't be with whom: all of one advertiser, all of one category, and each with the categories that it excludes, both ways.
fn prepare_conflicts(problem: &PodProblem, scratch: &mut PodScratch) {
    let PodScratch { items, groups, conflicts, categories, .. } = scratch;
    conflicts.clear();
    conflicts.resize(items.len(), CandidateSet::EMPTY);

    refill(groups, items.len());
    groups.retain(|&index| !items[usize::from(index)].is_joker());
    groups.sort_unstable_by_key(|&index| (items[usize::from(index)].candidate.advertiser_id, index));
    for group in groups.chunk_by(|&a, &b| advertiser(items, a) == advertiser(items, b)) {
        let set = set_of(group);
        for &index in group {
            conflicts[usize::from(index)] = set;
        }
    }

    groups.retain(|&index| items[usize::from(index)].candidate.category.is_some());
    groups.sort_unstable_by_key(|&index| (items[usize::from(index)].candidate.category, index));
    categories.clear();
    for group in groups.chunk_by(|&a, &b| category(items, a) == category(items, b)) {
        let set = set_of(group);
        categories.extend(category(items, group[0]).map(|category| (category, set)));
        for &index in group {
            conflicts[usize::from(index)] = conflicts[usize::from(index)].or(&set);
        }
    }
    for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_joker()) {
        for excluded in problem.excluded(item) {
            let Ok(found) = categories.binary_search_by_key(excluded, |&(category, _)| category) else { continue };
            let set = categories[found].1;
            conflicts[index] = conflicts[index].or(&set);
            set.iter().for_each(|other| conflicts[other].insert(index));
        }
    }
    // A candidate that excludes its own category competes with itself on paper only.
    conflicts.iter_mut().enumerate().for_each(|(index, set)| set.remove(index));
}

fn advertiser(items: &[Item], index: u16) -> AdvertiserId {
    items[usize::from(index)].candidate.advertiser_id
}

fn category(items: &[Item], index: u16) -> Option<CategoryId> {
    items[usize::from(index)].candidate.category
}

fn set_of(group: &[u16]) -> CandidateSet {
    let mut set = CandidateSet::EMPTY;
    for &index in group {
        set.insert(usize::from(index));
    }
    set
}

impl Item {
    fn joker(unseen: Unseen, number: u8) -> Self {
        let candidate = PodCandidate {
            key: u32::MAX,
            line_item_id: LineItemId::from_u128(u128::from(number)),
            advertiser_id: AdvertiserId::from_u128(0),
            tier: unseen.tier,
            value: unseen.value,
            tie: unseen.tie,
            duration_ms: unseen.duration_ms,
            category: None,
        };
        Self::plain(candidate)
    }

    const fn is_joker(&self) -> bool {
        self.candidate.key == u32::MAX
    }
}

/// When a search ends before it has been everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Not before it knows the best.
    AtTheBest,
    /// At the first pod better than the one it was given.
    AtAnyBetter,
}

struct Search<'a> {
    scratch: &'a PodScratch,
    max_ads: usize,
    max_duration_ms: u32,
    ends: Ends,
    chosen: [u16; PLACES],
    best: PodValue,
    /// The best so far; `u16::MAX` after its end.
    chosen_best: [u16; PLACES],
    has_better: bool,
    nodes: u32,
    is_truncated: bool,
}

/// What is chosen at a node, and what is left to choose with.
#[derive(Clone, Copy)]
struct Node {
    ads: usize,
    left_ms: u32,
    value: PodValue,
    /// Candidates that may be added.
    rest: CandidateSet,
}

impl<'a> Search<'a> {
    fn new(problem: &PodProblem, scratch: &'a PodScratch, best: PodValue, ends: Ends) -> Self {
        Self {
            scratch,
            max_ads: usize::from(problem.limits.max_ads).min(PLACES),
            max_duration_ms: problem.limits.max_duration_ms,
            ends,
            chosen: [u16::MAX; PLACES],
            best,
            chosen_best: [u16::MAX; PLACES],
            has_better: false,
            nodes: 0,
            is_truncated: false,
        }
    }

    fn root(&self) -> Node {
        let all = CandidateSet::first(self.scratch.items.len());
        let rest = self.fitting(all, self.max_duration_ms);
        Node { ads: 0, left_ms: self.max_duration_ms, value: PodValue::default(), rest }
    }

    fn run(&mut self) {
        let root = self.root();
        self.descend(root);
    }

    /// A first pod to compare with: the densest that go together.
    fn take_densest(&mut self) {
        let mut node = self.root();
        for &index in &self.scratch.by_density {
            if node.ads < self.max_ads && node.rest.contains(usize::from(index)) {
                self.chosen[node.ads] = index;
                node = self.child(&node, usize::from(index));
            }
        }
        self.note(&node);
    }

    fn descend(&mut self, mut node: Node) {
        self.note(&node);
        if node.ads == self.max_ads {
            return;
        }
        while let Some(next) = node.rest.lowest() {
            if self.is_over() || !self.may_improve(&node) {
                return;
            }
            self.nodes += 1;
            node.rest.remove(next);
            self.chosen[node.ads] = u16::try_from(next).expect("a set has fewer than 2^16 members");
            self.descend(self.child(&node, next));
            if self.scratch.jokers.contains(next) {
                // Jokers are all alike: whoever does not want the first wants none.
                node.rest = node.rest.without(&self.scratch.jokers);
            }
        }
    }

    fn is_over(&mut self) -> bool {
        self.is_truncated |= self.nodes >= MAX_NODES;
        self.is_truncated || (self.ends == Ends::AtAnyBetter && self.has_better)
    }

    /// The node with one more ad, which is in its rest or was just taken out of it.
    fn child(&self, node: &Node, index: usize) -> Node {
        let candidate = &self.scratch.items[index].candidate;
        let left_ms = node.left_ms - candidate.duration_ms;
        let mut rest = node.rest.without(&self.scratch.conflicts[index]);
        rest.remove(index);
        Node { ads: node.ads + 1, left_ms, value: node.value.with(candidate), rest: self.fitting(rest, left_ms) }
    }

    /// Those of the set that are no longer than the time.
    fn fitting(&self, set: CandidateSet, left_ms: u32) -> CandidateSet {
        let up_to = self.scratch.fitting.partition_point(|&(duration_ms, _)| duration_ms <= left_ms);
        up_to.checked_sub(1).map_or(CandidateSet::EMPTY, |last| set.and(&self.scratch.fitting[last].1))
    }

    fn note(&mut self, node: &Node) {
        if node.value > self.best {
            self.best = node.value;
            self.has_better = true;
            self.chosen_best = [u16::MAX; PLACES];
            self.chosen_best[..node.ads].copy_from_slice(&self.chosen[..node.ads]);
        }
    }

    /// Whether the node's rest could make a pod better than the best so far.
    fn may_improve(&self, node: &Node) -> bool {
        for tier in 0..TIERS {
            let needed = self.best.tiers[tier] - node.value.tiers[tier];
            match self.most_of_tier(node, tier, needed).cmp(&needed) {
                Ordering::Less => return false,
                Ordering::Greater => return true,
                Ordering::Equal => {}
            }
        }
        node.value.tie + self.most_lots(node) > self.best.tie
    }

    /// The most that the rest can add to a tier; when that is below `needed`, anything below it.
    fn most_of_tier(&self, node: &Node, tier: usize, needed: i64) -> i64 {
        let of_tier = node.rest.and(&self.scratch.tiers[tier]);
        let places = self.max_ads - node.ads;
        let by_places: i64 = of_tier.iter().take(places).map(|index| self.scratch.items[index].candidate.value).sum();
        if by_places < needed {
            return by_places;
        }
        by_places.min(self.most_by_time(of_tier, node.left_ms))
    }

    /// The most that candidates of one tier can add in that time, the last of them in part.
    fn most_by_time(&self, of_tier: CandidateSet, mut left_ms: u32) -> i64 {
        let mut sum = 0;
        for &index in self.scratch.by_density.iter().filter(|&&index| of_tier.contains(usize::from(index))) {
            let candidate = &self.scratch.items[usize::from(index)].candidate;
            if candidate.duration_ms > left_ms {
                let part = i128::from(candidate.value) * i128::from(left_ms);
                // Rounded up: a bound may be too high, never too low.
                let part = (part + i128::from(candidate.duration_ms) - 1) / i128::from(candidate.duration_ms);
                return i64::try_from(part).map_or(i64::MAX, |part| part.saturating_add(sum));
            }
            left_ms -= candidate.duration_ms;
            sum = candidate.value.saturating_add(sum);
        }
        sum
    }

    /// The greatest sum of lots of as many of the rest as there are places.
    fn most_lots(&self, node: &Node) -> u128 {
        let rest = self.scratch.by_tie.iter().filter(|&&index| node.rest.contains(usize::from(index)));
        rest.take(self.max_ads - node.ads)
            .map(|&index| u128::from(self.scratch.items[usize::from(index)].candidate.tie))
            .sum()
    }
}
