"""Every kind of bad input: a request, the status that it gets, and the field at fault."""
