"""Many models on many sets in many tasks: one table with intervals and paired comparisons."""
