"""What the pages share; no page draws, reads or words anything twice."""
