"""Facts of a run as plain values, and the words for them."""
