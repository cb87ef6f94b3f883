//! Durable state: Commit and Views
