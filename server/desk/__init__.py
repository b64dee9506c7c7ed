"""Every session at a glance, for those who watch: the board, and the namespace that shows it."""
