"""Reports of a run: one document of plain values, and the forms it is written in."""
