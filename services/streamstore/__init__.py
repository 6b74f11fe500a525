"""StreamStore: five services of a gift shop, on streams of events. See README.md for the map of the files."""
