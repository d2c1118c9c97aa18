"""Rules of the whole tree that are checked by machine."""
