//! Stopping a node at once, without any clean-up.
//!
//! For the moments when going on, or even closing files in order, could turn an unknown state into
//! a wrong one: a failed sync, a poisoned log, a writer that panicked. What counts is what is
//! already durable; the next start recovers from that.

/// Stops this node now. In the real world the process aborts: no destructor runs, nothing is
/// flushed. In the simulator the calling node is killed, see `fatal::sim`.
///
/// May be called from synchronous code at any depth, but not from inside a callback that C code
/// invoked: the simulator's variant unwinds.
pub fn stop_node(reason: &str) -> ! {
    tracing::error!(reason, "stopping this node at once");
    #[cfg(madsim)]
    sim::stop(reason);
    #[cfg(not(madsim))]
    {
        // The log may go elsewhere, or nowhere; the operator looks at standard error first.
        eprintln!("fatal: {reason}");
        eprintln!("what was acknowledged is durable: see to the cause, then start the node again");
        std::process::abort()
    }
}

#[cfg(madsim)]
pub mod sim {
    //! How a simulated node stops in the middle of synchronous code.
    //!
    //! [`super::stop_node`] runs the world's hook, kills the node, and unwinds the calling task
    //! with a marker that [`contain`] recognises; the simulator then drops the node's tasks.
    //! Unlike an abort this runs destructors, so the hook must first make them harmless: it puts
    //! the node's faulty disk into a new boot epoch, after which every old handle fails and
    //! touches nothing.
    //!
    //! The world must
    //! 1. call [`on_stop`] once per run, with a hook that calls `FaultyDisk::crash_process` on the
    //!    node's disk and notes that the node is down (and later restarts it);
    //! 2. wrap the future of every `NodeBuilder::init` and `NodeHandle::spawn` in [`contain`].
    //!    Tasks spawned through [`crate::task`] are wrapped already.

    use std::cell::RefCell;
    use std::future::Future;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::Poll;

    use madsim::runtime::Handle;
    use madsim::task::NodeId;

    /// Marker carried by the unwinding of a node that stopped itself.
    struct NodeStopped;

    type Hook = Rc<dyn Fn(NodeId, &str)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Installs the world's hook for this run; the previous one is replaced.
    pub fn on_stop(hook: impl Fn(NodeId, &str) + 'static) {
        HOOK.set(Some(Rc::new(hook)));
    }

    /// Wraps a node's future so that [`super::stop_node`] ends the node and not the simulation.
    pub async fn contain<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(move |cx| {
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(poll) => poll,
                // The node is dead: the simulator drops this task instead of polling it again.
                Err(payload) if payload.is::<NodeStopped>() => Poll::Pending,
                Err(payload) => resume_unwind(payload),
            }
        })
        .await
    }

    pub(super) fn stop(reason: &str) -> ! {
        let node = madsim::plugin::node();
        let hook = HOOK.with_borrow(Clone::clone);
        let Some(hook) = hook else {
            panic!("node {node} stopped itself and no hook is installed: {reason}");
        };
        crate::trace::note(1, reason.len() as u64, 0);
        hook(node, reason);
        Handle::current().kill(node);
        // Not `panic!`: this is no bug to be reported by the panic hook.
        resume_unwind(Box::new(NodeStopped))
    }
}
