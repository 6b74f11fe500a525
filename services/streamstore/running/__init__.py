"""Running services as processes: for a replay, or as a whole shop under a supervisor."""
