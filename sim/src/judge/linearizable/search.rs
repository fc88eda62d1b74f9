//! The search for a linearization: is there an order of the operations that respects real time and
//! that one copy of the object could have answered?
//!
//! Source: Herlihy and Wing, "Linearizability" (1990); Wing and Gong, "Testing and Verifying
//! Concurrent Objects" (1993), with the memoised configurations of Lowe, "Testing for
//! Linearizability" (2017).
//!
//! Invariants: `LIN-1` the answer is that of trying every order (checked against exactly that);
//! `LIN-2` an operation whose end is unknown may take effect at any time after its invocation, or
//! never; `LIN-3` a search that runs out of steps says so and condemns nobody.
//!
//! Not here: which operations belong together (`mod`), which of them to blame (`minimal`).

use std::collections::BTreeMap;

/// A sequential object.
pub trait Model {
    /// What it remembers.
    type State: Clone + Ord;
    /// What can be asked of it.
    type Call: Clone;
    /// What it answers.
    type Answer: Clone;

    /// Its state before the first operation.
    fn initial(&self) -> Self::State;

    /// The states it can be in after the call, given that it answered `answer`, or anything when
    /// that is `None`. Empty when it can't have answered so.
    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Vec<Self::State>;

    /// Whether the call with this answer changes no state whatsoever.
    fn pure(&self, call: &Self::Call, answer: Option<&Self::Answer>) -> bool;

    /// For each operation, whether it could help to explain the others if its end is unknown. What
    /// can't is left out of the search.
    fn matters(&self, operations: &[Timed<Self::Call, Self::Answer>]) -> Vec<bool> {
        vec![true; operations.len()]
    }
}

/// An operation and the time in which it took effect.
#[derive(Clone, Debug)]
pub struct Timed<C, A> {
    /// Its number in the run.
    pub id: u64,
    /// Rank of its invocation.
    pub invoked: u64,
    /// Rank by which it had taken effect; `u64::MAX` when it may yet, or never.
    pub effective: u64,
    /// Its place in the log, when it is known.
    pub place: Option<u64>,
    /// What was asked.
    pub call: C,
    /// What was answered, if it is known.
    pub answer: Option<A>,
}

impl<C, A> Timed<C, A> {
    /// Whether its end is unknown.
    pub fn pending(&self) -> bool {
        self.effective == u64::MAX
    }
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An order that explains every answer: positions of the operations in it.
    Order(Vec<usize>),
    /// There is none.
    Nothing,
    /// The steps were used up.
    Undecided,
}

/// Steps that a search may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget(pub u64);

impl Budget {
    fn spend(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

/// What has been linearized so far, and the state it led to: all that the rest depends on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<S> {
    /// Every certain operation before this one is linearized, this one is not.
    frontier: u32,
    /// What is linearized besides.
    beyond: Vec<u32>,
    state: S,
}

/// Where the search has been. What may never happen is kept apart: of two configurations that agree but for
/// that, the one that has used less of it can do all that the other can, so the other is not looked at.
struct Seen<S>(BTreeMap<Configuration<S>, Vec<Vec<u32>>>);

impl<S: Clone + Ord> Seen<S> {
    /// Notes a configuration; says whether it has to be looked at. Numbers from `certain` on are of
    /// operations that may never happen.
    fn insert(&mut self, configuration: &Configuration<S>, certain: usize) -> bool {
        let mut key = configuration.clone();
        let at = key.beyond.partition_point(|number| (*number as usize) < certain);
        let used = key.beyond.split_off(at);
        let known = self.0.entry(key).or_default();
        if known.iter().any(|less| is_subset(less, &used)) {
            return false;
        }
        known.retain(|more| !is_subset(&used, more));
        known.push(used);
        true
    }
}

/// Whether every number of `less` is in `more`; both are sorted.
fn is_subset(less: &[u32], more: &[u32]) -> bool {
    less.len() <= more.len() && less.iter().all(|number| more.binary_search(number).is_ok())
}

/// A level of the search: the configuration, and what can be linearized next with the state it gives.
struct Level<S> {
    configuration: Configuration<S>,
    next: Vec<(u32, S)>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Call, M::Answer>],
    /// Certain operations in the order of invocation; numbers below `certain` in a configuration.
    sorted: Vec<usize>,
    certain: usize,
    /// Certain operations with a place, in the order of places.
    placed: Option<Vec<u32>>,
    budget: &'a mut Budget,
}

