"""The command line: one module a subcommand, each with `add` and a function that runs it."""
