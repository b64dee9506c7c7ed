"""Who may connect and call: by token, by the name that is called, by the page that asks. Refusals are logged."""
