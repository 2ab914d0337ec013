"""A scenario written for other tools. Each export says, at its head, what it loses on the way."""
