"""What is measured, a file a peer: each sends or receives the same records the way its documentation says."""
