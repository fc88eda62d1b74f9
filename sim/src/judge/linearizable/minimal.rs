//! From a history without a linearization to the operations to blame.
//!
//! Two steps, each of which only allows more behaviour, so that what is left is still a proof: the
//! history is cut after the first answer that nothing explains, and then every operation is forgiven
//! its end (it becomes Unknown) as long as no linearization appears.
//!
//! Invariant: the operations left, with everything else allowed to happen at any time or never, have
//! no linearization. They are minimal, not smallest.
//!
//! Not here: the search.

use super::search::{Budget, Found, Model, Timed, search};

/// Searches that blaming may cost.
const SEARCHES_MAX: u32 = 400;
/// Steps that one of them may take.
const STEPS_MAX: u64 = 20_000;

type Operations<M> = Vec<Timed<<M as Model>::Call, <M as Model>::Answer>>;

/// Makes the end of an operation unknown.
fn forgive<C, A>(operation: &mut Timed<C, A>) {
    operation.effective = u64::MAX;
    operation.answer = None;
    operation.place = None;
}

/// The history as it was at `rank`: what had not ended by then is pending, what had not begun is gone.
fn until<M: Model>(operations: &[Timed<M::Call, M::Answer>], rank: u64) -> Operations<M> {
    let begun = operations.iter().filter(|operation| operation.invoked <= rank).cloned();
    begun
        .map(|mut operation| {
            if operation.effective > rank {
                forgive(&mut operation);
            }
            operation
        })
        .collect()
}

struct Blame<'a, M: Model> {
    model: &'a M,
    by_place: bool,
    searches: u32,
}

impl<M: Model> Blame<'_, M> {
    /// Whether it is still proven that nothing explains these operations.
    fn proven(&mut self, operations: &[Timed<M::Call, M::Answer>]) -> bool {
        if self.searches == 0 {
            return false;
        }
        self.searches -= 1;
        let mut budget = Budget(STEPS_MAX);
        search(self.model, operations, self.by_place, &mut budget) == Found::Nothing
    }

    /// The shortest beginning of the history that has no linearization.
    fn cut(&mut self, operations: &[Timed<M::Call, M::Answer>]) -> Operations<M> {
        let mut ends: Vec<u64> =
            operations.iter().filter(|o| !o.pending()).map(|o| o.effective).collect();
        ends.sort_unstable();
        ends.dedup();
        // With the log's order in play, a beginning is only as condemned as its places allow, yet
        // the property stays monotone: every beginning of a linearizable history is linearizable.
        let (mut low, mut high) = (0, ends.len().saturating_sub(1));
        while low < high {
            let middle = (low + high) / 2;
            if self.proven(&until::<M>(operations, ends[middle])) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        match ends.get(high) {
            Some(end) => until::<M>(operations, *end),
            None => operations.to_vec(),
        }
    }

    /// Forgives as many operations as possible, in ever smaller groups, the oldest first.
    fn thin(&mut self, operations: &mut Operations<M>) {
        let blamed = |all: &Operations<M>| -> Vec<usize> {
            (0..all.len()).filter(|at| !all[*at].pending()).collect()
        };
        let mut group = blamed(operations).len().div_ceil(2).max(1);
        loop {
            for chunk in blamed(operations).chunks(group) {
                let mut lighter = operations.clone();
                chunk.iter().for_each(|at| forgive(&mut lighter[*at]));
                if self.proven(&lighter) {
                    *operations = lighter;
                }
            }
            if group == 1 || self.searches == 0 {
                return;
            }
            group = group.div_ceil(2);
        }
    }
}

/// The operations to blame for a history of which `search` proved that it has no linearization.
pub fn blame<M: Model>(
    model: &M,
    operations: &[Timed<M::Call, M::Answer>],
    by_place: bool,
) -> Vec<u64> {
    let mut blame = Blame { model, by_place, searches: SEARCHES_MAX };
    let mut left = blame.cut(operations);
    if !blame.proven(&left) {
        // Too large to prove within the smaller budget: everything stays accused.
        return operations.iter().filter(|o| !o.pending()).map(|o| o.id).collect();
    }
    blame.thin(&mut left);
    left.iter().filter(|operation| !operation.pending()).map(|operation| operation.id).collect()
}
