"""The page: a folder of embeddings on a map, on a plane, and to be heard, from one process on this machine."""
