//! What a client is told when a handler panics.
//!
//! Invariant: the text of the panic goes to the log and nowhere else, because it can contain what
//! the handler was working on.
//!
//! Not here: panics outside handlers, which end the task they happen in.

use std::any::Any;

use types::{Reason, Reject};

/// The refusal for a caught panic. The simulator stops a node by unwinding with a value of its own,
/// which is not ours to catch and goes on.
pub(super) fn refusal(cause: Box<dyn Any + Send>) -> Reject {
    let text = match (cause.downcast_ref::<&str>(), cause.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => std::panic::resume_unwind(cause),
    };
    tracing::error!(panic = text, "a handler panicked");
    Reject::new(
        Reason::Internal,
        "an error inside the node; whether this happened is unknown, and the node's log has the details",
    )
}
