"""For tests: real servers, a fault-injecting proxy, a checker of histories."""
