//! HTTP in: agents' door, reviewers' door, inbox, admin socket
