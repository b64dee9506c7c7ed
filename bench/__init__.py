"""Measuring the server from outside: load with real speech, and a stock Flask-SocketIO echo beside it."""
