//! The one encoding of operations and of record state: protobuf, so that bytes written today can be
//! read by tomorrow's node (unknown tags are kept out of decisions, missing ones have defaults).