/// Searches for a linearization; with `by_place` only for one that agrees with the log.
pub fn search<M: Model>(
    model: &M,
    operations: &[Timed<M::Call, M::Answer>],
    by_place: bool,
    budget: &mut Budget,
) -> Found {
    let matters = model.matters(operations);
    let of = |pending: bool| {
        let mut all: Vec<usize> = (0..operations.len())
            .filter(|at| operations[*at].pending() == pending && (!pending || matters[*at]))
            .collect();
        all.sort_by_key(|at| (operations[*at].invoked, *at));
        all
    };
    let mut sorted = of(false);
    let certain = sorted.len();
    sorted.extend(of(true));
    let placed = by_place.then(|| {
        let mut placed: Vec<u32> = (0..certain as u32)
            .filter(|number| operations[sorted[*number as usize]].place.is_some())
            .collect();
        placed.sort_by_key(|number| operations[sorted[*number as usize]].place);
        placed
    });
    Search { model, operations, sorted, certain, placed, budget }.run()
}

impl<M: Model> Search<'_, M> {
    fn operation(&self, number: u32) -> &Timed<M::Call, M::Answer> {
        &self.operations[self.sorted[number as usize]]
    }

    fn run(&mut self) -> Found {
        let mut seen: Seen<M::State> = Seen(BTreeMap::new());
        let first = Configuration { frontier: 0, beyond: Vec::new(), state: self.model.initial() };
        let mut order: Vec<u32> = Vec::new();
        let Some(next) = self.next(&first) else { return Found::Undecided };
        let mut levels = vec![Level { configuration: first, next }];
        while let Some(level) = levels.last_mut() {
            if level.configuration.frontier as usize == self.certain {
                let order = order.iter().map(|number| self.sorted[*number as usize]);
                return Found::Order(order.collect());
            }
            let Some((number, state)) = level.next.pop() else {
                levels.pop();
                order.pop();
                continue;
            };
            let configuration = self.after(&level.configuration, number, state);
            if !seen.insert(&configuration, self.certain) {
                continue;
            }
            let Some(next) = self.next(&configuration) else { return Found::Undecided };
            order.push(number);
            levels.push(Level { configuration, next });
        }
        Found::Nothing
    }

    /// The configuration after linearizing one more operation.
    fn after(
        &self,
        before: &Configuration<M::State>,
        number: u32,
        state: M::State,
    ) -> Configuration<M::State> {
        let mut beyond = before.beyond.clone();
        let mut frontier = before.frontier;
        if number == frontier {
            frontier += 1;
            // The run of linearized operations behind the frontier is swallowed.
            let run = beyond.iter().take_while(|at| {
                let next = **at == frontier && (frontier as usize) < self.certain;
                frontier += u32::from(next);
                next
            });
            let swallowed = run.count();
            beyond.drain(..swallowed);
        } else if let Err(at) = beyond.binary_search(&number) {
            beyond.insert(at, number);
        }
        Configuration { frontier, beyond, state }
    }

    /// What can be linearized next, the most promising last; `None` when the budget is spent.
    fn next(&mut self, from: &Configuration<M::State>) -> Option<Vec<(u32, M::State)>> {
        let taken = |number: &u32| from.beyond.binary_search(number).is_ok();
        let mut open: Vec<u32> = Vec::new();
        let mut earliest = u64::MAX;
        for number in from.frontier..self.certain as u32 {
            let operation = self.operation(number);
            // Nothing invoked later can end earlier, so the scan ends here.
            if operation.invoked > earliest {
                break;
            }
            if !taken(&number) {
                earliest = earliest.min(operation.effective);
                open.push(number);
            }
        }
        open.retain(|number| self.operation(*number).invoked <= earliest);
        if let Some(placed) = &self.placed {
            let first = placed.iter().find(|n| **n >= from.frontier && !taken(n));
            let first = first.and_then(|number| self.operation(*number).place);
            open.retain(|number| self.operation(*number).place.is_none_or(|p| Some(p) <= first));
        }
        // What had to end first is tried first, and what may never have happened last of all.
        open.sort_by_key(|number| std::cmp::Reverse(self.operation(*number).effective));
        let mut candidates: Vec<u32> = (self.certain as u32..self.sorted.len() as u32).collect();
        candidates.retain(|n| !taken(n) && self.operation(*n).invoked <= earliest);
        candidates.append(&mut open);
        let mut next: Vec<(u32, M::State)> = Vec::new();
        for number in candidates {
            if !self.budget.spend() {
                return None;
            }
            let operation = self.operation(number);
            let answer = operation.answer.as_ref();
            let states = self.model.step(&from.state, &operation.call, answer);
            if operation.pending() {
                // Taking effect without any can wait.
                next.extend(states.into_iter().filter(|s| *s != from.state).map(|s| (number, s)));
            } else if !states.is_empty() && self.model.pure(&operation.call, answer) {
                // A read that fits now can be taken now: it changes nothing for the others.
                return Some(vec![(number, from.state.clone())]);
            } else {
                next.extend(states.into_iter().map(|state| (number, state)));
            }
        }
        Some(next)
    }
}
