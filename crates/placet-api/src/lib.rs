//! Wire types of both doors, problem+json, and a client
