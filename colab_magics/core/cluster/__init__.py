"""A block on the hosts of a cluster: the engine that there is carries it, nothing of a scheduler is ours."""
