"""A folder of field recordings to rows: what recorders say in names, headers and logs, and where they contradict."""
