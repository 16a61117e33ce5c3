"""Bootstrap blocks: text, plan, schedule, run, lock file, export."""
