"""The tests; a package, so that another `tests` among the installed packages can't take its place."""
