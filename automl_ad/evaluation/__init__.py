"""What a detector's scores are worth: metrics, scoring rules, intervals, thresholds and the proxy suite."""
