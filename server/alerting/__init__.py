"""Rules from the settings, and who is told when one fires."""
