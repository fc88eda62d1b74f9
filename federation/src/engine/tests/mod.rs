//! Golden scripts (`script`).

mod script;
