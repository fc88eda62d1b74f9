//! Two pieces of work at once, from synchronous code.
//!
//! Invariant: [`join`] returns when both are done; in the simulator they run one after the other, so
//! neither may wait for the other.
//!
//! Deliberately not here: a pool. A thread costs some tens of microseconds to start, which is nothing
//! beside the work this is meant for.

/// Runs `aside` on a thread of its own and `here` on this one. A panic in either continues in the caller.
pub fn join<A, B>(aside: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B)
where
    A: Send,
{
    #[cfg(madsim)]
    {
        let a = aside();
        (a, here())
    }
    #[cfg(not(madsim))]
    {
        std::thread::scope(|scope| {
            let other = scope.spawn(aside);
            let b = here();
            match other.join() {
                Ok(a) => (a, b),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_results_come_back() {
        let text = String::from("borrowed");
        assert_eq!(super::join(|| text.len(), || text.as_str()), (8, "borrowed"));
    }
}
