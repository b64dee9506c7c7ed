"""Ways in beside Socket.IO, one file each: a parser of the peer's messages, a printer of results in its terms.

All else is the live room's: sessions, limits, policy, alerts, metrics.
"""
