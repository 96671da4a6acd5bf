"""The whole system on one machine, and a table that shows by its outcomes that it holds."""
