"""Who may connect and call: by token, by host name, by the origin of the page; and the log of refusals."""
