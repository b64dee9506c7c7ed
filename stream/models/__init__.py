"""The models. `registry` knows them by name; each module imports its heavy libraries only in its loader."""
