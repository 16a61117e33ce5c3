"""What every other package of the core stands on: settings, the machine, processes, progress, results."""
