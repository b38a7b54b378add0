"""Recipe, arms, metrics, corpora and costs of a run as plain values, and the words for them."""
