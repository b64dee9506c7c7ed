"""The science: arrays in, arrays out. No flask, no sockets, no threads, no clocks."""
