//! The approval broker: use cases in order
