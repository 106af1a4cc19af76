"""What a user can ask: one room for each command."""
