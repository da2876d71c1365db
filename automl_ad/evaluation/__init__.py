"""The proxy suite, score aggregation, metrics, intervals and thresholds: how the scores of a detector are evaluated."""
